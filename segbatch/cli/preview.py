"""`segbatch preview`: what training makes of the tiles before it learns from them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from segbatch.cli.options import job_argument, set_option
from segbatch.errors import InputError


@click.command()
@job_argument
@set_option
@click.option("--out", type=click.Path(path_type=Path), help="The picture. Default: <job name>-preview.png, here.")
@click.option("--tiles", type=click.IntRange(1, 64), default=4, show_default=True, help="Tiles to show.")
@click.option("--columns", type=click.IntRange(1, 16), default=5, show_default=True, help="Epochs to show of each.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Draw by this seed. Default: the job's own.")
def preview(job: Path, sets: tuple[str, ...], out: Path | None, tiles: int, columns: int, seed: int | None) -> None:
    """Draw training samples of JOB as a PNG: each as it is and as the first epochs will see it, with its mask.

    The pictures are those that training gets: the same draws, by the job's seed. Classes lie over the image in their
    colours; what is ignored is striped.

    \b
    segbatch preview jobs/demo-train.yaml
    segbatch preview jobs/demo-train.yaml --set augment=advanced --tiles 2
    """
    from segbatch.runs.plan import make_plan
    from segbatch.spec.job import TrainJob
    from segbatch.spec.load import load_job

    if out is not None and out.suffix.lower() != ".png":
        raise InputError(f"--out: expected a name that ends in .png, received {click.format_filename(out)}")
    loaded = load_job(job, sets).job
    if not isinstance(loaded, TrainJob):
        raise InputError(f"{click.format_filename(job)}: expected a train job, received kind: {loaded.kind}")
    if seed is not None:
        loaded = loaded.model_copy(update={"seed": seed})
    planned = make_plan(loaded, job.absolute(), runs_root=Path("runs").absolute())
    path = out or Path(f"{loaded.name}-preview.png")
    try:
        with _quiet():
            from segbatch.training.augmented import write_sheet
    except ImportError as error:
        raise InputError(f"looking at tiles needs pip install segbatch[worker] ({error})") from None
    names = write_sheet(planned, path, tiles=tiles, epochs=columns)
    shown = f"{len(names)} training tile{'' if len(names) == 1 else 's'}"
    click.echo(f"{shown}, each as it is and as epoch{f's 1 to {columns} see' if columns > 1 else ' 1 sees'} it")
    click.echo(click.format_filename(path.absolute()))


@contextmanager
def _quiet() -> Iterator[None]:
    """Load TensorFlow without a GPU, which a few tiles do not need, and without what it says of GPUs."""
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
