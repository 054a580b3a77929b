"""The command that proves a finished run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from segbatch.cli.bar import reading_bar
from segbatch.cli.options import named_run, run_argument, runs_option, site_option
from segbatch.errors import Exit

if TYPE_CHECKING:
    from segbatch.runs.proof import Proof

SHOWN = 3
"""Examples of a problem that are printed; --json has more."""
COLORS = {"ok": "green", "failed": "red", "not checked": "yellow"}


@click.command()
@run_argument
@runs_option
@site_option
@click.option("--json", "as_json", is_flag=True, help="Print what was checked as JSON.")
def verify(run: str, runs_root: Path | None, site: Path | None, as_json: bool) -> int:
    """Prove that RUN is complete and as it was written.

    Every tile must have a mask or a rejection, every mask the size and checksum that its task noted, every figure of
    the report must follow from the tiles' counts, and job, tile list and model must be those submitted. Masks that
    belong to no tile are named. Of a training, its bundle, history and checkpoints are checked. Reads all masks, and
    changes nothing. Exit code 1 unless all of it holds.

    \b
    segbatch verify demo-predict
    """
    from segbatch.runs.verification import verify as prove

    opened = named_run(run, runs_root, site)
    with reading_bar() as progress:
        proof = prove(opened, progress)
    if as_json:
        click.echo(json.dumps(proof.as_dict(), indent=2))
    else:
        _print(proof)
    return Exit.OK if proof.holds else Exit.FAILED


def _print(proof: Proof) -> None:
    from rich.table import Table
    from rich.text import Text

    from segbatch.cli.status_view import terminal
    from segbatch.spec.problems import shown

    table = Table(box=None, pad_edge=False)
    for heading in ("what", "checked", "amiss", "result", "holds if all is well"):
        table.add_column(heading, justify="right" if heading in ("checked", "amiss") else "left", overflow="fold")
    for check in proof.checks:
        claim = f"{check.claim}: {check.skipped}" if check.skipped else check.claim
        figures = (f"{check.checked:,}", f"{check.problems:,}")
        table.add_row(check.name, *figures, Text(check.state, COLORS[check.state]), Text(claim))
    terminal().print(table)
    for check in proof.checks:
        for example in check.examples[:SHOWN]:
            click.echo(f"{check.name}: {shown(example)}", err=True)
        if check.problems > SHOWN:
            click.echo(f"{check.name}: and {check.problems - min(SHOWN, len(check.examples)):,} more", err=True)
    for note in proof.notes:
        click.echo(f"note: {note}", err=True)
    verdict = "proven" if proof.holds else "NOT proven"
    click.echo(f"{proof.run}: {verdict}, in {proof.seconds:.1f} s")
    if not proof.holds:
        click.echo(f"make again what is missing or damaged: segbatch resume {proof.folder} --verify", err=True)
