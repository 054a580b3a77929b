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
from segbatch.training.peers import Peers

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


def make_eventful_job(**train: Any) -> TrainJob:
    """A job of two phases with all that a resumed training has to remember: 3 + 2 epochs."""
    sections = {
        "train": {"epochs": 3, "dropout": [[0, 0.3], [1, 0.1]], "early_stop": {"patience": 4}, **train},
        "optimizer": {
            "name": "adamw",
            "learning_rate": 0.01,
            "schedule": {"name": "cosine", "final": 1e-4, "warmup_steps": 2},
            "clip": {"global_norm": 1.0},
            "ema": 0.9,
        },
        "augment": [{"op": "flip_left_right"}, {"op": "flip_up_down", "p": 0.3}],
    }
    falling = {"name": "plateau", "metric": "loss", "patience": 1, "min_gain": 10.0}
    second = {"epochs": 2, "learning_rate": 0.005, "schedule": falling, "dropout": 0.4, "optimizer_state": "reset"}
    return make_job(**sections, phases=[{}, second])


def run(
    job: TrainJob,
    pairs: Sequence[Pair],
    folder: Path,
    *,
    stop: Callable[[], bool] = lambda: False,
    log: Callable[[str], None] = print,
    train: int = TRAIN,
    force: bool = False,
    peers: Peers | None = None,
) -> dict[str, Any]:
    """Train in `folder` on the first `train` tiles, validate on the others."""
    folder.mkdir(exist_ok=True, parents=True)
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
        force=force,
        peers=peers,
        log=log,
    )


def main(tiles: str, folder: str, what: str, kill_at: str) -> None:
    """Train the eventful job, and die by SIGKILL.

    Args:
        tiles: folder for the tiles.
        folder: of the training.
        what: `flush` writes a checkpoint after every step and dies at a flush to disk, before its rename; `step` writes
            them after epochs only and dies after a step.
        kill_at: which one, from 1.
    """
    flush, left = os.fsync, int(kill_at)

    def count() -> bool:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return False

    def flush_or_die(descriptor: int) -> None:
        count()
        flush(descriptor)

    pairs = make_tiles(Path(tiles))
    if what == "flush":
        os.fsync = flush_or_die
        run(make_eventful_job(checkpoint_minutes=1e-9), pairs, Path(folder))
    else:
        run(make_eventful_job(), pairs, Path(folder), stop=count)


if __name__ == "__main__":
    main(*sys.argv[1:])
