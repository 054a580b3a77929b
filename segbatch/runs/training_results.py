"""What a train run has come to, read from its folder: best epoch, curves, and the settings that shaped it."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segbatch.errors import InputError
from segbatch.runs.run import Run
from segbatch.spec.job import TrainJob
from segbatch.spec.metrics import column_of, lower_is_better

FIGURES = ("loss", "accuracy", "iou", "dice")
NOT_COMPARED = frozenset(
    {"kind", "name", "resources", "finish", "retries", "container", "output", "report", "profile", "slurm"}
    | {"schedule", "notify", "keep"}
)
"""Sections of a job that do not change what is learned."""


@dataclass(frozen=True)
class TrainingResult:
    """One train run."""

    label: str
    epochs: int
    """Epochs finished."""
    planned: int
    """Epochs that the job asks for, over all its phases."""
    best: int | None
    """The best epoch, counted from 1."""
    part: str
    """val, or train where there was no validation: whose figures follow."""
    figures: Mapping[str, float | None]
    """Of the best epoch."""
    parameters: int | None
    """Numbers in the network; known once a training is finished."""
    seconds: float | None
    """Seconds an epoch, on average."""
    curves: Mapping[str, Sequence[float | None]]
    """By column of history.csv, from the first epoch on."""
    settings: Mapping[str, Any]
    """The job's settings by dotted key."""
    tiles: str
    """Digest of the split: runs that share it were judged by the same tiles."""


def read_result(run: Run) -> TrainingResult:
    """Read a train run, finished or not.

    Raises:
        InputError: it is no train run, or has not finished an epoch.
    """
    job = run.job
    if not isinstance(job, TrainJob):
        raise InputError(f"{run.label}: expected a train run, received one of kind: {run.record.kind}")
    curves = _columns(run.paths.training / "history.csv")
    epochs = len(curves.get("loss", ()))
    if not epochs:
        raise InputError(f"{run.label} has not finished an epoch yet. `segbatch status {run.paths.folder}` says more.")
    part = "val" if any(value is not None for value in curves.get("val_loss", ())) else "train"
    prefix = "val_" if part == "val" else ""
    summary = _summary(run.paths.training / "summary.json")
    best = summary.get("best_epoch") or _best(curves, prefix, str(job.train.best))
    return TrainingResult(
        label=run.label,
        epochs=epochs,
        planned=sum(job.phase_epochs),
        best=best,
        part=part,
        figures={name: curves[prefix + name][best - 1] if best else None for name in FIGURES},
        parameters=summary.get("parameters"),
        seconds=_seconds(run.paths.training / "timing.csv"),
        curves=curves,
        settings=flat({key: value for key, value in _plain(job).items() if key not in NOT_COMPARED}),
        tiles=run.record.digests.get("split", ""),
    )


def differences(results: Sequence[TrainingResult]) -> list[dict[str, Any]]:
    """Of each run, the settings that not all runs share; None where a run lacks one that another has."""
    keys = dict.fromkeys(key for result in results for key in result.settings)
    varied = [
        key for key in keys if any(result.settings.get(key) != results[0].settings.get(key) for result in results)
    ]
    return [{key: result.settings.get(key) for key in varied} for result in results]


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, by dotted key; lists stay whole."""
    if not isinstance(value, Mapping):
        return {prefix: value}
    inner = (flat(item, f"{prefix}.{key}".lstrip(".")) for key, item in value.items())
    return {key: leaf for part in inner for key, leaf in part.items()}


def _plain(job: TrainJob) -> dict[str, Any]:
    lists = {"augment": [step.plain() for step in job.augment], "phases": [phase.plain() for phase in job.phases]}
    return job.model_dump(mode="json") | lists


def _columns(path: Path) -> dict[str, list[float | None]]:
    columns: dict[str, list[float | None]] = {}
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            for row in csv.DictReader(handle):
                for key, value in row.items():
                    columns.setdefault(key, []).append(float(value) if value else None)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path}: not the history of a training: {error}") from error
    return columns


def _summary(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found


def _best(curves: Mapping[str, Sequence[float | None]], prefix: str, metric: str) -> int | None:
    """The best epoch so far; of equal ones the first."""
    column = curves.get(column_of(metric, prefix), ())
    known = [value for value in column if value is not None]
    if not known:
        return None
    return 1 + list(column).index(min(known) if lower_is_better(metric) else max(known))


def _seconds(path: Path) -> float | None:
    columns = _columns(path)
    spent = [value for key in ("train_seconds", "val_seconds") for value in columns.get(key, ()) if value is not None]
    epochs = len(columns.get("epoch", ()))
    return sum(spent) / epochs if epochs else None
