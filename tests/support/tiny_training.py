"""Trainings of a few tiny tiles; run as a program, one that kills itself the hard way."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from segbatch.data.pairs import Pair
from segbatch.spec.job import TrainJob
from segbatch.training import worker

SIDE = 32
TRAIN, VAL = 11, 5
BATCH = 4
TRAIN_STEPS = 3

TWO = {
    "name": "two",
    "classes": [
        {"id": 0, "name": "ground", "color": [20, 20, 20]},
        {"id": 1, "name": "box", "color": [250, 80, 10]},
    ],
}
THREE = {
    "name": "three",
    "classes": [
        *TWO["classes"],
        {"id": 2, "name": "stripe", "color": [0, 120, 250]},
        {"id": 9, "name": "void", "color": [0, 0, 0], "ignore": True},
    ],
}


def make_tiles(folder: Path, count: int = TRAIN + VAL) -> list[tuple[bytes, bytes]]:
    """Paint noisy tiles with a bright box, a blue stripe and a void corner; masks hold ids of THREE."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(5)
    pairs = []
    for number in range(count):
        mask = np.zeros((SIDE, SIDE), np.uint8)
        mask[generator.integers(0, SIDE - 3) :][:3] = 2
        top, left = generator.integers(2, SIDE - 12, 2)
        mask[top : top + 10, left : left + 10] = 1
        image = generator.integers(0, 90, (SIDE, SIDE, 3), dtype=np.uint8)
        image[mask == 1] += 120
        image[mask == 2, 2] += 120
        mask[:4, :4] = 9
        paths = folder / f"tile {number:02d}.png", folder / f"tile {number:02d}_mask.png"
        for path, pixels in zip(paths, (image, mask), strict=True):
            Image.fromarray(pixels).save(path)
        pairs.append((os.fsencode(paths[0]), os.fsencode(paths[1])))
    return pairs


def make_job(*, labels: dict[str, Any] = THREE, **sections: Any) -> TrainJob:
    """A job for such tiles; `train`, `model` and `optimizer` are added to what it says."""
    base: dict[str, dict[str, Any]] = {
        "train": {"epochs": 3, "batch_size": BATCH, "readers": 2, "previews": 0},
        "model": {"input": (SIDE, SIDE), "filters": 4, "depth": 1, "dropout": 0.2},
        "optimizer": {"learning_rate": 0.01},
    }
    extra = {key: base.get(key, {}) | sections.get(key, {}) for key in base}
    rest = {key: value for key, value in sections.items() if key not in base}
    augment = [{"op": "flip_left_right"}]
    return TrainJob.model_validate(
        {"kind": "train", "name": "tiny", "data": {}, "labels": labels, "augment": augment, "seed": 3} | extra | rest
    )


def run(
    job: TrainJob,
    pairs: Sequence[Pair],
    folder: Path,
    *,
    stop: Callable[[], bool] = lambda: False,
    log: Callable[[str], None] = print,
    train: int = TRAIN,
) -> dict[str, Any]:
    """Train in `folder` on the first `train` tiles, validate on the others."""
    folder.mkdir(exist_ok=True)
    names = [os.path.basename(os.fsdecode(pair[0])) for pair in pairs]
    return worker.train(
        job,
        pairs[:train],
        pairs[train:],
        (names[:train], names[train:]),
        folder=folder / "training",
        bundle=folder / "model",
        progress_path=folder / "progress.json",
        stop=stop,
        provenance={"run": "tiny/1"},
        log=log,
    )


def main(tiles: str, folder: str, kill_at: str) -> None:
    """Train with a checkpoint after every step, and die by SIGKILL at a given flush to disk, before its rename."""
    flush, flushed = os.fsync, 0

    def flush_or_die(descriptor: int) -> None:
        nonlocal flushed
        flushed += 1
        if flushed == int(kill_at):
            os.kill(os.getpid(), signal.SIGKILL)
        flush(descriptor)

    os.fsync = flush_or_die
    run(make_job(train={"checkpoint_minutes": 1e-9}), make_tiles(Path(tiles)), Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
