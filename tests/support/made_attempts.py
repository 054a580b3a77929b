"""Predict runs without TensorFlow: attempts at their tasks as a worker makes them, with masks that are none."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from segbatch.runs.files import write_bytes
from segbatch.runs.journal import JournalRow, JournalWriter, RejectionWriter, claim_attempt
from segbatch.runs.marks import vouch
from segbatch.runs.masks import mask_path
from segbatch.runs.run import Run
from segbatch.runs.tiles import Tile, read_tiles
from segbatch.spec.bundle import BundleInfo
from tests.support.labels import TWO_CLASSES
from tests.support.worlds import make_run


def predict_run(root: Path, tiles: int, *, tasks: int = 1, batch: int = 4) -> Run:
    """A predict run over images that nothing reads, some with names that need quotes in the tile list."""
    model = root / "model"
    if not model.exists():
        model.mkdir(parents=True)
        (model / "model.keras").write_bytes(b"weights")
        info = BundleInfo(name="net", labels=TWO_CLASSES, head="binary", input=(32, 32))
        (model / "bundle.json").write_text(info.model_dump_json())
        (root / "images").mkdir()
    for number in range(tiles):
        (root / "images" / f"{number:03}{['', ' a,b', chr(10), chr(34)][number % 4]}.png").touch()
    data = {"root": str(root), "images": "images"}
    settings = {"batch_size": batch, "tasks": tasks}
    return make_run(root, "predict", data, model=str(model), predict=settings, report={"pictures": 0})


def do(run: Run, task: int, indexes: Iterable[int], bad: Sequence[int] = (), *, ends: bool = False) -> None:
    """One attempt at a task: masks and rows of some of its tiles, the bad ones rejected.

    Args:
        run: the run.
        task: the task.
        indexes: positions in the tile list.
        bad: those of them that cannot be read.
        ends: the attempt comes to its end, and vouches for what it did.
    """
    tiles = dict(enumerate(read_tiles(run.paths.tiles)))
    paths = run.paths.task(task)
    attempt = claim_attempt(paths)
    writer, rejections = JournalWriter(paths.journal(attempt)), RejectionWriter(paths.rejected(attempt))
    for index in indexes:
        if index in bad:
            rejections.write(index, tiles[index].name, "cannot be read")
            continue
        writer.write([_row(run, index, tiles[index])])
    writer.close()
    if ends:
        vouch(run, task, attempt, bad)


def _row(run: Run, index: int, tile: Tile) -> JournalRow:
    mask = f"mask {index}".encode()
    path = mask_path(run, index, tile)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, mask, durable=False)
    return JournalRow(index, 2, 3, len(mask), zlib.crc32(mask), predicted=f"0:{index % 7} 1:1")
