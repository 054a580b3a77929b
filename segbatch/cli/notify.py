"""The command that tells of a run's end."""

from __future__ import annotations

from pathlib import Path

import click

from segbatch.cli.options import load_site, named_run, run_argument, runs_option, site_option
from segbatch.errors import Exit


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
    from segbatch.cluster.notify.summary import outcome_of, summarize
    from segbatch.cluster.notify.tell import notices_of, tell_end
    from segbatch.cluster.observe import observe
    from segbatch.runs.run import open_run
    from segbatch.runs.status import run_status

    # A job on a node has the run's folder, and perhaps no site file.
    opened = open_run(Path(run)) if at_end else named_run(run, runs_root, site)
    status = run_status(opened) if at_end else observe(opened, load_site(site))
    if only_print:
        click.echo(summarize(status).text, nl=False)
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
