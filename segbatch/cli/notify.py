"""The command that tells of a run's end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from segbatch.cli.options import load_site, named_run, run_argument, runs_option, site_option
from segbatch.errors import Exit

if TYPE_CHECKING:
    from segbatch.cluster.works import Work, WorkStatus


@click.command()
@run_argument
@runs_option
@site_option
@click.option("--at-end", is_flag=True, hidden=True, help="The job that merges and reports calls.")
@click.option("--again", is_flag=True, help="Tell those who were told before as well.")
@click.option("--print", "only_print", is_flag=True, help="Print the summary, and tell nobody.")
def notify(run: str, runs_root: Path | None, site: Path | None, at_end: bool, again: bool, only_print: bool) -> int:
    """Tell those whom `notify:` names how RUN ended; runs do so by themselves, once.

    \b
    segbatch notify demo-predict --print
    segbatch notify demo-predict --again
    """
    from segbatch.cluster.notify.summary import outcome_of
    from segbatch.cluster.notify.tell import notices_of, summary_of, tell_end

    opened, status = _at_end(Path(run)) if at_end else _named(run, runs_root, site)
    if only_print:
        click.echo(summary_of(status, outcome_of(status) or "failure").text, nl=False)
        return Exit.OK
    told = tell_end(opened, status, again=again)
    for line in told:
        click.echo(str(line))
    if not told:
        why = (
            "nobody is named in `notify:` of its job or site"
            if not notices_of(opened)
            else (
                "it is not over"
                if outcome_of(status) is None
                else "everybody who wants to know of this was told before"
            )
        )
        click.echo(f"{opened.label}: nobody was told: {why}")
    return Exit.FAILED if any(line.trouble for line in told) else Exit.OK


def _at_end(folder: Path) -> tuple[Work, WorkStatus]:
    """Open a run from one of its jobs, which has its folder, and perhaps no site file."""
    from segbatch.runs.run import open_run
    from segbatch.runs.status import run_status

    run = open_run(folder)
    return run, run_status(run)


def _named(name: str, runs_root: Path | None, site: Path | None) -> tuple[Work, WorkStatus]:
    from segbatch.cli.pipeline import named_pipeline
    from segbatch.cluster.observe import observe
    from segbatch.cluster.works import look

    pipeline = named_pipeline(name, runs_root, site)
    if pipeline is not None:
        return pipeline, look(pipeline, load_site(site))
    run = named_run(name, runs_root, site)
    return run, observe(run, load_site(site))
