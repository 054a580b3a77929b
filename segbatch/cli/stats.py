"""`segbatch stats`: what is the training part made of?"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from segbatch.cli.bar import reading_bar
from segbatch.cli.options import job_argument, plan_training, set_option, site_option
from segbatch.cli.quiet import quiet_tensorflow
from segbatch.errors import Exit, InputError

if TYPE_CHECKING:
    from segbatch.data.statistics import Statistics
    from segbatch.runs.plan import Plan
    from segbatch.spec.job import TrainJob


@click.command()
@job_argument
@set_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@site_option
def stats(job: Path, sets: tuple[str, ...], as_json: bool, site: Path | None) -> int:
    """Count the classes of JOB's training part, and say what follows from the counts.

    Every tile of the part is read once, resized to the network's input as in training. Shown are the pixels of each
    class and the weights that each of `loss.class_weights` would give it, and mean and deviation of each band, in units
    of 0 to 1, as `model.normalize: standardize` would use them. Nothing is written. Exit code 3 where tiles could not
    be read.

    \b
    segbatch stats jobs/demo-train.yaml
    segbatch stats jobs/demo-train.yaml --set model.input=[256,256] --json
    """
    plan, loaded = plan_training(job, sets, site)
    listed, found = _measure(plan, loaded, quiet=as_json)
    told = _told(loaded, listed, found)
    if as_json:
        click.echo(json.dumps(told, indent=2))
    else:
        _print(told)
    return Exit.OK if found.tiles == listed else Exit.REJECTED


def _measure(plan: Plan, job: TrainJob, *, quiet: bool) -> tuple[int, Statistics]:
    """Number of tiles in the training part, and what was found in those that can be read."""
    try:
        with quiet_tensorflow():
            from segbatch.data.pairs import pair_of
            from segbatch.data.statistics import measure

            # Of nothing: starts TensorFlow, which has its say about GPUs when it is imported and when it starts.
            measure(job, (), readers=1, tick=lambda done: None)
    except ImportError as error:
        raise InputError(f"segbatch stats needs pip install segbatch[worker] ({error})") from None
    roots = plan.images_root, plan.masks_root, plan.labelled_root
    pairs = [pair_of(tile, *roots) for tile in plan.tiles_in("train")]
    readers = job.train.readers or len(os.sched_getaffinity(0))
    with reading_bar() as progress:
        found = measure(job, pairs, readers=readers, tick=lambda done: None if quiet else progress(done, len(pairs)))
    if found is None:
        raise InputError(f"not one of {len(pairs)} tiles could be read; `segbatch check JOB --full` says why.")
    return len(pairs), found


def _told(job: TrainJob, listed: int, found: Statistics) -> dict[str, Any]:
    """Everything that is shown, as plain values."""
    from segbatch.data.class_weights import weights_by
    from segbatch.spec.loss import BETA, SCHEMES

    beta = next((term.beta for term in job.loss.terms if term.beta is not None), BETA)
    weights = {scheme: weights_by(scheme, found.pixels, found.areas, beta).tolist() for scheme in SCHEMES}
    total = int(found.pixels.sum())
    counts = found.pixels.tolist()
    return {
        "job": job.name,
        "tiles": listed,
        "read": found.tiles,
        "input": list(job.model.input),
        "pixels": total,
        "beta": beta,
        "classes": [
            {
                "name": name,
                "pixels": counts[index],
                "share": counts[index] / total if total else None,
                "weights": {scheme: values[index] for scheme, values in weights.items()},
            }
            for index, name in enumerate(job.labels.names)
        ],
        "mean": found.mean.tolist(),
        "deviation": found.deviation.tolist(),
        "deviation_from_mean_image": found.deviation_from_image,
    }


def _print(told: dict[str, Any]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from segbatch.spec.problems import shown

    console = Console(soft_wrap=True, highlight=False)
    height, width = told["input"]
    click.echo(f"training part: {told['read']:,} tiles at {height}x{width}, {told['pixels']:,} pixels with a class")
    if told["read"] < told["tiles"]:
        missing = told["tiles"] - told["read"]
        told_of = f"{missing:,} of {told['tiles']:,} tiles could not be read"
        click.echo(f"{told_of}; `segbatch check JOB --full` names what is left out")
    schemes = list(told["classes"][0]["weights"])
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("class")
    for heading in ("pixels", "share", *schemes):
        table.add_column(heading, justify="right")
    for row in told["classes"]:
        share = "-" if row["share"] is None else f"{row['share']:.4%}"
        cells = (f"{row['pixels']:,}", share, *(_short(row["weights"][scheme]) for scheme in schemes))
        table.add_row(Text(shown(row["name"])), *cells)
    console.print(table)
    click.echo(f"mean       {_figures(told['mean'])}")
    click.echo(f"deviation  {_figures(told['deviation'])}, from the mean image {told['deviation_from_mean_image']:.4f}")


def _figures(values: Sequence[float]) -> str:
    return " ".join(f"{value:.4f}" for value in values)


def _short(value: float) -> str:
    """Four digits that matter, as a plain number."""
    return f"{value:.4g}" if value < 10000 else f"{value:.0f}"
