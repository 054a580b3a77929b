"""`segbatch bench`: how fast a job predicts on this machine, stage by stage."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from segbatch.cli.options import bench_file, job_argument, load_site, runs_folder, set_option, site_option
from segbatch.errors import InputError

if TYPE_CHECKING:
    from segbatch.inference.benching import Bench
    from segbatch.runs.plan import Plan


@click.command()
@job_argument
@set_option
@site_option
@click.option("--tiles", type=click.IntRange(1), default=128, show_default=True, help="Tiles to measure with.")
@click.option("--save", is_flag=True, help="Keep the figures, for `engine: auto` and `tasks: auto` on such nodes.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def bench(job: Path, sets: tuple[str, ...], site: Path | None, tiles: int, save: bool, as_json: bool) -> None:
    """Time each stage of the predict job JOB alone on this machine, then all of it, and say what holds it up.

    Run it where tasks run (`srun --gres=gpu:1 segbatch bench JOB --save`), with nothing else on the node. With --save
    the figures go to bench.json beside the site file, by kind of node and model; later runs there take the fastest
    engine whose masks agree with TensorFlow's, and as many readers and writers as were found to keep up with it.

    \b
    segbatch bench jobs/demo-predict.yaml
    segbatch bench jobs/demo-predict.yaml --tiles 512 --save
    """
    from segbatch.runs.measured import save_measured

    plan, listing = _plan(job, sets, site)
    found = _measure(plan, listing, tiles)
    place = bench_file(site)
    if save:
        save_measured(place, found.measured)
    if as_json:
        click.echo(json.dumps(found.measured.model_dump(mode="json") | {"cold_start": found.cold}, indent=2))
        return
    _print(found)
    if save:
        click.echo(f"saved to {click.format_filename(place)}")


def _plan(job: Path, sets: tuple[str, ...], site_path: Path | None) -> tuple[Plan, tuple[float, float]]:
    """Plan the job, and the seconds, on the wall and of the processor, that this took."""
    from segbatch.runs.plan import make_plan
    from segbatch.spec.job import PredictJob
    from segbatch.spec.load import load_job

    loaded = load_job(job, sets).job
    if not isinstance(loaded, PredictJob):
        raise InputError(f"{click.format_filename(job)}: expected a predict job, received kind: {loaded.kind}")
    # What is measured must not depend on what was measured before.
    fixed = {"engine": "tensorflow"} | ({"tasks": 1} if loaded.predict.tasks == "auto" else {})
    loaded = loaded.model_copy(update={"predict": loaded.predict.model_copy(update=fixed)})
    root = runs_folder(None, load_site(site_path, loaded.profile), loaded.output.runs)
    cpu, begun = time.process_time(), time.perf_counter()
    plan = make_plan(loaded, job.absolute(), runs_root=root)
    return plan, (time.perf_counter() - begun, time.process_time() - cpu)


def _measure(plan: Plan, listing: tuple[float, float], tiles: int) -> Bench:
    if not plan.job.resources.gpus:
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with _silence():
            from segbatch.inference.bench import Timed
            from segbatch.inference.benching import measure
    except ImportError as error:
        raise InputError(f"segbatch bench needs pip install segbatch[worker] ({error})") from None
    listed = Timed(len(plan.tiles), *listing)
    plan.runs_root.mkdir(parents=True, exist_ok=True)
    # Where runs lie, since that is the disk that masks will be written to.
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=plan.runs_root) as folder:
        return measure(plan, listed, tiles, Path(folder), lambda line: click.echo(f"measuring: {line}", err=True))


@contextmanager
def _silence() -> Iterator[None]:
    """Let nothing reach the terminal that libraries write to it past Python."""
    sys.stderr.flush()
    kept = os.dup(2)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _print(found: Bench) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("stage")
    for heading in ("tiles/s", "tiles/CPU s", "megapixels/s", "ms CPU/tile"):
        table.add_column(heading, justify="right")
    for name, stage in found.stages.items():
        cells = (stage.rate, stage.cpu_rate, stage.rate * found.megapixels)
        table.add_row(name, *(f"{cell:,.1f}" for cell in cells), f"{1000 * stage.cpu / stage.tiles:.2f}")
    click.echo(f"on {found.measured.node}")
    Console(soft_wrap=True, highlight=False).print(table)
    for line in _lines(found):
        click.echo(line)


def _lines(found: Bench) -> Iterator[str]:
    measured = found.measured
    own = found.own_cpu
    yield f"bottleneck   {found.bottleneck}"
    yield f"whole        {found.whole.cpu / found.whole.tiles / own:.2f} times the stages' own processor time"
    for other in measured.engines[1:]:
        ratio = other.rate / measured.engines[0].rate
        yield f"engine       {other.engine}: {ratio:.2f} times TensorFlow, {other.differing:.2g} of pixels differ"
    for engine, reason in found.failed.items():
        yield f"engine       {engine}: {reason}"
    yield f"batches      {_listed({f'of {size}': rate for size, rate in found.batch_sizes.items()})} tiles/s"
    yield f"first mask   after {measured.start:.1f} s: {_listed(found.cold)}"
    yield (
        f"recommended  predict.batch_size={measured.batch_size} predict.readers={measured.readers} "
        f"predict.writers={measured.writers} predict.engine={measured.fastest.engine}"
    )


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value:.1f}" for name, value in values.items())
