"""What `summary.json` holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from segbatch.evaluation.scores import Score, Scores
from segbatch.spec.labels import Labels

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Title:
    """What a report is about."""

    run: str
    """Id of the run."""
    job: str
    """Name of the job."""
    kind: str
    """Kind of the job: predict or evaluate."""


@dataclass(frozen=True)
class TileCounts:
    """How many tiles became what; done + rejected + missing = total."""

    total: int
    """Tiles of the run."""
    done: int
    """Tiles that the report covers."""
    scored: int
    """Those of them that have a valid pixel of truth, and so count in the scores."""
    rejected: int
    """Tiles that could not be used; rejected.csv names them."""
    missing: int
    """Tiles that no task has finished."""


def build_summary(
    title: Title,
    labels: Labels,
    scores: Scores | None,
    shares: Sequence[Score],
    tiles: TileCounts,
    timing: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the values of `summary.json`; undefined scores are None.

    Args:
        title: run and job.
        labels: the classes.
        scores: of the whole set; None without ground truth.
        shares: share of the prediction by class.
        tiles: how many tiles became what.
        timing: `tiles_per_second` and `megapixels_per_second` of a task, `seconds` of all tasks added up, `stages`
            (name -> seconds), as far as known.
        provenance: where the results come from; its `digests` stand at the top.
    """
    rest = {key: value for key, value in provenance.items() if key != "digests"}
    return {
        "schema_version": SCHEMA_VERSION,
        **asdict(title),
        "labels": labels.name,
        "tiles": asdict(tiles),
        "scores": None if scores is None else _overall(labels, scores),
        "classes": [_class(labels, scores, share, index) for index, share in enumerate(shares)],
        "timing": dict(timing),
        "digests": dict(provenance.get("digests", {})),
        "provenance": rest,
    }


def _overall(labels: Labels, scores: Scores) -> dict[str, Any]:
    values: dict[str, Any] = {
        "valid_pixels": scores.valid,
        "accuracy": scores.accuracy,
        "mean_iou": scores.mean_iou,
        "mean_dice": scores.mean_dice,
        "frequency_weighted_iou": scores.frequency_weighted_iou,
        "classes_entered": {"number": len(scores.entered), "names": [labels.names[at] for at in scores.entered]},
    }
    if len(labels.names) == 2:
        values["foreground"] = {"name": labels.names[1], "iou": scores.iou[1], "dice": scores.dice[1]}
    return values


def _class(labels: Labels, scores: Scores | None, share: Score, index: int) -> dict[str, Any]:
    item = labels.scored[index]
    start: dict[str, Any] = {"id": item.id, "name": item.name}
    if scores is not None:
        for name in ("tp", "fp", "fn", "iou", "dice", "precision", "recall", "share_of_truth"):
            start[name] = getattr(scores, name)[index]
    return start | {"share_of_prediction": share}
