"""Many small files against few large ones: reading tiles from a folder and from a pack, writing masks in each layout.

Everything is in the page cache, so these are the costs of the processor and of this machine's file system alone; what a
network file system takes to open or create a file comes on top, and is what packs and archives are for.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from zlib import crc32

LEAST_READING = 0.9
LEAST_WRITING = 1.0
TILES, TILE, BATCH, ROUNDS = 640, 256, 16, 3
MASKS, MASK_BYTES, WRITERS = 2000, 2000, 2


def measure() -> Iterator[tuple[str, bool]]:
    """Compare reading, then writing."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with tempfile.TemporaryDirectory() as folder:
        yield _packing(Path(folder))
        yield _reading(Path(folder))
        yield _writing(Path(folder))


def _packing(folder: Path) -> tuple[str, bool]:
    """Paint tiles, and pack them."""
    from PIL import Image

    from segbatch.demo.landscape import paint_scene
    from segbatch.runs.packing import pack_folder

    scene = paint_scene(7, 1, 4 * TILE)
    for number in range(TILES):
        top, left = (number * 37) % (3 * TILE), (number * 61) % (3 * TILE)
        part = (slice(top, top + TILE), slice(left, left + TILE))
        for kind, pixels, suffix in (("images", scene.image, "jpg"), ("masks", scene.mask, "png")):
            path = folder / kind / str(number % 20) / f"{number}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels[part]).save(path)
    begun = time.perf_counter()
    packed = [pack_folder(folder / kind, folder / "packed" / kind, size=8 << 20) for kind in ("images", "masks")]
    seconds = time.perf_counter() - begun
    files, size = sum(one.tiles for one in packed), sum(one.size for one in packed)
    line = f"packing {files:,} files: {files / seconds:,.0f} a second, {size / 1e6 / seconds:,.0f} MB/s"
    return line, True


def _reading(folder: Path) -> tuple[str, bool]:
    import numpy as np

    from segbatch.data.formats import ImageFormat
    from segbatch.data.tile_stream import TileStream
    from segbatch.runs.listing import find_files

    table = bytes(np.arange(256, dtype=np.uint8))

    def stream(root: Path) -> tuple[float, float]:
        names = zip(sorted(find_files(root / "images")), sorted(find_files(root / "masks")), strict=True)
        slots = [
            (number, os.fsencode(root / "images" / image), os.fsencode(root / "masks" / mask))
            for number, (image, mask) in enumerate(names)
        ]
        wall, cpu = time.perf_counter(), time.process_time()
        count = sum(
            int((batch["size"][:, 0] > 0).numpy().sum())
            for batch in TileStream(slots, ImageFormat(3, 8), table, batch_size=BATCH, readers=2)
        )
        if count != TILES:
            raise RuntimeError(f"{TILES - count} tiles of {root} could not be read")
        return count / (time.perf_counter() - wall), (time.process_time() - cpu) / count

    pairs = [(stream(folder), stream(folder / "packed")) for _ in range(ROUNDS + 1)][1:]
    loose, packed = (statistics.median(pair[side][0] for pair in pairs) for side in (0, 1))
    cpu = [statistics.median(pair[side][1] for pair in pairs) * 1e6 for side in (0, 1)]
    share = statistics.median(two[0] / one[0] for one, two in pairs)
    line = (
        f"reading and decoding tiles with truth, warm: folder {loose:.0f} tiles/s ({cpu[0]:.0f} us of processor each), "
        f"pack {packed:.0f} tiles/s ({cpu[1]:.0f} us): {share:.2f} (at least {LEAST_READING})"
    )
    return line, share >= LEAST_READING


def _writing(folder: Path) -> tuple[str, bool]:
    turns = [
        {layout: _written(folder / f"{turn} {layout}", layout) for layout in ("mirror", "sharded", "tar")}
        for turn in range(ROUNDS)
    ]
    speed = {layout: statistics.median(turn[layout][0] for turn in turns) for layout in turns[0]}
    share = statistics.median(turn["tar"][0] / turn["mirror"][0] for turn in turns)
    merged = statistics.median(turn["tar"][1] for turn in turns)
    line = (
        f"writing masks of {MASK_BYTES} bytes, {WRITERS} writers: "
        + ", ".join(f"{layout} {rate:,.0f}/s" for layout, rate in speed.items())
        + f"; the finishing task makes a pack of {merged:,.0f} a second; tar against mirror {share:.2f} "
        f"(at least {LEAST_WRITING})"
    )
    return line, share >= LEAST_WRITING


def _written(root: Path, layout: str) -> tuple[float, float]:
    """Masks a second: written and journalled; and brought together in the end, with `layout: tar`."""
    from segbatch.runs.journal import JournalRow, JournalWriter
    from segbatch.runs.mask_archives import collect, discard, open_output

    run = _run(root, layout)
    content = os.urandom(MASK_BYTES)
    journal, output = JournalWriter(run.paths.task(0).journal(1)), open_output(run, 0, 1)

    def work(number: int) -> None:
        place = output.put(number, f"{number % 20}/{number}.jpg", content)
        journal.write([JournalRow(number, 256, 256, MASK_BYTES, crc32(content), place=place)])

    begun = time.perf_counter()
    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(work, range(MASKS)))
    output.close()
    journal.close()
    written = MASKS / (time.perf_counter() - begun)
    begun = time.perf_counter()
    collect(run, lambda line: None)
    discard(run)
    return written, MASKS / (time.perf_counter() - begun)


def _run(root: Path, layout: str) -> Any:
    from segbatch.runs.creation import create_run
    from segbatch.runs.plan import Plan
    from segbatch.runs.tiles import Tile
    from segbatch.spec.job import KINDS
    from tests.support.labels import TWO_CLASSES

    job = KINDS["predict"].model_validate(
        {"kind": "predict", "name": "bench", "data": {"images": "i"}, "model": "m", "predict": {"layout": layout}}
    )
    plan = Plan(
        job=job,
        job_file=root / "job.yaml",
        labels=TWO_CLASSES,
        tiles=[Tile(f"{number % 20}/{number}.jpg") for number in range(MASKS)],
        split=None,
        shard_size=MASKS,
        images_root=str(root),
        masks_root="",
        predictions_root="",
        bundle=None,
        runs_root=root / "runs",
        site={},
    )
    return create_run(plan)
