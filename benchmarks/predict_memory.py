"""A predict task over a hundred thousand tiles: its memory at the end against that after the first twentieth.

The tiles are hard links to a few small pictures, the network is one convolution, and the worker is a process of its
own, as schedulers start it. Its resident memory is sampled while it works. TILES in the environment makes it shorter.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from segbatch.runs.progress import read_progress
from segbatch.runs.run import Run

TILES = int(os.environ.get("TILES", "100000"))
MOST_GROWTH = 0.05
PICTURES, SIDE, FOLDER = 8, 32, 1000
BATCH = 16
EVERY_S = 0.25
EARLY, LATE = (0.05, 0.08), (0.95, 1.0)
"""Parts of the task whose samples count, as shares of its tiles."""


def measure() -> Iterator[tuple[str, bool]]:
    """Run the task and compare."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _link(folder / "images")
        run = _run(folder)
        began = time.perf_counter()
        samples = _watched(run)
        seconds = time.perf_counter() - began
    early, late = (_median(samples, part) for part in (EARLY, LATE))
    growth = late / early - 1
    yield (
        f"memory of a task of {TILES:,} tiles ({TILES / seconds:.0f} a second): {early / 1e6:.0f} MB after "
        f"{EARLY[0]:.0%} of them, {late / 1e6:.0f} MB at the end: {growth:+.1%} (at most {MOST_GROWTH:+.0%})",
        growth <= MOST_GROWTH,
    )


def _link(folder: Path) -> None:
    import numpy as np
    from PIL import Image

    folder.mkdir()
    chance = np.random.default_rng(2)
    sources = [folder / f".{number}.png" for number in range(PICTURES)]
    for source in sources:
        Image.fromarray(chance.integers(0, 256, (SIDE, SIDE, 3), np.uint8)).save(source)
    for number in range(TILES):
        place = folder / f"{number // FOLDER:04}" / f"{number % FOLDER:03}.png"
        if not number % FOLDER:
            place.parent.mkdir()
        place.hardlink_to(sources[number % PICTURES])


def _run(folder: Path) -> Run:
    import keras

    from tests.support.worlds import make_bundle, make_run

    inputs = keras.Input((SIDE, SIDE, 3))
    bundle = make_bundle(folder / "model", keras.Model(inputs, keras.layers.Conv2D(1, 3, padding="same")(inputs)))
    data = {"root": str(folder), "images": "images"}
    return make_run(folder, "predict", data, model=str(bundle), predict={"batch_size": BATCH})


def _watched(run: Run) -> list[tuple[float, int]]:
    """Run the task; return its memory in bytes, each with the share of the tiles done at the time."""
    command = [sys.executable, "-m", "segbatch.worker", str(run.paths.folder), "--task", "0"]
    samples = []
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as worker:
        while worker.poll() is None:
            done = int(read_progress(run.paths.task(0).progress).get("done", 0))
            if resident := _resident(worker.pid):
                samples.append((done / TILES, resident))
            time.sleep(EVERY_S)
    if worker.returncode:
        raise RuntimeError(f"the task ended with exit code {worker.returncode}")
    return samples


def _resident(process: int) -> int:
    """Bytes of a process in memory; 0 if it has ended."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def _median(samples: list[tuple[float, int]], part: tuple[float, float]) -> float:
    first, last = part
    return statistics.median(size for share, size in samples if first <= share <= last)
