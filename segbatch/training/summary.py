"""What is said of a training when it is over: its summary, and its bundle's description."""

from __future__ import annotations

from typing import Any

import keras

from segbatch.models.decision import Head
from segbatch.models.dropout import Dropout
from segbatch.spec.bundle import BundleInfo
from segbatch.spec.job import TrainJob
from segbatch.training.basis import Basis
from segbatch.training.state import TrainState

THRESHOLD = 0.5


def bundle_info(job: TrainJob, head: Head, provenance: dict[str, Any], basis: Basis) -> BundleInfo:
    """Say of a trained network what predicting needs to know; a threshold that is chosen is left at 0.5."""
    return BundleInfo(
        name=job.name,
        labels=job.labels,
        head=head,
        output="logits",
        input=job.model.input,
        resize=job.model.resize,
        bands=job.data.bands,
        depth=job.data.depth,
        decode=job.data.decode,
        normalize=job.model.normalize,
        mean=basis.mean,
        deviation=basis.deviation,
        threshold=THRESHOLD if job.train.threshold == "best_iou" else job.train.threshold,
        provenance=provenance | basis.to_provenance(),
    )


def summarize(job: TrainJob, state: TrainState, tiles: dict[str, int]) -> dict[str, Any]:
    """Sum up a training: best epoch and its scores, tiles of each part, seconds over all attempts."""
    record = state.history[(state.best_epoch or 1) - 1]
    judged = record.judged
    seconds = sum(item.train_s + item.val_s for item in state.times)
    learning = sum(item.train_s for item in state.times)
    return {
        "epochs": state.epoch,
        "best_epoch": state.best_epoch,
        "best_by": f"{'train' if record.val is None else 'val'} {job.train.best}",
        "scores": {
            "loss": judged.loss,
            "accuracy": judged.accuracy,
            "iou": judged.iou,
            "dice": judged.dice,
            "class_iou": dict(zip(job.labels.names, judged.class_iou, strict=True)),
            "class_dice": dict(zip(job.labels.names, judged.class_dice, strict=True)),
        },
        "tiles": tiles,
        "rejected": len(state.rejected),
        "seconds": round(seconds, 3),
        "tiles_per_second": round(sum(item.tiles for item in state.times) / learning, 3) if learning else None,
    }


def parameters(model: keras.Model) -> int:
    """Numbers in a network that its bundle holds: all but the rates that our dropout layers keep as variables."""
    rates = sum(isinstance(layer, Dropout) for layer in model._flatten_layers())
    return int(model.count_params()) - rates


def verdict(summary: dict[str, Any]) -> str:
    """Say in a line how the training ended."""
    scores = summary["scores"]
    return (
        f"best epoch {summary['best_epoch']} of {summary['epochs']} by {summary['best_by']}, "
        f"IoU {spell(scores['iou'])}, Dice {spell(scores['dice'])}"
    )


def spell(value: float | None) -> str:
    """Four decimals, or a dash where the figure is undefined."""
    return "-" if value is None else f"{value:.4f}"


def duration(seconds: float) -> str:
    """A time in words that are precise enough."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
