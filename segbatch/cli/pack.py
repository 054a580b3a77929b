"""The command that packs many small files into few large ones."""

from __future__ import annotations

import re
from pathlib import Path

import click

from segbatch.cli.bar import reading_bar
from segbatch.errors import Exit

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT])i?B?", re.IGNORECASE)


def _bytes(ctx: click.Context, param: click.Parameter, value: str) -> int:
    """Read a size such as 512M."""
    found = _SIZE.fullmatch(value)
    if found is None or float(found[1]) == 0:
        raise click.BadParameter(f"expected a size such as 512M or 2G, received {value!r}")
    return int(float(found[1]) * 1024 ** ("KMGT".index(found[2].upper()) + 1))


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--size", default="512M", show_default=True, callback=_bytes, metavar="SIZE", help="Size of an archive, at most."
)
@click.option("--masks", type=click.Path(path_type=Path), help="Pack these too; OUT gets the folders images and masks.")
def pack(folder: Path, out: Path, size: int, masks: Path | None) -> int:
    """Pack the pictures in FOLDER, and in all folders below it, into archives (tar) in OUT.

    Jobs take OUT in place of FOLDER, in `data.images` and wherever else a job names a folder of pictures; masks and
    reports bear the same names. An archive or index that is cut off or changed is refused. FOLDER stays as it is. After
    an interruption the same command goes on.

    \b
    segbatch pack archive/tiles packed
    segbatch pack data/images packed --masks data/masks --size 1G
    """
    from segbatch.runs.packing import pack_folder

    todo = [("data.images", folder, out)] if masks is None else []
    if masks is not None:
        todo = [("data.images", folder, out / "images"), ("data.masks", masks, out / "masks")]
    for key, source, target in todo:
        with reading_bar() as progress:
            packed = pack_folder(source, target, size=size, progress=progress)
        kept = f" ({packed.kept} of them made before)" if packed.kept else ""
        click.echo(
            f"{packed.tiles:,} pictures in {packed.archives} archive{'s' if packed.archives > 1 else ''}{kept}, "
            f"{packed.size / 1e6:,.1f} MB"
        )
        click.echo(f"{key}: {click.format_filename(target)}")
    return Exit.OK
