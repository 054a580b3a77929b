"""Predict runs whose masks and journals are made without a network, and finished as the finishing task does."""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from segbatch.evaluation.counts import class_pixels, confusion, pack
from segbatch.evaluation.finish import finish
from segbatch.runs.files import write_bytes
from segbatch.runs.journal import JournalRow, JournalWriter, RejectionWriter, claim_attempt
from segbatch.runs.outputs import mask_path
from segbatch.runs.run import Run
from segbatch.runs.tiles import read_tiles
from segbatch.spec.bundle import BundleInfo
from tests.support.labels import TWO_CLASSES
from tests.support.worlds import make_run, make_tiles


def quiet(line: str) -> None:
    """A log that nobody reads."""


def finished_run(root: Path, *, tiles: int = 20, tasks: int = 3, truth: bool = True, bad: Sequence[int] = ()) -> Run:
    """A complete run with its report; the `bad` tiles were rejected."""
    make_tiles(root, tiles, size=[(8, 8), (6, 9)])
    model = root / "model"
    model.mkdir()
    (model / "model.keras").write_bytes(b"weights")
    info = BundleInfo(name="net", labels=TWO_CLASSES, head="binary", input=(8, 8))
    (model / "bundle.json").write_text(info.model_dump_json())
    data = {"root": str(root), "images": "images"} | ({"masks": "masks"} if truth else {})
    settings = {"batch_size": 2, "tasks": tasks}
    run = make_run(root, "predict", data, model=str(model), predict=settings, report={"pictures": 0})
    for task in run.tasks:
        predict(run, task, bad=bad)
    finish(run, quiet)
    return run


def predict(run: Run, task: int, *, bad: Sequence[int] = ()) -> None:
    """One attempt at a task: masks that are random but the same each time, counted against the truth."""
    shard = run.shard(task)
    attempt = claim_attempt(run.paths.task(task))
    writer = JournalWriter(run.paths.task(task).journal(attempt))
    rejections = RejectionWriter(run.paths.task(task).rejected(attempt))
    for index, tile in enumerate(read_tiles(run.paths.tiles, shard), shard.first):
        if index in bad:
            rejections.write(index, tile.name, "empty file (0 bytes)")
            continue
        with Image.open(Path(run.record.images_root, tile.image)) as picture:
            height, width = picture.height, picture.width
        mask = np.random.default_rng(index).integers(0, 2, (height, width), np.uint8)
        content = io.BytesIO()
        Image.fromarray(mask).save(content, "PNG")
        path = mask_path(run, tile)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, content.getvalue(), durable=False)
        size, crc = len(content.getvalue()), zlib.crc32(content.getvalue())
        told = {}
        if run.record.masks_root:
            told["counts"] = pack(confusion(np.asarray(Image.open(Path(run.record.masks_root, tile.mask))), mask, 2))
        predicted = pack(class_pixels(mask, 2))
        writer.write([JournalRow(index, height, width, size, crc, predicted=predicted, **told)])
    writer.close()
