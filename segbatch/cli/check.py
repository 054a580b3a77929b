"""`segbatch check`: is the job file right, and is the data?"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from segbatch.cli.bar import reading_bar
from segbatch.cli.options import job_argument, load_site, registry_folder, registry_said, set_option, site_option
from segbatch.errors import Exit, InputError

if TYPE_CHECKING:
    from segbatch.data.lint import Finding
    from segbatch.spec.job import Job
    from segbatch.spec.site import Site

SAMPLE = 200


@click.command()
@job_argument
@set_option
@click.option("--no-data", is_flag=True, help="Check the file alone.")
@click.option("--full", is_flag=True, help="Read every file of the data, not a sample.")
@click.option("--sample", type=click.IntRange(1), default=SAMPLE, show_default=True, help="Files to read of each kind.")
@site_option
def check(job: Path, sets: tuple[str, ...], no_data: bool, full: bool, sample: int, site: Path | None) -> int:
    """Check the file JOB, and look at its data.

    All errors of the file are shown at once, each at its line. Of the data, pairs of images and masks are counted and
    a sample of the files is read: names without partner, sizes, mask values, unreadable files. Nothing is written.
    Exit code 2 when there are errors.

    \b
    segbatch check jobs/demo-train.yaml --no-data
    segbatch check jobs/demo-train.yaml --full
    """
    from segbatch.cli.pipeline import check_pipeline, is_pipeline_file
    from segbatch.spec.load import load_job

    if is_pipeline_file(job):
        return check_pipeline(job, sets, site)
    loaded = load_job(job, sets)
    found_site = load_site(site, loaded.job.profile) if site is not None or not no_data else None
    click.echo(f"{click.format_filename(job)}: a valid {loaded.job.kind} job")
    if no_data or loaded.job.kind == "gate":
        return Exit.OK
    findings = _findings(_with_model_path(loaded.job, found_site), full, sample)
    if not findings:
        click.echo("data: nothing found amiss" + ("" if full else f" in a sample of {sample}; --full reads every file"))
        return Exit.OK
    _print(findings)
    return Exit.BAD_INPUT if any(finding.severity == "error" for finding in findings) else Exit.OK


def _with_model_path(job: Job, site: Site | None) -> Job:
    """Put the path of a registered model in place of its name.

    Raises:
        InputError: there is no such model or version.
    """
    from segbatch.runs.plan import registered_model

    if site is None or job.kind != "predict":
        return job
    runs = Path(job.output.runs) if job.output.runs else None
    found = registered_model(job, registry_folder(registry_said(), site, runs, job.output.registry))
    if found is None:
        return job
    return job.model_copy(update={"model": job.model.model_copy(update={"bundle": str(found.path)})})


def _findings(job: Job, full: bool, sample: int) -> Sequence[Finding]:
    try:
        from segbatch.data.lint import lint

        with reading_bar() as progress:
            return lint(job, full=full, sample=sample, progress=progress)
    except ImportError as error:
        raise InputError(
            f"checking data needs pip install segbatch[worker] ({error}); --no-data checks the file alone"
        ) from None


def _print(findings: Sequence[Finding]) -> None:
    from segbatch.spec.problems import shown

    if sys.stdout.isatty():
        _print_table(findings)
    else:
        for finding in findings:
            click.echo(f"{finding.severity}: {finding.kind}: {shown(finding.message)} ({finding.count})")
            click.echo(f"    example: {shown(finding.example)}")
            click.echo(f"    fix: {shown(finding.fix)}")
    errors = sum(finding.severity == "error" for finding in findings)
    click.echo(f"data: {_counted(errors, 'error')}, {_counted(len(findings) - errors, 'warning')}")


def _print_table(findings: Sequence[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from segbatch.spec.problems import shown

    table = Table(show_lines=True)
    for heading in ("", "what", "files", "example", "fix"):
        table.add_column(heading, overflow="fold", justify="right" if heading == "files" else "left")
    for finding in findings:
        color = "red" if finding.severity == "error" else "yellow"
        texts = (finding.message, str(finding.count), finding.example, finding.fix)
        table.add_row(Text(finding.severity, style=color), *(Text(shown(text)) for text in texts))
    Console().print(table)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
