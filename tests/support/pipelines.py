"""Pipelines of evaluate jobs, which need no TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.support.labels import TWO_CLASSES
from tests.support.worlds import make_tiles


def make_scored(folder: Path, count: int = 4) -> Path:
    """Tiles in `data`, and predictions that are the truth itself."""
    make_tiles(folder / "data", count, size=(16, 16))
    (folder / "data" / "predicted").symlink_to("masks")
    return folder


def evaluate(folder: Path, images: str = "images", **more: Any) -> dict[str, Any]:
    """The keys of an evaluate job over the tiles of `make_scored`."""
    data = {"root": str(folder / "data"), "images": images, "masks": "masks", "predictions": {"folder": "predicted"}}
    labels = TWO_CLASSES.model_dump(mode="json", exclude_defaults=True)
    return {"kind": "evaluate", "labels": labels, "data": data} | more


def write_pipeline(path: Path, stages: dict[str, Any], **more: Any) -> Path:
    """Write a pipeline's file."""
    path.write_text(yaml.safe_dump({"kind": "pipeline", "stages": stages} | more, sort_keys=False))
    return path
