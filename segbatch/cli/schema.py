"""`segbatch schema`: what the files may hold, for editors and for people."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import click

from segbatch.errors import InputError

if TYPE_CHECKING:
    from segbatch.spec.section import Section


@click.command()
@click.argument("file", type=click.Choice(["job", "site", "labels"]), default="job")
@click.option(
    "--keys",
    is_flag=False,
    flag_value="",
    metavar="[SECTION]",
    help="Print keys, types, defaults and descriptions as text: all of them, or one section such as data.split.",
)
def schema(file: str, keys: str | None) -> None:
    """Print the JSON Schema of a job, site or labels file.

    \b
    segbatch schema > job.schema.json     and, as the first line of a job file, for most editors:
    # yaml-language-server: $schema=job.schema.json
    segbatch schema --keys train
    """
    if keys is not None:
        _print_keys(file, keys)
        return
    from segbatch.spec import schema as schemas

    make = {"job": schemas.job_schema, "site": schemas.site_schema, "labels": schemas.labels_schema}[file]
    click.echo(json.dumps(make(), indent=2))


def _print_keys(file: str, only: str) -> None:
    from segbatch.spec.help import keys_below, keys_text
    from segbatch.spec.problems import did_you_mean

    sections = _sections(file)
    text = keys_text(sections, only, min(shutil.get_terminal_size().columns, 110))
    if not text:
        known = {key.name for _, section in sections for key in keys_below(section)}
        raise InputError(f"no key {only!r} in a {file} file.{did_you_mean(only, sorted(known))}")
    click.echo(text)


def _sections(file: str) -> list[tuple[str, type[Section]]]:
    from segbatch.spec.job import KINDS
    from segbatch.spec.labels import Labels
    from segbatch.spec.pipeline import PipelineJob
    from segbatch.spec.site import Site

    sections: dict[str, list[tuple[str, type[Section]]]] = {
        "job": [*((f"kind: {kind}", section) for kind, section in KINDS.items()), ("kind: pipeline", PipelineJob)],
        "site": [("site", Site)],
        "labels": [("labels", Labels)],
    }
    return sections[file]
