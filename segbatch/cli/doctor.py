"""The command that says what a place is like."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from segbatch.cli.options import load_site, runs_folder, runs_option, site_option

if TYPE_CHECKING:
    from segbatch.cluster.doctor.finding import Finding

COLORS = {"ok": "green", "warn": "yellow", "bad": "red"}


@click.command()
@site_option
@runs_option
@click.option("--profile", help="Profile of the site file.")
@click.option("--deep", is_flag=True, help="Send a small job to SLURM that looks at a compute node.")
@click.option(
    "--timeout", type=click.FloatRange(min=1), default=300.0, show_default=True, help="Seconds to wait for that job."
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def doctor(
    site: Path | None, runs_root: Path | None, profile: str | None, deep: bool, timeout: float, as_json: bool
) -> int:
    """Say what this place is: SLURM, its limits and partitions, Python, containers; and what follows from each.

    Exit code 1 when something here keeps jobs from running.

    \b
    segbatch doctor
    segbatch doctor --deep
    """
    from segbatch.cluster.backend import cache_folder, choose_backend
    from segbatch.cluster.doctor.finding import worst
    from segbatch.cluster.doctor.survey import survey
    from segbatch.cluster.slurm.client import Slurm
    from segbatch.spec.site import find_site

    found_site = load_site(site, profile)
    site_file = find_site(site, os.environ, Path.cwd(), Path.home())
    backend = choose_backend("local" if found_site.backend == "local" else "auto", found_site)
    findings = list(
        survey(
            Slurm(),
            found_site,
            site_file,
            "slurm" if found_site.backend == "slurm" else backend,
            runs_folder(runs_root, found_site),
            cache_folder(),
            deep_s=timeout if deep else None,
            progress=_progress,
        )
    )
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        _print(findings)
    return int(worst(findings) == "bad")


def _progress(what: str) -> None:
    if sys.stderr.isatty():
        click.echo(f"asking: {what}", err=True)


def _print(findings: list[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for column in ("", "", "", "found", "so segbatch"):
        table.add_column(column, overflow="fold")
    area = ""
    for finding in findings:
        table.add_row(
            "" if finding.area == area else finding.area,
            finding.what,
            Text(finding.state, COLORS[finding.state]),
            Text(finding.words),
            Text(finding.consequence),
        )
        area = finding.area
    Console().print(table)
