"""`segbatch preview`: what training makes of the tiles before it learns from them."""

from __future__ import annotations

from pathlib import Path

import click

from segbatch.cli.options import job_argument, plan_training, set_option, site_option
from segbatch.cli.quiet import quiet_tensorflow
from segbatch.errors import InputError


@click.command()
@job_argument
@set_option
@click.option("--out", type=click.Path(path_type=Path), help="The picture. Default: <job name>-preview.png, here.")
@click.option("--tiles", type=click.IntRange(1, 64), default=4, show_default=True, help="Tiles to show.")
@click.option("--columns", type=click.IntRange(1, 16), default=5, show_default=True, help="Epochs to show of each.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Draw by this seed. Default: the job's own.")
@site_option
def preview(
    job: Path, sets: tuple[str, ...], out: Path | None, tiles: int, columns: int, seed: int | None, site: Path | None
) -> None:
    """Draw training samples of JOB as a PNG: each as it is and as the first epochs will see it, with its mask.

    The pictures are those that training gets: the same draws, by the job's seed. Classes lie over the image in their
    colours; what is ignored is striped.

    \b
    segbatch preview jobs/demo-train.yaml
    segbatch preview jobs/demo-train.yaml --set augment=advanced --tiles 2
    """
    if out is not None and out.suffix.lower() != ".png":
        raise InputError(f"--out: expected a name that ends in .png, received {click.format_filename(out)}")
    planned, loaded = plan_training(job, sets if seed is None else (*sets, f"seed={seed}"), site)
    path = out or Path(f"{loaded.name}-preview.png")
    try:
        with quiet_tensorflow():
            from segbatch.training.augmented import write_sheet
    except ImportError as error:
        raise InputError(f"looking at tiles needs pip install segbatch[worker] ({error})") from None
    names = write_sheet(planned, path, tiles=tiles, epochs=columns)
    shown = f"{len(names)} training tile{'' if len(names) == 1 else 's'}"
    click.echo(f"{shown}, each as it is and as epoch{f's 1 to {columns} see' if columns > 1 else ' 1 sees'} it")
    click.echo(click.format_filename(path.absolute()))
