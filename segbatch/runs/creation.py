"""The folder of a new run, written from its plan."""

from __future__ import annotations

import hashlib
import json
import platform
import secrets
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import segbatch
from segbatch.errors import InputError
from segbatch.runs.bundles import bundle_digest
from segbatch.runs.files import digest, file_digest, write_bytes, write_json, write_text
from segbatch.runs.layout import RunPaths
from segbatch.runs.listing import TICK_FILES, Tick
from segbatch.runs.model_registry import Found, changed
from segbatch.runs.model_uses import note_use
from segbatch.runs.plan import Plan
from segbatch.runs.run import Run, RunRecord
from segbatch.runs.splits import write_split
from segbatch.runs.tiles import Tile, write_tiles
from segbatch.spec.gate_job import GateJob
from segbatch.spec.job import to_plain
from segbatch.spec.yaml_source import dump_yaml


@cache
def code_digest() -> str:
    """SHA-256 over the package's own Python files, so that a run says which code made it."""
    root = Path(segbatch.__file__).parent
    hasher = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        hasher.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return f"sha256:{hasher.hexdigest()}"


def create_run(
    plan: Plan, *, image: str = "", now: datetime | None = None, label: str = "", tick: Tick = lambda tiles: None
) -> Run:
    """Write a run's folder from its plan; `run.json` comes last and makes it one.

    Args:
        plan: what to do.
        image: digest of the container image that its tasks run in; empty without one.
        now: the time; by default that of the clock.
        label: where the folder goes below that of all runs, for a stage of a pipeline; by default job name and a new
            id, and `latest` then means this run.
        tick: told now and then how many tiles were written.
    """
    created = now or datetime.now(UTC)
    name, _, run_id = (label or f"{plan.job.name}/{new_id(created)}").partition("/")
    parent = plan.runs_root / name
    folder = parent / run_id
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"cannot make the run's folder {folder}: {error.strerror}.") from error
    paths = RunPaths(folder.resolve())
    paths.logs.mkdir()
    job_text = dump_yaml(to_plain(plan.job)).encode("utf-8", "surrogateescape")
    write_bytes(paths.job, job_text)
    shards = write_tiles(paths.tiles, _ticking(plan.tiles, tick), plan.shard_size, labelled=bool(plan.labelled_root))
    digests = {"job": digest(job_text), "code": code_digest(), "tiles": file_digest(paths.tiles)}
    if plan.split is not None:
        digests["split"] = write_split(paths.split, plan.split)
    if plan.bundle is not None:
        digests["bundle"] = _bundle_digest(plan.bundle, plan.registered)
    if plan.start is not None:
        digests["start"] = _bundle_digest(plan.start, plan.started_from)
    if image:
        digests["image"] = image
    if plan.news is not None:
        write_text(paths.news, "".join(f"{json.dumps(name)}\n" for name in plan.news))
    record = RunRecord(
        id=run_id,
        name=name,
        kind=plan.job.kind,
        created=created.isoformat(timespec="seconds"),
        job_file=str(plan.job_file),
        labels=plan.labels,
        tiles=len(plan.tiles),
        images_root=plan.images_root,
        masks_root=plan.masks_root,
        predictions_root=plan.predictions_root,
        labelled_root=plan.labelled_root,
        bundle=str(plan.bundle or ""),
        model=plan.registered.info.name if plan.registered else "",
        start_bundle=str(plan.start or ""),
        start_from=plan.started_from.info.name if plan.started_from else "",
        shards=tuple((shard.first, shard.count, shard.offset) for shard in shards),
        digests=digests,
        versions={"segbatch": segbatch.__version__, "python": platform.python_version()},
        site=plan.site,
        measured=plan.measured,
        pilot=plan.pilot,
    )
    if isinstance(plan.job, GateJob) and plan.job.output.registry is not None:
        Path(plan.job.output.registry).mkdir(parents=True, exist_ok=True)
    for task in range(len(shards)):
        paths.task(task).folder.mkdir(parents=True)
    for found in filter(None, (plan.registered, plan.started_from)):
        note_use(found.folder, found.info.version, paths.folder)
    write_json(paths.record, record.model_dump(mode="json", exclude_defaults=True) | {"schema_version": 1})
    if not label:
        point_latest(parent, run_id)
    return Run(paths, record)


def _bundle_digest(bundle: Path, registered: Found | None) -> str:
    found = bundle_digest(bundle)
    if registered is not None and found != registered.info.digest:
        raise changed(registered)
    return found


def new_id(created: datetime) -> str:
    """Return an id for a run: its time, and what tells it from another of the same second."""
    return f"{created:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def _ticking(tiles: Iterable[Tile], tick: Tick) -> Iterator[Tile]:
    for number, tile in enumerate(tiles, 1):
        yield tile
        if number % TICK_FILES == 0:
            tick(number)


def point_latest(parent: Path, run_id: str) -> None:
    """Move the link `latest` to the newest run in one step."""
    link = parent / f".latest-{secrets.token_hex(4)}"
    link.symlink_to(run_id)
    link.replace(parent / "latest")
