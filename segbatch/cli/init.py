"""`segbatch init`: a job file to start from."""

from __future__ import annotations

from pathlib import Path

import click

from segbatch.errors import InputError


@click.command()
@click.argument("kind", type=click.Choice(["train", "predict", "evaluate", "gate"]))
@click.argument("file", type=click.Path(path_type=Path), required=False)
def init(kind: str, file: Path | None) -> None:
    """Write a job file with every key explained to FILE, or print it.

    \b
    segbatch init train forest.yaml
    """
    from segbatch.runs.files import write_text
    from segbatch.spec.starter import starter

    if file is None:
        click.echo(starter(kind), nl=False)
        return
    if file.exists() or file.is_symlink():
        raise InputError(f"{click.format_filename(file)} is there already; choose another name, or remove it first.")
    try:
        write_text(file, starter(kind, click.format_filename(file)))
    except OSError as error:
        raise InputError(f"{click.format_filename(file)} cannot be written: {error.strerror}.") from error
    click.echo(f"{click.format_filename(file)}: fill in the paths, then: segbatch check {click.format_filename(file)}")
