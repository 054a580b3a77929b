"""A training's figures by epoch: as tables and as curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from segbatch.runs.files import replacing
from segbatch.spec.metrics import column_of
from segbatch.training.metrics import METRICS, Figures
from segbatch.training.state import EpochRecord, EpochTime
from segbatch.training.tables import Cell, write_table

TITLES = {"loss": "loss", "accuracy": "accuracy", "iou": "mean IoU", "dice": "mean Dice"}
TRAIN_COLOR, VAL_COLOR, BEST_COLOR = "#3b6ea5", "#c8553d", "#777777"


def write_history(path: Path, history: Sequence[EpochRecord], names: Sequence[str]) -> None:
    """Write `history.csv`: one line an epoch, the same bytes whenever the same was computed.

    Columns: epoch; phase; loss, accuracy, iou, dice of the training part, while learning; the same with `val_` of the
    validation part; learning_rate; dropout, where the job sets it; then `val_iou` and `val_dice` of every class. What
    is undefined is empty.
    """
    header = ["epoch", "phase", *METRICS, *(f"val_{metric}" for metric in METRICS), "learning_rate", "dropout"]
    header += [column_of(f"{what}:{name}", "val_") for name in names for what in ("iou", "dice")]
    write_table(path, header, [_row(record, len(names)) for record in history])


def _row(record: EpochRecord, classes: int) -> list[Cell]:
    nothing: tuple[None, ...] = (None,) * classes
    val = record.val or Figures(None, None, None, None, nothing, nothing)
    by_class = [value for pair in zip(val.class_iou, val.class_dice, strict=True) for value in pair]
    train = [record.train.value(metric) for metric in METRICS]
    judged = [val.value(metric) for metric in METRICS]
    return [record.epoch, record.phase, *train, *judged, record.learning_rate, record.dropout, *by_class]


def write_timing(path: Path, times: Sequence[EpochTime]) -> None:
    """Write `timing.csv`: seconds of learning and of validation by epoch, and training tiles a second."""
    rows = [(item.epoch, round(item.train_s, 3), round(item.val_s, 3), round(item.rate, 2)) for item in times]
    write_table(path, ("epoch", "train_seconds", "val_seconds", "tiles_per_second"), rows)


def write_curves(path: Path, history: Sequence[EpochRecord], best: int | None, title: str) -> None:
    """Draw `curves.png`: loss, accuracy, IoU and Dice over the epochs, the best epoch marked."""
    figure = Figure(figsize=(9, 6.4), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=11, parse_math=False)
    epochs = [record.epoch for record in history]
    for axes, metric in zip(figure.subplots(2, 2).flat, METRICS, strict=True):
        marker = "o" if len(history) < 30 else None
        _line(axes, epochs, [record.train.value(metric) for record in history], "training", TRAIN_COLOR, marker)
        if any(record.val for record in history):
            val = [record.val.value(metric) if record.val else None for record in history]
            _line(axes, epochs, val, "validation", VAL_COLOR, marker)
        if best is not None:
            axes.axvline(best, color=BEST_COLOR, linewidth=1, linestyle=":", label=f"best epoch ({best})")
        axes.set_title(TITLES[metric], fontsize=10)
        axes.set_xlabel("epoch", fontsize=9)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        if metric == "loss":
            axes.set_ylim(bottom=0)
        axes.legend(fontsize=8, frameon=False)
    with replacing(path, durable=False) as handle:
        figure.savefig(handle, format="png", dpi=110)


def _line(
    axes: object, epochs: Sequence[int], values: Sequence[float | None], label: str, color: str, marker: str | None
) -> None:
    points = [float("nan") if value is None else value for value in values]
    axes.plot(epochs, points, label=label, color=color, marker=marker, markersize=3, linewidth=1.5)  # type: ignore[attr-defined]
