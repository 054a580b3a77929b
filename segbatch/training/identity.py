"""What a checkpoint belongs to: the settings that shape a training, and the tiles it learns from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from segbatch.runs.files import digest
from segbatch.spec.job import TrainJob

_SHAPING = {"epochs", "batch_size", "best", "deterministic", "early_stop", "dropout", "accumulate", "precision", "xla"}
"""Keys of `train` that change what comes out."""


@dataclass(frozen=True)
class Identity:
    """Two trainings of equal identity compute the same."""

    settings: Mapping[str, Any]
    """Nested settings of the job, as plain JSON values."""
    tiles: Mapping[str, Any]
    """Part -> number of its tiles and digest of their names, in order."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"settings": dict(self.settings), "tiles": dict(self.tiles)}

    def differences(self, saved: Mapping[str, Any]) -> list[str]:
        """Name in words what differs from a saved identity; empty when nothing does."""
        then, now = _flat(saved["settings"]), _flat(self.settings)
        found = [
            f"{key} was {_spell(then, key)}, is {_spell(now, key)}"
            for key in sorted(then.keys() | now.keys())
            if _spell(then, key) != _spell(now, key)
        ]
        for part, have in self.tiles.items():
            had = saved["tiles"][part]
            if had != have:
                found.append(f"other tiles in part {part} ({had['count']} then, {have['count']} now)")
        return found


def identity_of(job: TrainJob, names: Mapping[str, Sequence[str]]) -> Identity:
    """Identity of training `job` on tiles of these names, by part."""
    classes = [item.model_dump(mode="json", include={"id", "name", "ignore", "values"}) for item in job.labels.classes]
    settings = {
        "seed": job.seed,
        "labels": {"classes": classes, "unclaimed": job.labels.unclaimed},
        "data": job.data.model_dump(mode="json", include={"bands", "depth", "decode", "size"})
        | ({"labelled": True} if job.data.labelled else {}),
        "model": job.model.model_dump(mode="json"),
        "loss": job.loss.model_dump(mode="json"),
        "optimizer": job.optimizer.model_dump(mode="json"),
        "augment": [step.plain() for step in job.augment],
        "train": job.train.model_dump(mode="json", include=_SHAPING),
        "phases": [phase.plain() for phase in job.phases],
    }
    tiles = {
        part: {
            "count": len(of_part),
            "digest": digest(*(f"{name}\0".encode("utf-8", "surrogateescape") for name in of_part)),
        }
        for part, of_part in names.items()
    }
    return Identity(settings, tiles)


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping):
        items = [(f".{key}", item) for key, item in value.items()]
    elif isinstance(value, list | tuple):
        items = [(f"[{number}]", item) for number, item in enumerate(value)]
    else:
        return {prefix: value}
    return {key: leaf for name, item in items for key, leaf in _flat(item, f"{prefix}{name}".lstrip(".")).items()}


def _spell(values: Mapping[str, Any], key: str) -> str:
    return json.dumps(values[key]) if key in values else "not set"
