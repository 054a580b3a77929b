"""Bundles without networks, and finished predict runs without predicting."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from segbatch.evaluation.counts import class_pixels, confusion, pack
from segbatch.runs.creation import create_run
from segbatch.runs.journal import JournalRow, JournalWriter, claim_attempt
from segbatch.runs.masks import mask_path
from segbatch.runs.plan import make_plan
from segbatch.runs.run import Run
from segbatch.runs.tiles import read_tiles
from segbatch.spec.bundle import BundleInfo
from segbatch.spec.job import KINDS
from segbatch.spec.labels import Labels
from tests.support.labels import TWO_CLASSES


def fake_bundle(folder: Path, weights: str = "weights", labels: Labels = TWO_CLASSES, **provenance: Any) -> Path:
    """Write a bundle whose weights are a word."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.keras").write_text(weights)
    info = BundleInfo(name="net", labels=labels, head="binary", input=(32, 32), provenance=provenance)
    (folder / "bundle.json").write_text(info.model_dump_json())
    return folder


def write_holdout(root: Path, truths: Mapping[str, np.ndarray]) -> None:
    """Write images (of noise) and truth, ids uint8 [H, W], by name."""
    rng = np.random.default_rng(1)
    for name, truth in truths.items():
        for kind, pixels in (("images", rng.integers(0, 256, (*truth.shape, 3), np.uint8)), ("masks", truth)):
            path = root / kind / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)


def predicted_run(root: Path, model: str, masks: Mapping[str, np.ndarray], **sections: Any) -> Run:
    """A predict run over the holdout of `root`, its masks and journal written as a worker writes them.

    Args:
        root: holds `images/`, `masks/`, and gets `runs/`; the registry lies in `registry/`.
        model: what the job says.
        masks: predicted ids by tile, uint8 [H, W]; tiles without one stay missing.
        sections: further sections of the job.
    """
    data = {"root": str(root), "images": "images", "masks": "masks"}
    settings = {"kind": "predict", "name": "holdout", "data": data, "model": {"bundle": model}} | sections
    plan = make_plan(KINDS["predict"].model_validate(settings), root / "holdout.yaml", runs_root=root / "runs")
    run = create_run(plan)
    rows = []
    for index, tile in enumerate(read_tiles(run.paths.tiles)):
        if tile.image not in masks:
            continue
        path, predicted = mask_path(run, index, tile), masks[tile.image]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(predicted).save(path)
        truth = np.frombuffer(run.record.labels.raw_to_index(), np.uint8)[
            np.asarray(Image.open(Path(run.record.masks_root, tile.mask)))
        ]
        written = path.read_bytes()
        counts, pixels = pack(confusion(truth, predicted, 2)), pack(class_pixels(predicted, 2))
        rows.append(JournalRow(index, *predicted.shape, len(written), zlib.crc32(written), counts, pixels))
    writer = JournalWriter(run.paths.task(0).journal(claim_attempt(run.paths.task(0))))
    writer.write(rows)
    writer.close()
    return run
