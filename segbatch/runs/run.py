"""A run: its record, its job and its files, opened from its folder."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import ValidationError

from segbatch.errors import InputError
from segbatch.runs.cuts import Cut, current, read_cuts
from segbatch.runs.layout import RunPaths, run_folders
from segbatch.runs.measured import Measured
from segbatch.runs.tiles import Shard
from segbatch.spec.job import KINDS, Job
from segbatch.spec.labels import Labels
from segbatch.spec.section import Section

SCHEMA_VERSION: Literal[1] = 1


class RunRecord(Section):
    """`run.json`: what is true of a run from its first moment on; never written again."""

    schema_version: Literal[1] = SCHEMA_VERSION
    id: str
    name: str
    kind: Literal["train", "predict", "evaluate", "gate"]
    created: str
    """UTC, ISO 8601."""
    job_file: str
    """Where the job was read from."""
    labels: Labels
    tiles: int
    """Number of tiles in the list."""
    images_root: str
    masks_root: str
    """Empty without ground truth."""
    predictions_root: str
    """Empty unless the run evaluates masks that exist."""
    labelled_root: str = ""
    """Empty unless truth is labelled in part."""
    bundle: str
    """The model that predicts; empty in other runs."""
    model: str = ""
    """The registered version that predicts, as `name@version`; empty where the job names a path."""
    start_bundle: str = ""
    """Bundle whose weights training starts from; empty where it starts afresh."""
    start_from: str = ""
    """The registered version that `start_bundle` is, as `name@version`; empty where the job names a path."""
    shards: tuple[tuple[int, int, int], ...]
    """First tile, number of tiles, byte offset in tiles.csv: one a task."""
    digests: dict[str, str]
    """SHA-256 of the job, the code, the tile list, and where there are any of the bundle, the split and the container
    image (of which the name, where only a registry knows more)."""
    versions: dict[str, str]
    site: dict[str, Any] = {}
    measured: tuple[Measured, ...] = ()
    """What `segbatch bench --save`, or a pilot, had measured of this bundle by then."""
    pilot: bool = False
    """Its task measures the job's speed when its tiles are done."""


@dataclass(frozen=True)
class Run:
    """A run on disk."""

    paths: RunPaths
    record: RunRecord

    @cached_property
    def job(self) -> Job:
        """The job as submitted.

        Raises:
            InputError: job.yaml was changed or damaged.
        """
        try:
            raw = yaml.safe_load(self.paths.job.read_text(encoding="utf-8", errors="surrogateescape"))
            return KINDS[raw["kind"]].model_validate(raw)
        except (OSError, yaml.YAMLError, ValidationError, KeyError, TypeError) as error:
            raise InputError(f"{self.paths.job}: the run's job cannot be read: {error}") from error

    @property
    def label(self) -> str:
        """How commands name the run: job name and run id."""
        return f"{self.record.name}/{self.record.id}"

    @cached_property
    def cuts(self) -> tuple[Cut, ...]:
        """How what was missing was cut anew, oldest first, as of the moment when this was first asked."""
        return read_cuts(self.paths, len(self.record.shards))

    @cached_property
    def _shards(self) -> tuple[Shard, ...]:
        cut = (shard for cut in self.cuts for shard in cut.shards)
        return tuple(Shard(*shard) for shard in (*self.record.shards, *cut))

    @property
    def tasks(self) -> range:
        """Numbers of all tasks that there ever were; any of them may have proven a tile."""
        return range(len(self._shards))

    @cached_property
    def current_tasks(self) -> tuple[int, ...]:
        """Numbers of the tasks that no cut has replaced; together they hold every tile of the run once."""
        return tuple(current(self._shards, len(self.record.shards), self.cuts))

    def shard(self, task: int) -> Shard:
        """The tiles of one task.

        Raises:
            InputError: there is no such task.
        """
        if task not in self.tasks:
            raise InputError(f"{self.label}: no task {task}. Expected a number from 0 to {len(self.tasks) - 1}.")
        return self._shards[task]

    def kept(self, task: int) -> int:
        """Tiles of a task that earlier ones had finished when it was cut; 0 for a task of no cut."""
        return next((cut.kept[task - cut.first_task] for cut in self.cuts if task in cut.tasks), 0)


def open_run(folder: Path) -> Run:
    """Open a run by its folder.

    Raises:
        InputError: the folder holds no run, or one of another version.
    """
    paths = RunPaths(folder.resolve())
    try:
        record = RunRecord.model_validate(json.loads(paths.record.read_bytes()))
    except FileNotFoundError:
        raise InputError(f"{folder}: no run here (it has no run.json). `segbatch runs` lists the runs.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{paths.record}: not a run of version {SCHEMA_VERSION}: {error}") from error
    return Run(paths, record)


def find_run(name: str, root: Path) -> Run:
    """Open the run that a user names: a folder, `job name` or `job name/latest` (its newest run), or a run's id.

    Args:
        name: what was typed.
        root: folder that holds all runs, where anything but a path is looked up.

    Raises:
        InputError: nothing or more than one run is meant.
    """
    for folder in (Path(name), Path(name, "latest"), Path(root, name)):
        with suppress(OSError):
            if (folder / "run.json").is_file():
                return open_run(folder)
    found = list(run_folders(root))
    by_job = [path for path in found if path.parent.name == name.removesuffix("/latest")]
    by_id = [path for path in found if path.name == name or f"{path.parent.name}/{path.name}" == name]
    if by_id:
        if len(by_id) > 1:
            raise InputError(f"run {name!r} is ambiguous: {', '.join(str(path) for path in by_id)}.")
        return open_run(by_id[0])
    if by_job:
        return open_run(by_job[-1])
    known = sorted({path.parent.name for path in found})
    hint = f"Jobs with runs there: {', '.join(known[:10])}." if known else "There are none there; is --runs right?"
    raise InputError(f"{name!r}: no such run. Looked for a run folder, and for a job or run id in {root}. {hint}")
