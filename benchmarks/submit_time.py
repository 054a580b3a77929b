"""Submitting a predict run of 1,000 shards to a real SLURM, against the bare sbatch calls and writing its folder."""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from segbatch.cluster.backend import slurm_scheduler
from segbatch.runs.creation import create_run
from segbatch.runs.ledger import submissions
from segbatch.runs.plan import Plan
from segbatch.runs.run import Run
from segbatch.runs.tiles import Tile
from segbatch.spec.job import KINDS
from segbatch.spec.site import Site
from tests.support.labels import TWO_CLASSES
from tests.support.slurm_cluster import PACKAGES, SlurmCluster, missing_programs

LIMIT = 2.0
T = TypeVar("T")
SHARDS = 1000
ROUNDS = 7


def measure() -> Iterator[tuple[str, bool]]:
    """Compare for one array, and for ten."""
    if missing := missing_programs():
        yield f"submitting {SHARDS} shards: not run, no {', '.join(missing)} (apt-get install {PACKAGES})", False
        return
    with SlurmCluster() as slurm, tempfile.TemporaryDirectory() as folder:
        os.environ.update(slurm.environ | {"XDG_CACHE_HOME": folder})
        for chunks in (1, 10):
            yield _compare(Path(folder, str(chunks)), chunks)


def _compare(folder: Path, chunks: int) -> tuple[str, bool]:
    site = Site.model_validate({"limits": {"max_array_size": SHARDS // chunks}})
    slurm_scheduler(site).limits()
    _round(folder, site)
    rounds = [_round(folder, site) for _ in range(ROUNDS)]
    ours, bare, written = (statistics.median(values) for values in list(zip(*rounds, strict=True))[:3])
    times = statistics.median(one / (two + three) for one, two, three, _ in rounds)
    calls = rounds[0][3]
    return (
        f"submitting {SHARDS} shards in {chunks} arrays {ours * 1000:.0f} ms with {calls} sbatch; bare sbatch "
        f"{bare * 1000:.0f} ms, writing the folder {written * 1000:.0f} ms: {times:.2f} times (at most {LIMIT})",
        times <= LIMIT and calls == chunks + 1,
    )


def _round(folder: Path, site: Site) -> tuple[float, float, float, int]:
    """Seconds of segbatch, of the same scripts given to sbatch, of writing the folder; and the number of sbatch."""
    plan = _plan(folder)
    scheduler = slurm_scheduler(site)

    def submit() -> Run:
        scheduler.check(plan.tasks)
        run = create_run(plan)
        scheduler.start(run, hold=True)
        return run

    written, _ = _timed(lambda: create_run(plan))
    ours, run = _timed(submit)
    scripts = sorted(run.paths.folder.glob("script-*.sbatch"))
    bare, _ = _timed(lambda: [subprocess.run(_sbatch(path), check=True, capture_output=True) for path in scripts])
    subprocess.run(["scancel", "--user", str(os.getuid())], check=True)
    return ours, bare, written, len(submissions(run.paths))


def _sbatch(script: Path) -> list[str]:
    return ["sbatch", "--parsable", "--chdir", str(script.parent), str(script)]


def _timed(call: Callable[[], T]) -> tuple[float, T]:
    begun = time.perf_counter()
    value = call()
    return time.perf_counter() - begun, value


def _plan(folder: Path) -> Plan:
    settings = {"tasks": SHARDS, "batch_size": 1}
    job = KINDS["predict"].model_validate(
        {
            "kind": "predict",
            "name": "night",
            "data": {"images": "images"},
            "model": "m",
            "predict": settings,
            "resources": {"memory": 100, "cpus": 1},
        }
    )
    return Plan(
        job=job,
        job_file=folder / "night.yaml",
        labels=TWO_CLASSES,
        tiles=[Tile(f"{number:06}.jpg") for number in range(SHARDS * 10)],
        split=None,
        shard_size=10,
        images_root="/data/images",
        masks_root="",
        predictions_root="",
        bundle=None,
        runs_root=folder / "runs",
        site={},
    )
