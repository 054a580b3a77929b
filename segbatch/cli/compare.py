"""`segbatch compare`: trainings side by side."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from segbatch.cli.options import named_run, runs_option, site_option
from segbatch.errors import InputError

if TYPE_CHECKING:
    from segbatch.runs.training_results import TrainingResult

TITLES = {"loss": "loss", "accuracy": "accuracy", "iou": "IoU", "dice": "Dice"}
_LONGEST = 100


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@runs_option
@site_option
@click.option("--out", type=click.Path(path_type=Path), help="Picture of the curves. Default: compare.png, here.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; the curves are drawn only where --out says so.")
def compare(runs: tuple[str, ...], runs_root: Path | None, site: Path | None, out: Path | None, as_json: bool) -> None:
    """Put train runs side by side: best epochs, scores, cost, what differs between their jobs, and their curves.

    Runs may still be going on. The best value of each column is marked with *.

    \b
    segbatch compare street-01 street-02 street-03
    segbatch compare street-01/latest street-01/20240131-120000-ab12 --out street.png
    """
    from segbatch.runs.training_results import differences, read_result

    if out is not None and out.suffix.lower() != ".png":
        raise InputError(f"--out: expected a name that ends in .png, received {click.format_filename(out)}")
    results = [read_result(named_run(name, runs_root, site)) for name in runs]
    varied = differences(results)
    if as_json:
        click.echo(json.dumps([asdict(result) | {"differs": one} for result, one in zip(results, varied, strict=True)]))
    else:
        _print(results, varied)
    if out is not None or not as_json:
        path = out or Path("compare.png")
        _plot(path, results)
        click.echo(f"curves  {click.format_filename(path.absolute())}", err=as_json)


def _plot(path: Path, results: Sequence[TrainingResult]) -> None:
    try:
        from segbatch.training.side_by_side import write_comparison
    except ImportError as error:
        raise InputError(f"drawing curves needs pip install segbatch[worker] ({error}); --json does without") from None
    write_comparison(path, results)


def _print(results: Sequence[TrainingResult], varied: Sequence[dict[str, Any]]) -> None:
    winners = {name: _winner(results, name) for name in TITLES}
    rows = [["run", "best epoch", *TITLES.values(), "parameters", "s/epoch"]]
    for result in results:
        going = "" if result.epochs == result.planned else f" ({result.epochs} done)"
        best = f"{result.best or '-'} of {result.planned}{going}"
        scores = [_score(result.figures[name], winners[name]) for name in TITLES]
        size = "-" if result.parameters is None else f"{result.parameters:,}"
        seconds = "-" if result.seconds is None else f"{result.seconds:.1f}"
        rows.append([result.label, best, *scores, size, seconds])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for label, *cells in rows:
        aligned = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
        click.echo("  ".join([label.ljust(widths[0]), *aligned]).rstrip())
    _print_differences(results, varied)
    for note in _notes(results):
        click.echo(f"note: {note}")


def _print_differences(results: Sequence[TrainingResult], varied: Sequence[dict[str, Any]]) -> None:
    if len(results) > 1:
        click.echo("\nwhat differs between the jobs" + ("" if varied[0] else ": nothing"))
    for result, settings in zip(results, varied, strict=True):
        if settings:
            click.echo(f"  {result.label}")
        for key, value in settings.items():
            click.echo(f"    {key}: {_setting(value)}")


def _notes(results: Sequence[TrainingResult]) -> list[str]:
    notes = []
    if len({result.tiles for result in results}) > 1:
        notes.append("the runs were not trained and judged on the same tiles, so their scores are not comparable")
    if any(result.part == "train" for result in results):
        alone = ", ".join(result.label for result in results if result.part == "train")
        notes.append(f"without a validation part, figures are those of training: {alone}")
    return notes


def _winner(results: Sequence[TrainingResult], name: str) -> float | None:
    """The best value of a column, where there is something to choose."""
    known = [value for result in results if (value := result.figures[name]) is not None]
    if len(known) < 2:
        return None
    return min(known) if name == "loss" else max(known)


def _score(value: float | None, winner: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}{'*' if value == winner else ' ' if winner is not None else ''}"


def _setting(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value == [] or value is None:
        return "none"
    if isinstance(value, list) and all(isinstance(item, dict) and "op" in item for item in value):
        return ", ".join(" ".join([item["op"], *_rest(item)]) for item in value)
    text = json.dumps(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _rest(item: dict[str, Any]) -> list[str]:
    return [f"{key}={json.dumps(value)}" for key, value in item.items() if key != "op"]
