"""`segbatch demo`: paint a small world to try jobs on, and judge a run by it."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import click

from segbatch.demo.settings import ARCHIVE_SCENES, SCENES, SEED, SIDE, Settings
from segbatch.errors import InputError

if TYPE_CHECKING:
    from segbatch.demo.baseline import Baseline

FOREST = "forest"


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--seed", default=SEED, show_default=True, type=click.IntRange(0), help="Another seed, another world.")
@click.option(
    "--scenes",
    default=SCENES,
    show_default=True,
    type=click.IntRange(1, 500),
    help=f"Scenes to train on; each gives {SIDE * SIDE} tiles.",
)
@click.option(
    "--archive-scenes",
    default=ARCHIVE_SCENES,
    show_default=True,
    type=click.IntRange(1, 500),
    help="Scenes held out, to predict.",
)
@click.option(
    "--compare",
    metavar="RUN_FOLDER",
    type=click.Path(path_type=Path),
    help="Paint nothing; set this predict run's forest IoU beside that of the best single-colour thresholds.",
)
def demo(folder: Path, seed: int, scenes: int, archive_scenes: int, compare: Path | None) -> None:
    """Paint aerial landscapes with exact truth into FOLDER.

    FOLDER gets train/ and archive/, each with images/ (JPEG, 256 x 256) and masks/ (PNG), and labels.yaml with the
    classes field, forest, water and road. The same options give the same tiles on every machine; a folder that
    already holds them is left as it is, and one that holds anything else is refused.

    \b
    Example:
      segbatch demo demo/world
      segbatch demo demo/world --compare runs/demo-predict/RUN_ID
    """
    _require_worker()
    if compare is not None:
        _compare(folder, compare)
    else:
        _paint(folder, Settings(seed, scenes, archive_scenes, tile=256))


def _require_worker() -> None:
    missing = [
        package
        for package, module in (("numpy", "numpy"), ("pillow", "PIL"))
        if importlib.util.find_spec(module) is None
    ]
    if missing:
        raise InputError(f"segbatch demo needs {' and '.join(missing)}: pip install 'segbatch[worker]'")


def _paint(folder: Path, settings: Settings) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from segbatch.demo.world import make_world

    painted = False
    columns = (TextColumn("painting tiles"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("painting", total=settings.tiles, visible=False)

        def show(done: int, total: int) -> None:
            nonlocal painted
            painted = True
            bar.update(task, completed=done, total=total, visible=True)

        make_world(
            folder,
            scenes=settings.scenes,
            archive_scenes=settings.archive_scenes,
            tile=settings.tile,
            seed=settings.seed,
            progress=show,
        )
    held = settings.archive_scenes * SIDE * SIDE
    state = "painted" if painted else "there already:"
    click.echo(f"{click.format_filename(folder)}: {state} {settings.tiles - held} tiles to train on, {held} held out")


def _compare(folder: Path, run: Path) -> None:
    tp, fp, fn = read_counts(run / "report" / "classes.csv")

    from segbatch.demo.baseline import baseline

    best = baseline(folder)
    union = tp + fp + fn
    click.echo(comparison(tp / union if union else 0.0, best))
    truth = best.honest.tp + best.honest.fn
    if tp + fn != truth:
        click.echo(
            f"note: the run was scored on other pixels than the thresholds: {tp + fn} of forest in its report, "
            f"{truth} in {click.format_filename(folder / 'archive')}."
        )
    click.echo(f"report: {click.format_filename((run / 'report' / 'index.html').absolute())}")


def read_counts(table: Path) -> tuple[int, int, int]:
    """True positives, false positives and false negatives of the class forest in a report's `classes.csv`.

    Raises:
        InputError: there is no such report, or it has no class forest.
    """
    name = click.format_filename(table)
    try:
        with table.open(encoding="utf-8", newline="") as handle:
            rows = [row for row in csv.DictReader(handle) if row.get("name") == FOREST]
    except OSError as error:
        raise InputError(
            f"{name}: cannot be read ({error.strerror}). "
            "Expected the folder of a finished predict run with ground truth."
        ) from error
    try:
        (row,) = rows
        return int(row["tp"]), int(row["fp"]), int(row["fn"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{name}: expected one row of class {FOREST!r} with whole numbers in columns tp, fp and fn. "
            "Was the run scored with the demo's labels?"
        ) from error


def comparison(run: float, best: Baseline) -> str:
    """The three scores, one a line."""
    rows = (
        ("this run", run),
        (f"best threshold found on the training tiles: {best.honest.rule}", best.honest.iou),
        (f"best threshold found on the held-out tiles themselves: {best.generous.rule}", best.generous.iou),
    )
    wide = max(len(text) for text, _ in rows)
    lines = [f"{'IoU of forest on the held-out tiles':<{wide}}      "]
    lines += [f"{text:<{wide}}  {iou:.4f}" for text, iou in rows]
    return "\n".join(line.rstrip() for line in lines)
