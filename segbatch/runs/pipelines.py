"""A run of a pipeline on disk: its record, and within its folder one run a stage."""

from __future__ import annotations

import json
import platform
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import ValidationError

import segbatch
from segbatch.errors import InputError, NotNeeded
from segbatch.runs.champions import standing
from segbatch.runs.creation import code_digest, create_run, point_latest
from segbatch.runs.files import append_line, digest, read_lines, write_bytes, write_json
from segbatch.runs.holdout import holdout_digest, scored_on
from segbatch.runs.layout import RunPaths
from segbatch.runs.model_folder import Registry
from segbatch.runs.model_uses import note_use
from segbatch.runs.pilot_run import create_pilot, read_pilot
from segbatch.runs.plan import Plan, make_plan
from segbatch.runs.run import SCHEMA_VERSION, Run, open_run
from segbatch.spec.gate_job import GateJob
from segbatch.spec.job import KINDS, Job, to_plain
from segbatch.spec.keep import Keep
from segbatch.spec.named_models import model_versions
from segbatch.spec.notify import Notices
from segbatch.spec.pipeline_load import LoadedPipeline, stage_folder
from segbatch.spec.section import FileName, Section
from segbatch.spec.yaml_source import dump_yaml

EventKind = Literal["refused", "nothing", "unneeded", "cancelled", "reopened", "behind"]


class StageRecord(Section):
    """One stage as submitted."""

    name: str
    kind: str
    needs: tuple[str, ...] = ()
    scores_champion_of: str = ""
    """The gate stage for which the champion predicts the holdout; empty for other stages."""


class PipelineRecord(Section):
    """`pipeline.json`: what is true of a pipeline's run from its first moment on; never written again."""

    schema_version: Literal[1] = SCHEMA_VERSION
    id: str
    name: str
    created: str
    """UTC, ISO 8601."""
    job_file: str
    """Where the pipeline was read from."""
    stages: tuple[StageRecord, ...]
    """Each after those that it needs."""
    digests: dict[str, str]
    """SHA-256 of the jobs and the code."""
    versions: dict[str, str]
    site: dict[str, Any] = {}
    registry: FileName
    """Folder of the registered models."""
    notify: Notices = ()
    """Who is told of its end, as the pipeline's file says."""
    keep: Keep | None = None
    """What stays of its runs, as the pipeline's file says."""


@dataclass(frozen=True)
class Event:
    """What happened to a stage, or to all of them (stage ""), other than in its run."""

    kind: EventKind
    stage: str
    why: str
    time: float


