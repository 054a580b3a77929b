"""`segbatch doctor`: what is this place, and what will segbatch do because of it?"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from segbatch.cli.options import runs_folder, runs_option, site_option
from segbatch.errors import Exit, InputError

if TYPE_CHECKING:
    from segbatch.cluster.doctor.finding import Finding
    from segbatch.cluster.doctor.survey import Place

TIMEOUT_S = 300
COLORS = {"ok": "green", "warn": "yellow", "bad": "red"}
WHAT_COLUMN = 15


@click.command()
@click.option("--deep", is_flag=True, help="Send a tiny job that looks at a compute node, and wait for it.")
@click.option(
    "--timeout",
    type=click.IntRange(1),
    default=TIMEOUT_S,
    show_default=True,
    metavar="SECONDS",
    help="Longest wait for the job of --deep, which is then cancelled.",
)
@click.option(
    "--gpus",
    type=click.IntRange(0),
    help="GPUs that the job of --deep asks for. Default: 1 where the site's partition has any.",
)
@site_option
@click.option("--profile", help="Profile of the site file.")
@runs_option
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def doctor(
    deep: bool,
    timeout: int,
    gpus: int | None,
    site: Path | None,
    profile: str | None,
    runs_root: Path | None,
    as_json: bool,
) -> int:
    """Show what this place is, and what segbatch does because of it.

    SLURM with its limits, partitions and accounting; the site file; container runtimes; the Python of tasks; this
    machine and the runs folder. Nothing is changed. Exit code 1 when something is bad.

    \b
    segbatch doctor
    segbatch doctor --deep --timeout 600
    """
    from segbatch.cluster.doctor.finding import worst
    from segbatch.cluster.doctor.survey import examine, examine_node

    place = _place(site, profile, runs_root)
    with _progress(quiet=as_json) as progress:
        examined = examine(place, progress)
        findings = examined.findings
        if deep:
            findings = examine_node(place, examined, gpus, timeout, progress)
    if as_json:
        click.echo(json.dumps([asdict(one) for one in findings], indent=2))
    else:
        _print(findings)
    return Exit.FAILED if worst(findings) == "bad" else Exit.OK


def _place(site: Path | None, profile: str | None, runs_root: Path | None) -> Place:
    """Find what is to be examined; a site file that cannot be used is a finding like others."""
    from segbatch.cluster.doctor.survey import Place
    from segbatch.spec.site import Site, find_site, load_site

    path = find_site(site, os.environ, Path.cwd(), Path.home())
    try:
        loaded, trouble = load_site(path, profile), ""
    except InputError as error:
        loaded, trouble = Site(), str(error)
    root = runs_folder(runs_root, loaded).absolute()
    return Place(loaded, str(path or ""), trouble, root, dict(os.environ))


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[str], object]]:
    """Give a function that says what is being asked: in one line of a terminal, else a line for each new thing.

    Args:
        quiet: without a terminal, say nothing: a program reads along.
    """
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.markup import escape

        with Console(stderr=True).status("asking") as status:
            yield lambda words: status.update(escape(words))
        return
    said = ""

    def say(words: str) -> None:
        nonlocal said
        # What is asked in a moment needs no line.
        if words != said and "job " in words and not quiet:
            click.echo(words, err=True)
        said = words

    yield say


def _print(findings: Sequence[Finding]) -> None:
    from segbatch.spec.problems import shown

    if sys.stdout.isatty():
        _print_table(findings)
    else:
        for one in findings:
            click.echo(f"{one.state:<5} {one.area}: {one.what}: {shown(one.words)}")
            click.echo(f"      so segbatch {shown(one.consequence)}")
    counts = [f"{number} {state}" for state in COLORS if (number := sum(one.state == state for one in findings))]
    click.echo(", ".join(counts))


def _print_table(findings: Sequence[Finding]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from segbatch.spec.problems import shown

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), expand=False)
    table.add_column("")
    table.add_column("what", max_width=WHAT_COLUMN, overflow="fold")
    table.add_column("is", ratio=1, overflow="fold")
    table.add_column("so segbatch ...", ratio=1, overflow="fold")
    area = ""
    for one in findings:
        if one.area != area:
            area = one.area
            table.add_section()
            table.add_row("", Text(area, style="bold"), "", "")
        state = Text(one.state, style=COLORS[one.state])
        table.add_row(state, one.what, Text(shown(one.words)), Text(shown(one.consequence)))
    Console().print(table)
