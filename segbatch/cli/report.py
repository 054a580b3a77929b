"""The command that shows what a run found."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from segbatch.cli.options import named_run, run_argument, runs_option, site_option
from segbatch.errors import InputError, SegbatchError
from segbatch.spec.problems import listed

if TYPE_CHECKING:
    from segbatch.runs.pipelines import Pipeline
    from segbatch.runs.run import Run

_NEEDED = ("numpy", "PIL")
"""Modules that a report is made with, and that the base install does without."""


@click.command()
@run_argument
@runs_option
@site_option
@click.option("--rebuild", is_flag=True, help="Merge the tasks' journals and write the report anew.")
@click.option("--json", "as_json", is_flag=True, help="Print summary.json.")
def report(run: str, runs_root: Path | None, site: Path | None, rebuild: bool, as_json: bool) -> int:
    """Print the scores of RUN and the path of its report; of a pipeline, those of its stages.

    \b
    segbatch report demo-predict
    """
    from segbatch.cli.pipeline import named_pipeline

    pipeline = named_pipeline(run, runs_root, site)
    if pipeline is not None:
        if rebuild:
            raise click.UsageError("--rebuild is for a single run; name that of one stage")
        return _stages(pipeline, as_json)
    opened = named_run(run, runs_root, site)
    code = _rebuild(opened) if rebuild else 0
    if opened.record.kind == "gate":
        return _print_gate(opened, as_json) or code
    summary = _figures(opened)
    if not summary.exists():
        raise SegbatchError(
            f"{opened.label} has no report yet. `segbatch status {opened.paths.folder}` says how far it is."
        )
    if as_json:
        click.echo(summary.read_text(encoding="utf-8"), nl=False)
    else:
        print_scores(opened)
    return code


def _stages(pipeline: Pipeline, as_json: bool) -> int:
    """Print the reports of a pipeline's stages, in their order."""
    found = [(stage.name, run) for stage in pipeline.record.stages if (run := pipeline.stage(stage.name)) is not None]
    reported = [(name, run, path) for name, run in found if (path := _figures(run)).exists()]
    if not reported:
        look = f"`segbatch status {pipeline.paths.folder}` says how far it is."
        raise SegbatchError(f"no stage of {pipeline.label} has a report yet. {look}")
    if as_json:
        click.echo(json.dumps({name: json.loads(path.read_bytes()) for name, _, path in reported}, indent=2))
        return 0
    for name, run, _ in reported:
        click.echo(f"{name}")
        print_scores(run)
    return 0


def _figures(run: Run) -> Path:
    """File with what a run's report says, for programs."""
    if run.record.kind == "gate":
        return run.paths.report / "gate.json"
    return (run.paths.training if run.record.kind == "train" else run.paths.report) / "summary.json"


def _rebuild(run: Run) -> int:
    from segbatch.cluster.containers.check import check_run
    from segbatch.cluster.containers.inside import inside_of_run
    from segbatch.cluster.local import site_of, worker_command
    from segbatch.runs.layout import FINISH

    site = site_of(run)
    inside = inside_of_run(run, site)
    if inside is not None and not inside.runtime.part_of_slurm:
        check_run(run, site, "local", force=True)
    else:
        why = f" Its container is of {inside.runtime.name}, which only SLURM starts." if inside is not None else ""
        _refuse_bare_python(run, why)
        inside = None
    return subprocess.run(worker_command(run, FINISH, inside), stdout=sys.stderr, check=False).returncode


def _refuse_bare_python(run: Run, why: str) -> None:
    """Refuse before the run's own records tell of an attempt that had to fail."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise InputError(
            f"{run.label}: a report is written with {listed(missing)}, which {sys.executable} lacks.{why} Install "
            "'segbatch[worker]' for this Python, or do it where tasks run: "
            f"python -m segbatch.worker {run.paths.folder} --finish"
        )


def print_scores(run: Run) -> None:
    """Print a finished run's scores and where to look; of a train run, its bundle."""
    if run.record.kind == "train":
        _print_training(run)
        return
    if run.record.kind == "gate":
        _print_gate(run, as_json=False)
        return
    try:
        summary: dict[str, Any] = json.loads((run.paths.report / "summary.json").read_bytes())
    except FileNotFoundError:
        return
    for line in _lines(summary):
        click.echo(line)
    click.echo(f"masks   {run.record.predictions_root or run.paths.masks}")
    click.echo(f"report  {run.paths.report / 'index.html'}")
    if (run.paths.report / "gate.html").exists():
        click.echo(f"gate    {run.paths.report / 'gate.html'}")


def _print_gate(run: Run, as_json: bool) -> int:
    """Print what a gate decided, and where its page is."""
    try:
        result = json.loads((run.paths.report / "gate.json").read_bytes())
    except FileNotFoundError:
        return 1
    if as_json:
        click.echo(json.dumps(result, indent=2))
        return 0
    click.echo(f"gate    {result['challenger']} against {result['champion'] or 'no champion'}")
    for rule in result["decision"]["rules"]:
        click.echo(f"        {'yes' if rule['kept'] else 'no '} {rule['words']}")
    click.echo(f"        {'the challenger is the champion' if result['decision']['promote'] else 'the champion stays'}")
    click.echo(f"report  {run.paths.report / 'index.html'}")
    return 0


def _lines(summary: dict[str, Any]) -> Iterator[str]:
    tiles, scores, timing = summary["tiles"], summary["scores"], summary["timing"]
    yield f"tiles   {tiles['done']} done, {tiles['rejected']} rejected, {tiles['missing']} missing"
    if timing:
        yield f"speed   {timing['tiles_per_second']:.1f} tiles/s, {timing['megapixels_per_second']:.2f} megapixels/s"
    if scores:
        entered = scores["classes_entered"]["number"]
        yield (
            f"scores  mean IoU {_score(scores['mean_iou'])}, mean Dice {_score(scores['mean_dice'])}, "
            f"accuracy {_score(scores['accuracy'])} over {entered} of {len(summary['classes'])} classes"
        )
        width = max(len(item["name"]) for item in summary["classes"])
        for item in summary["classes"]:
            yield f"        {item['name']:<{width}}  IoU {_score(item['iou'])}  Dice {_score(item['dice'])}"


def _score(value: float | None) -> str:
    return "  -   " if value is None else f"{value:.4f}"


def _print_training(run: Run) -> None:
    try:
        summary: dict[str, Any] = json.loads((run.paths.training / "summary.json").read_bytes())
    except FileNotFoundError:
        return
    scores = summary["scores"]
    width = max(map(len, scores["class_iou"]))
    click.echo(f"best    epoch {summary['best_epoch']} of {summary['epochs']} by {summary['best_by']}")
    click.echo(f"scores  mean IoU {_score(scores['iou'])}, mean Dice {_score(scores['dice'])}")
    for name, iou in scores["class_iou"].items():
        click.echo(f"        {name:<{width}}  IoU {_score(iou)}  Dice {_score(scores['class_dice'][name])}")
    click.echo(f"speed   {summary['tiles_per_second']:.1f} tiles/s in training")
    click.echo(f"curves  {run.paths.training / 'curves.png'}")
    click.echo(f"model   {run.paths.model}")