@dataclass(frozen=True)
class Pipeline:
    """A pipeline's run on disk."""

    paths: RunPaths
    """Of its own ledger, scripts, rounds and logs."""
    record: PipelineRecord

    @property
    def label(self) -> str:
        """How commands name it: pipeline name and run id."""
        return f"{self.record.name}/{self.record.id}"

    @property
    def runs_root(self) -> Path:
        """Folder that holds all runs."""
        return self.paths.folder.parent.parent

    @cached_property
    def jobs(self) -> Mapping[str, Job]:
        """The stages' jobs as submitted, by stage.

        Raises:
            InputError: job.yaml was changed or damaged.
        """
        try:
            raw = yaml.safe_load(self.paths.job.read_text(encoding="utf-8", errors="surrogateescape"))
            return {name: KINDS[job["kind"]].model_validate(job) for name, job in raw["stages"].items()}
        except (OSError, yaml.YAMLError, ValidationError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{self.paths.job}: the pipeline's jobs cannot be read: {error}") from error

    def stage(self, name: str) -> Run | None:
        """Return the run of a stage; None while there is none."""
        folder = stage_folder(self.paths.folder, name)
        return open_run(folder) if (folder / "run.json").is_file() else None

    def pilot(self, name: str) -> Run | None:
        """Return the run of the pilot that a stage needed; None where there is none."""
        folder = self._pilot_folder(name)
        return open_run(folder) if (folder / "run.json").is_file() else None

    def _pilot_folder(self, name: str) -> Path:
        # No stage is called so, since a stage's name has no dot.
        return stage_folder(self.paths.folder, name).with_name(f"{name}.pilot")

    def plan_stage(self, name: str) -> Plan:
        """Work out what a stage does, now that what it needs is there.

        Raises:
            InputError: what it needs is missing or does not fit.
            NothingToDo: it asks for what is new, and nothing is.
            NotNeeded: the champion's figures on the holdout are known, or there is no champion.
        """
        record = next(stage for stage in self.record.stages if stage.name == name)
        if record.scores_champion_of:
            self._refuse_known_champion(self.jobs[record.scores_champion_of])
        pilot = self.pilot(name)
        measured = read_pilot(pilot) if pilot is not None else None
        return make_plan(
            self.jobs[name],
            Path(self.record.job_file),
            runs_root=self.runs_root,
            # Whom the site names is told of the end of the whole.
            site={key: value for key, value in self.record.site.items() if key != "notify"},
            registry=Path(self.record.registry),
            earlier=self.earlier(name),
            measured=[measured] if measured is not None else [],
        )

    def _refuse_known_champion(self, gate: Job) -> None:
        if not isinstance(gate, GateJob):
            return
        model = Registry(Path(self.record.registry)).model(gate.model)
        champion = standing(model).champion
        if not champion:
            raise NotNeeded("there is no champion yet")
        if scored_on(model, champion, holdout_digest(open_run(Path(gate.challenger)))) is not None:
            raise NotNeeded(f"{model.name}@{champion} was scored on this holdout before")

    def earlier(self, stage: str) -> list[Path]:
        """Runs of a stage in earlier runs of the pipeline, newest first."""
        folders = [path for path in self.paths.folder.parent.iterdir() if not path.is_symlink()]
        earlier = sorted((path for path in folders if path.name < self.record.id), reverse=True)
        return [stage_folder(path, stage) for path in earlier if (stage_folder(path, stage) / "run.json").is_file()]

    def create_stage(self, name: str, plan: Plan, image: str) -> Run:
        """Write a stage's run; what an attempt that was cut short left of it goes first."""
        shutil.rmtree(stage_folder(self.paths.folder, name), ignore_errors=True)
        return create_run(plan, image=image, label=f"{self.label}/stages/{name}")

    def create_pilot(self, name: str, plan: Plan, image: str) -> Run:
        """Write the run of a stage's pilot, in place of one that failed."""
        folder = self._pilot_folder(name)
        shutil.rmtree(folder, ignore_errors=True)
        return create_pilot(plan, image, label=f"{self.label}/stages/{folder.name}")

    def note(self, kind: EventKind, stage: str = "", why: str = "") -> None:
        """Write down what happened."""
        append_line(self._events, {"time": time.time(), "event": kind, "stage": stage, "why": why})

    def events(self) -> list[Event]:
        """Return what happened since the pipeline was last reopened, oldest first."""
        found: list[Event] = []
        for line in read_lines(self._events):
            if line.get("event") == "reopened":
                found = []
            elif "event" in line:
                found.append(
                    Event(line["event"], str(line.get("stage", "")), str(line.get("why", "")), line.get("time", 0.0))
                )
        return found

    @property
    def _events(self) -> Path:
        return self.paths.folder / "stages.jsonl"


def create_pipeline(
    loaded: LoadedPipeline, folder: Path, site: dict[str, Any], registry: Path, *, now: datetime | None = None
) -> Pipeline:
    """Write the folder of a pipeline's run; `pipeline.json` comes last and makes it one.

    Args:
        loaded: the pipeline, loaded for this folder.
        folder: `<all runs>/<name>/<id>`, which is not there yet.
        site: what is true of the cluster.
        registry: folder of the registered models.
        now: the time; by default that of the clock.
    """
    created = now or datetime.now(UTC)
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"cannot make the run's folder {folder}: {error.strerror}.") from error
    paths = RunPaths(folder.resolve())
    paths.logs.mkdir()
    stages = {stage.name: to_plain(stage.job) for stage in loaded.stages}
    plain = {"kind": "pipeline", "name": loaded.job.name, "stages": stages}
    text = dump_yaml(plain).encode("utf-8", "surrogateescape")
    write_bytes(paths.job, text)
    record = PipelineRecord(
        id=folder.name,
        name=folder.parent.name,
        created=created.isoformat(timespec="seconds"),
        job_file=str(loaded.path),
        stages=tuple(
            StageRecord(name=one.name, kind=one.job.kind, needs=one.needs, scores_champion_of=one.scores_champion_of)
            for one in loaded.stages
        ),
        digests={"job": digest(text), "code": code_digest()},
        versions={"segbatch": segbatch.__version__, "python": platform.python_version()},
        site=site,
        registry=str(registry),
        notify=loaded.job.notify,
        keep=loaded.job.keep,
    )
    for stage in loaded.stages:
        _note_versions(stage.job, Registry(registry), paths.folder)
    write_json(_record(paths.folder), record.model_dump(mode="json", exclude_defaults=True) | {"schema_version": 1})
    point_latest(folder.parent, folder.name)
    return Pipeline(paths, record)


def _note_versions(job: Job, registry: Registry, folder: Path) -> None:
    """Keep the versions that a stage names, which may begin only much later."""
    for name in model_versions(job):
        model = registry.model(name.model)
        if name.version in model.stored():
            note_use(model, name.version, folder)


def is_pipeline_run(folder: Path) -> bool:
    """Tell whether a folder holds a pipeline's run."""
    return _record(folder).is_file()


def open_pipeline(folder: Path) -> Pipeline:
    """Open a pipeline's run by its folder.

    Raises:
        InputError: the folder holds none, or one of another version.
    """
    paths = RunPaths(folder.resolve())
    try:
        return Pipeline(paths, PipelineRecord.model_validate(json.loads(_record(paths.folder).read_bytes())))
    except FileNotFoundError:
        raise InputError(f"{folder}: no pipeline's run here (it has no pipeline.json).") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{_record(folder)}: not a pipeline of version {SCHEMA_VERSION}: {error}") from error


def pipeline_folders(root: Path) -> list[Path]:
    """Return the folders of all pipelines' runs below the folder of all runs, newest last."""
    found = [path.parent for path in root.glob("*/*/pipeline.json") if not path.parent.is_symlink()]
    return sorted(found, key=lambda path: (path.name, path.parent.name))


def find_pipeline(name: str, root: Path) -> Pipeline | None:
    """Open the pipeline's run that a user names: a folder, a pipeline's name for its newest run, or a run's id."""
    for folder in (Path(name), Path(name, "latest"), Path(root, name), Path(root, name, "latest")):
        if is_pipeline_run(folder):
            return open_pipeline(folder)
    by_id = [folder for folder in pipeline_folders(root) if folder.name == name]
    return open_pipeline(by_id[0]) if len(by_id) == 1 else None


def _record(folder: Path) -> Path:
    return folder / "pipeline.json"
