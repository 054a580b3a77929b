"""Planning, creating, resuming and looking at a predict run of many tiles: time, memory, and how both grow.

SEGBATCH_BENCH_TILES is the number of tiles, 100,000 by default; SEGBATCH_BENCH_FOLDER is where the archive is made, of
hard links to a few empty files (by default in the folder of temporary files). Seconds are of the processor, since
those of the wall tell more of the other users of a machine.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from segbatch.cli.options import plan_job
from segbatch.runs.attempts import begin_attempt, end_attempt
from segbatch.runs.journal import JournalRow, JournalWriter
from segbatch.runs.marks import vouch
from segbatch.runs.outputs import mask_path, missing_tiles, unfinished
from segbatch.runs.plan import create_run
from segbatch.runs.progress import TaskProgress
from segbatch.runs.run import Run, open_run
from segbatch.runs.status import run_status
from segbatch.runs.tiles import read_tiles
from segbatch.spec.bundle import BundleInfo
from tests.support.labels import TWO_CLASSES

TASKS = 1000
PER_FOLDER = 1000
PER_FILE = 50_000
"""Hard links to one file; ext4 allows 65,000."""
MOST_MB = 300
MOST_GROWTH = 1.4
"""Seconds a tile in the whole archive, as a multiple of those in a tenth of it."""
UNDONE = 7
"""The task that was killed half way."""


def measure() -> Iterator[tuple[str, bool]]:
    """Measure a tenth of the tiles, then all."""
    tiles = int(os.environ.get("SEGBATCH_BENCH_TILES", "100000"))
    where = os.environ.get("SEGBATCH_BENCH_FOLDER")
    with tempfile.TemporaryDirectory(dir=where, prefix="planning-scale-") as folder:
        small = _stages(Path(folder, "small"), tiles // 10)
        shutil.rmtree(Path(folder, "small"))
        large = _stages(Path(folder, "large"), tiles)
        for stage, (seconds, megabytes) in large.items():
            before, held = small[stage]
            each = seconds / before / 10 if before else 0.0
            # What costs by the tiles may cost no more a tile; what costs by the tasks does not grow at all.
            yield (
                f"{stage} of {tiles:,} tiles in {TASKS:,} tasks: {seconds:.2f} s of processor, {megabytes:.0f} MB at "
                f"most (at most {MOST_MB}); of a tenth {before:.2f} s, {held:.0f} MB: {each:.2f} times a tile "
                f"(at most {MOST_GROWTH})",
                megabytes <= MOST_MB and each <= MOST_GROWTH,
            )


def _stages(folder: Path, tiles: int) -> dict[str, tuple[float, float]]:
    """Seconds of processor and megabytes of each stage, in a process of its own."""
    _archive(folder, tiles)
    job = _job(folder, tiles)
    stages = {"listing and planning": _run(["plan", str(job)])}
    stages["planning and creating"] = _run(["create", str(job)])
    run = folder / "runs" / "night" / "latest"
    _done_but_one(open_run(run))
    stages["finding what to resume, one task killed half way,"] = _run(["resume", str(run)])
    stages["segbatch status --json"] = _run(["status", str(run)])
    return stages


def _archive(folder: Path, tiles: int) -> None:
    """Make images of two folders deep, in no order."""
    source = folder / "source"
    source.mkdir(parents=True)
    for number in range(tiles):
        scene, inside = divmod(number, PER_FOLDER)
        if number % PER_FILE == 0:
            target = source / str(number)
            target.touch()
        if inside == 0:
            place = folder / "images" / str(2015 + scene % 8) / f"scene {scene:05}"
            place.mkdir(parents=True)
        os.link(target, place / f"tile_{number * 7919 % tiles:08}.jpg")


def _job(folder: Path, tiles: int) -> Path:
    model = folder / "model"
    model.mkdir()
    (model / "model.keras").write_bytes(b"weights")
    info = BundleInfo(name="net", labels=TWO_CLASSES, head="binary", input=(32, 32))
    (model / "bundle.json").write_text(info.model_dump_json())
    job = folder / "night.yaml"
    predict = f"{{tasks: {TASKS}, batch_size: {max(tiles // TASKS // 10, 1)}}}"
    job.write_text(
        f"kind: predict\ndata: {{images: images}}\nmodel: model\npredict: {predict}\noutput: {{runs: {folder}/runs}}\n"
    )
    return job


def _done_but_one(run: Run) -> None:
    """Leave what tasks leave that end well, and one that is killed; masks of the latter alone, for no other is read."""
    mask = b"mask"
    for task in run.tasks:
        paths, shard = run.paths.task(task), run.shard(task)
        attempt = begin_attempt(paths)
        journal = JournalWriter(paths.journal(attempt))
        done = shard.indexes if task != UNDONE else shard.indexes[: shard.count // 2]
        journal.write(
            JournalRow(index, 256, 256, len(mask), zlib.crc32(mask), predicted="0:60000 1:5536") for index in done
        )
        journal.close()
        for tile in islice(read_tiles(run.paths.tiles, shard), len(done)) if task == UNDONE else ():
            path = mask_path(run, tile)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(mask)
        TaskProgress(paths.progress, shard.count).update(len(done), force=True)
        if task != UNDONE:
            vouch(run, task, attempt)
            end_attempt(paths, attempt, 0)


def _run(arguments: list[str]) -> tuple[float, float]:
    """Run one stage in a process of its own; seconds of processor and megabytes at most."""
    command = [sys.executable, "-m", "benchmarks.planning_scale", *arguments]
    environ = {name: value for name, value in os.environ.items() if name != "SEGBATCH_SITE"}
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environ).stdout
    facts: dict[str, Any] = json.loads(said.splitlines()[-1])
    print(f"     {arguments[0]}: {facts}", file=sys.stderr, flush=True)
    return float(facts["cpu_s"]), float(facts["mb"])


def _stage(what: str, where: str) -> dict[str, Any]:
    """Do one stage and tell what it cost."""
    begun, wall = time.process_time(), time.perf_counter()
    found: dict[str, Any] = {}
    if what in ("plan", "create"):
        planned, _ = plan_job(Path(where), (), None, None)
        found["tiles"] = len(planned.tiles)
        found["plan_s"] = round(time.process_time() - begun, 2)
        if what == "create":
            create_run(planned)
    elif what == "resume":
        run = open_run(Path(where))
        found["state"] = run_status(run).state
        found["tasks"], found["missing"] = len(unfinished(run)), sum(1 for _ in missing_tiles(run))
    else:
        from click.testing import CliRunner

        from segbatch.cli import cli

        found["bytes"] = len(CliRunner().invoke(cli, ["status", where, "--json"]).output)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return found | {
        "cpu_s": round(time.process_time() - begun, 2),
        "wall_s": round(time.perf_counter() - wall, 2),
        "mb": round(usage.ru_maxrss / 1024, 1),
    }


if __name__ == "__main__":
    print(json.dumps(_stage(*sys.argv[1:])))
