"""Curves of several trainings in one picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from segbatch.errors import InputError
from segbatch.runs.files import replacing
from segbatch.runs.training_results import FIGURES, TrainingResult

TITLES = {"loss": "loss", "accuracy": "accuracy", "iou": "mean IoU", "dice": "mean Dice"}
Color = tuple[float, float, float, float]
TEN = 10
"""Trainings that the colours of `tab10` tell apart."""


def write_comparison(path: Path, results: Sequence[TrainingResult]) -> None:
    """Draw loss, accuracy, IoU and Dice of all trainings: validation in full lines, training dotted, a dot at the best.

    Raises:
        InputError: the file cannot be written.
    """
    figure = Figure(figsize=(11, 7.4 + 0.22 * -(-len(results) // 3)), layout="constrained")
    FigureCanvasAgg(figure)
    colors = matplotlib.colormaps["tab10" if len(results) <= TEN else "tab20"]
    for axes, metric in zip(figure.subplots(2, 2).flat, FIGURES, strict=True):
        for number, result in enumerate(results):
            _draw(axes, result, metric, colors(number % colors.N))
        _dress(axes, metric)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    legend = figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)
    figure.suptitle("validation: full lines, dot at the best epoch; training: dotted", fontsize=9)
    try:
        with replacing(path, durable=False) as handle:
            figure.savefig(handle, format="png", dpi=110)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}.") from error


def _draw(axes: Axes, result: TrainingResult, metric: str, color: Color) -> None:
    epochs = range(1, result.epochs + 1)
    judged = _points(result, f"val_{metric}" if result.part == "val" else metric)
    if result.part == "val":
        axes.plot(epochs, _points(result, metric), color=color, linewidth=1, linestyle=":")
    axes.plot(epochs, judged, color=color, linewidth=1.6, label=result.label)
    if result.best is not None:
        axes.plot([result.best], [judged[result.best - 1]], color=color, marker="o", markersize=5)


def _points(result: TrainingResult, column: str) -> list[float]:
    values = result.curves.get(column, [None] * result.epochs)
    return [float("nan") if value is None else value for value in values]


def _dress(axes: Axes, metric: str) -> None:
    axes.set_title(TITLES[metric], fontsize=10)
    axes.set_xlabel("epoch", fontsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if metric == "loss":
        axes.set_ylim(bottom=0)
