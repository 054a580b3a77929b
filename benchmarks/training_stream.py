"""Learning from files against learning from data already in memory: the input pipeline must not hold the network up.

The network is the forest job's (MobileNetV2 and pix2pix at 128x128, from 256x256 JPEG tiles with PNG masks), at random
weights. Epochs of both kinds take turns. The second line is the process's memory over further epochs.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

LEAST = 0.95
MOST_GROWTH = 0.03
"""Share by which memory may grow from the second to the last quarter of the epochs; it goes up and down by as much."""
SCENES, SCENE, TILE = 12, 512, 256
BATCH, ROUNDS = 16, 5
TIMES = 4
"""How often an epoch sees each tile: an epoch of few steps would be measured by its start."""
SMALL_EPOCHS, SMALL_TILES = 60, 16


def measure() -> Iterator[tuple[str, bool]]:
    """Compare the two in this process."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with tempfile.TemporaryDirectory() as folder:
        pairs = _tiles(Path(folder))
        yield _speed(pairs)
        yield _memory(pairs)


def _tiles(folder: Path) -> list[tuple[bytes, bytes]]:
    """Paint tiles; returns paths of images and masks."""
    from PIL import Image

    from segbatch.demo.landscape import paint_scene

    pairs = []
    for number in range(SCENES):
        scene = paint_scene(7, number, SCENE)
        for top in range(0, SCENE, TILE):
            for left in range(0, SCENE, TILE):
                image, mask = folder / f"{number}-{top}-{left}.jpg", folder / f"{number}-{top}-{left}.png"
                part = (slice(top, top + TILE), slice(left, left + TILE))
                Image.fromarray(scene.image[part]).save(image, quality=90)
                Image.fromarray(scene.mask[part]).save(mask)
                pairs.append((os.fsencode(image), os.fsencode(mask)))
    return pairs


def _training(pairs: list[tuple[bytes, bytes]], model: dict[str, Any]) -> tuple[Callable[[Any], None], Any]:
    """Make the compiled step of learning and the feed of a job with this network."""
    from segbatch.data.normalize import Normalization
    from segbatch.models.build import build
    from segbatch.spec.job import TrainJob
    from segbatch.training.feed import Feed
    from segbatch.training.losses import make_loss
    from segbatch.training.optimizers import make_optimizer
    from segbatch.training.steps import Steps

    names = ("ground", "forest", "water", "road")
    classes = [{"id": number, "name": name, "color": [60 * number, 99, 0]} for number, name in enumerate(names)]
    job = TrainJob.model_validate(
        {
            "kind": "train",
            "name": "bench",
            "labels": {"name": "bench", "classes": classes},
            "data": {"images": "images", "masks": "masks"},
            "model": model,
            "train": {"batch_size": BATCH},
        }
    )
    loss = make_loss(job.loss, len(classes))
    network = build(job.model, bands=3, channels=loss.channels, seed=0)
    steps = Steps(
        network, loss, make_optimizer(job.optimizer), normalize=Normalization("unit", 8), classes=len(classes)
    )
    feed = Feed("train", pairs, [os.fsdecode(name) for name, _ in pairs], job, len(os.sched_getaffinity(0)))
    return steps.learn, feed


def _epoch(learn: Callable[..., None], batches: Iterable[Any]) -> float:
    """Learn from all batches; returns steps a second."""
    begun, count = time.perf_counter(), 0
    for batch in batches:
        learn(batch.image, batch.truth)
        count += 1
    return count / (time.perf_counter() - begun)


def _ignore(part: str, missing: list[int]) -> None:
    raise RuntimeError(f"unreadable tiles in {part}: {missing}")


def _speed(pairs: list[tuple[bytes, bytes]]) -> tuple[str, bool]:
    learn, feed = _training(pairs * TIMES, {"encoder": "mobilenet_v2", "freeze": True, "input": [128, 128]})
    memory = list(feed.batches(0, 0, _ignore))
    _epoch(learn, memory)
    turns = [(_epoch(learn, feed.batches(epoch, 0, _ignore)), _epoch(learn, memory)) for epoch in range(ROUNDS)]
    stream, held = (statistics.median(rates) for rates in zip(*turns, strict=True))
    share = statistics.median(one / two for one, two in turns)
    line = (
        f"learning from files {stream:.2f} steps/s, from memory {held:.2f} steps/s ({BATCH} tiles of 128x128, "
        f"MobileNetV2): {share:.3f} (at least {LEAST})"
    )
    return line, share >= LEAST


def _memory(pairs: list[tuple[bytes, bytes]]) -> tuple[str, bool]:
    small = {"architecture": "unet", "filters": 4, "depth": 2, "input": [64, 64]}
    learn, feed = _training(pairs[:SMALL_TILES], small)
    sizes = []
    for epoch in range(SMALL_EPOCHS):
        _epoch(learn, feed.batches(epoch, 0, _ignore))
        sizes.append(_resident())
    quarter = SMALL_EPOCHS // 4
    early, late = statistics.median(sizes[quarter : 2 * quarter]), statistics.median(sizes[-quarter:])
    growth = late / early - 1
    line = (
        f"memory over {SMALL_EPOCHS} epochs: {early / 1e6:.0f} MB in the second quarter, {late / 1e6:.0f} MB in the "
        f"last: {growth:+.1%} (at most {MOST_GROWTH:+.0%})"
    )
    return line, growth <= MOST_GROWTH


def _resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
