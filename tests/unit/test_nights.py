"""Pipelines that start by themselves: kept apart, told of, listed and removed as a whole; stages end by a word here."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from segbatch.cli import main
from segbatch.cluster.advance_script import render_advance
from segbatch.cluster.cron.firing import Firing
from segbatch.cluster.cron.overlap import Way
from segbatch.cluster.cron.store import StoredSchedule, load
from segbatch.cluster.notify.pipeline_summary import summarize_pipeline
from segbatch.cluster.pipelines import LocalDriver, SlurmDriver
from segbatch.cluster.prune import prune, used_by_schedules
from segbatch.cluster.render import Order
from segbatch.cluster.works import look
from segbatch.runs import ledger
from segbatch.runs.files import write_json
from segbatch.runs.model_folder import Registry
from segbatch.runs.model_registry import register
from segbatch.runs.model_uses import uses
from segbatch.runs.pipeline_status import PipelineStatus
from segbatch.runs.pipelines import Pipeline, create_pipeline, open_pipeline
from segbatch.runs.process import process_identity
from segbatch.runs.run import Run
from segbatch.spec.keep import Keep
from segbatch.spec.pipeline_load import load_pipeline
from segbatch.spec.problems import JobFileError
from segbatch.spec.site import Site
from tests.support.fake_models import fake_bundle
from tests.support.fake_slurm import FakeSlurm
from tests.support.pipelines import evaluate, make_scored, write_pipeline
from tests.support.slurm_runs import write_run
from tests.unit.test_schedule_firing import FIRST, make
from tests.unit.test_slurm_scheduler import World

DAY = timedelta(days=1)
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEGBATCH_SCHEDULES", str(tmp_path / "home"))
    return make_scored(tmp_path)


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setattr(sys, "argv", ["segbatch", *arguments])
        with pytest.raises(SystemExit) as done:
            main()
        said = capsys.readouterr()
        return int(done.value.code or 0), said.out, said.err

    return run


def chain(folder: Path, **more: Any) -> Path:
    """A file of two stages, the second after the first."""
    stages = {"first": {"job": evaluate(folder)}, "second": {"job": evaluate(folder), "needs": "first"}}
    return write_pipeline(folder / "nightly.yaml", stages, **more)


def made(folder: Path, run_id: str, *, site: Site | None = None, file: Path | None = None, **more: Any) -> Pipeline:
    place = folder / "runs" / "nightly" / run_id
    loaded = load_pipeline(file or chain(folder, **more), place)
    plain = (site or Site()).model_dump(mode="json", exclude_defaults=True)
    return create_pipeline(loaded, place, plain, folder / "registry", now=NOW)


def ending(code: int) -> Callable[[Run], int]:
    """Stand in for what runs a stage's tasks."""

    def execute(run: Run) -> int:
        ledger.record(run.paths, "stage", "submitted", backend="local", **process_identity(os.getpid()))
        ledger.record(run.paths, "stage", "ended", code=code)
        return code

    return execute


def drive(pipeline: Pipeline, code: int = 0) -> PipelineStatus:
    LocalDriver(pipeline, Site(), ending(code)).execute()
    return status_of(pipeline)


def status_of(pipeline: Pipeline) -> PipelineStatus:
    found = look(open_pipeline(pipeline.paths.folder), Site())
    assert isinstance(found, PipelineStatus)
    return found


def nothing(pipeline: Pipeline) -> Pipeline:
    """Its first stage finds nothing to do."""
    pipeline.note("nothing", "first", "no tile is new")
    return pipeline


@dataclass
class Nights:
    """A schedule that starts pipelines, which are at work until they are told to end."""

    folder: Path
    stored: StoredSchedule
    site: Site = field(default_factory=lambda: Site(backend="local"))
    pipelines: list[Pipeline] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)

    def start(self, way: Way) -> Pipeline:
        pipeline = made(self.folder, f"night-{len(self.pipelines)}")
        ledger.record(pipeline.paths, "a", "submitted", backend="local", **process_identity(os.getpid()))
        self.pipelines.append(pipeline)
        return pipeline

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        if len(self.waits) == 3:
            self.end()

    def end(self) -> None:
        ledger.record(self.pipelines[-1].paths, "a", "ended", code=0)

    def wake(self, now: datetime) -> str:
        firing = Firing(load(self.stored.folder.parent, "nightly"), self.site, self.start, self.sleep)
        fire = firing.on_time(now)
        return "" if fire is None else f"{fire.event} {fire.why}".strip()


@pytest.mark.parametrize(("rule", "waits"), [("skip", []), ("queue", [30.0] * 3), ("replace", [])])
def test_a_pipeline_of_the_night_before_that_is_still_at_work(folder: Path, rule: str, waits: list[float]) -> None:
    nights = Nights(folder, make(folder, overlap=rule))
    assert nights.wake(FIRST) == "started"
    second = nights.wake(FIRST + DAY)
    assert second == ("skipped nightly/night-0 is still queued" if rule == "skip" else "started")
    assert nights.waits == waits
    cancelled = any(event.kind == "cancelled" for event in nights.pipelines[0].events())
    assert cancelled is (rule == "replace")
    nights.end()
    assert nights.wake(FIRST + 2 * DAY) == "started"


def test_on_slurm_a_pipeline_waits_in_the_queue_for_the_one_before(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(backend="slurm", min_poll_seconds=0.01)
    with FakeSlurm(folder) as fake:
        for name, value in fake.environ.items():
            monkeypatch.setenv(name, value)
        scheduler = World(fake, write_run(folder, tasks=1)).scheduler()
        first = made(folder, "night-0", site=site)
        SlurmDriver(first, site, scheduler).advance()
        before = set(fake.jobs)
        second = made(folder, "night-1", site=site)
        second.note("behind", why=str(first.paths.folder))
        driver = SlurmDriver(second, site, scheduler)
        assert driver.advance().state == "queued"
        (waiting,) = set(fake.jobs) - before
        assert fake.jobs[waiting].options["dependency"] == f"afterany:{max(before)}", (
            "the job that starts its next stage"
        )
        assert second.stage("first") is None
        driver.advance()
        assert second.stage("first") is None, "the one before has gone a stage further, and goes on"
        SlurmDriver(first, site, scheduler).cancel(now=True)
        driver.advance()
        assert second.stage("first") is not None
        names = {job.options["job-name"] for job in fake.jobs.values()}
        assert names == {"first", "first-finish", "nightly-advance"}


def test_its_end_is_told_once_by_stages_and_cause(folder: Path) -> None:
    told = folder / "told"
    notify = [{"on": "end", "command": ["sh", "-c", f"cat >>{told}"]}]
    pipeline = made(folder, "night-0", site=Site(notify=notify), notify=notify)  # type: ignore[arg-type]
    assert drive(pipeline).state == "done"
    lines = told.read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["run", "job", "outcome", "stages", "time", "next"]
    assert lines[0].split() == ["run", "nightly/night-0"]
    assert "outcome  done, exit code 0" in lines
    assert "stages   first done, second done" in lines
    stage = pipeline.stage("first")
    assert stage is not None
    assert "notify" not in stage.record.site, "the site's notices are of the whole"

    failed = made(folder, "night-1", notify=notify)
    drive(failed, 1)
    text = told.read_text()
    assert "outcome  failed, exit code 1" in text
    assert "stages   first failed, second cancelled" in text
    assert f"segbatch resume {failed.paths.folder}" in text or "go on with it" in text

    idle = nothing(made(folder, "night-2", notify=notify))
    assert drive(idle).words == "nothing to do"
    assert "outcome  nothing to do, exit code 0" in told.read_text()
    assert "cause    first: no tile is new" in told.read_text()
    assert told.read_text().count("run      nightly/") == 3


def test_what_the_gate_decided_and_its_page_are_told(folder: Path) -> None:
    pipeline = made(folder, "night-0")
    rules = [{"words": "gain 0.001 is below min_gain 0.002", "kept": False}, {"words": "fine", "kept": True}]
    result = {"challenger": "forest@b", "champion": "forest@a", "decision": {"promote": False, "rules": rules}}
    drive(pipeline)
    status = status_of(pipeline)
    gate = status.stages[1]
    assert gate.run is not None
    gate.run.run.paths.report.mkdir()
    write_json(gate.run.run.paths.report / "gate.json", result)
    object.__setattr__(gate, "kind", "gate")
    text = summarize_pipeline(status, "success").text
    assert "gate     forest@a stays the champion: gain 0.001 is below min_gain 0.002\n" in text
    assert f"page     {gate.run.run.paths.report}/index.html\n" in text
    assert len(text.splitlines()) <= 10


def test_slurm_can_only_tell_of_a_pipeline_that_it_failed(folder: Path) -> None:
    mail = {"mail": "ana@example.org", "through": "slurm"}
    with pytest.raises(JobFileError, match="of a pipeline SLURM can only tell that it failed"):
        made(folder, "x", notify=[mail])
    pipeline = made(folder, "y", notify=[mail | {"on": "failure"}])
    order = Order(pipeline.paths.folder, 1, "token", role="finish", after="afterany:7")
    script = render_advance("nightly", "first", Site(), order, pipeline.record.notify)
    assert "#SBATCH --mail-user=ana@example.org\n#SBATCH --mail-type=FAIL,INVALID_DEPEND\n" in script


def test_runs_of_pipelines_are_listed_with_all_others(folder: Path, call: Call) -> None:
    drive(made(folder, "20261119-120000-0000"))
    drive(nothing(made(folder, "20261120-120000-0000")))
    write_run(folder, tasks=1, run_id="20261121-120000-0000")
    found = json.loads(call("runs", "--json")[1])
    assert [(one["run"].split("/")[0], one["kind"], one["state"]) for one in found] == [
        ("nightly", "pipeline", "done"),
        ("nightly", "pipeline", "done"),
        ("job", "predict", "pending"),
    ]
    lines = call("runs", "--kind", "pipeline", "--state", "done", "--backend", "local")[1].splitlines()
    assert lines[1].split()[:3] == ["nightly/20261119-120000-0000", "pipeline", "local"]
    assert lines[1].split()[-3:] == ["done", "2/2", "-"]
    assert "nothing to do" in lines[2]
    assert "none of the 3 runs" in call("runs", "--kind", "pipeline", "--backend", "slurm")[1]


@pytest.mark.parametrize("words", [("compare",), ("requeue", "0"), ("models", "register"), ("models", "gate")])
def test_commands_for_one_run_name_the_stages_of_a_pipeline(folder: Path, call: Call, words: tuple[str, ...]) -> None:
    pipeline = made(folder, "20261119-120000-0000")
    drive(pipeline)
    end = words[1:] if words[0] == "requeue" else ()
    start = words[:1] if words[0] == "requeue" else words
    code, _, err = call(*start, "nightly", *end)
    assert code == 2
    assert "nightly/20261119-120000-0000 is a pipeline's run; here the run of one of its stages is needed:" in err
    assert str(pipeline.paths.folder / "stages" / "first") in err
    assert "no stage of nightly/20261119-120000-0000 has a report yet" in call("report", "nightly")[2]


def days_ago(folder: Path, days: int, *, idle: bool = False, code: int = 0, **more: Any) -> Pipeline:
    moment = NOW - timedelta(days=days)
    pipeline = made(folder, f"{moment:%Y%m%d}", **more)
    record = pipeline.paths.folder / "pipeline.json"
    write_json(record, json.loads(record.read_text()) | {"created": moment.isoformat()})
    drive(nothing(pipeline) if idle else pipeline, code)
    return open_pipeline(pipeline.paths.folder)


def test_runs_of_a_pipeline_go_as_a_whole(folder: Path) -> None:
    keep = {"runs": 2}
    gone = days_ago(folder, 9, keep=keep)
    good = days_ago(folder, 8, keep=keep)
    bad = days_ago(folder, 7, code=1, keep=keep)
    idle = [days_ago(folder, day, idle=True, keep=keep) for day in (6, 5, 4, 3)]
    done = prune(folder / "runs", Site(), now=NOW)
    assert [going.choice.candidate.folder for going in done.going] == [
        gone.paths.folder,
        idle[0].paths.folder,
        idle[1].paths.folder,
    ], "nights with nothing to do drive out each other, and not the last good ones"
    assert not gone.paths.folder.exists()
    assert good.stage("first") is not None
    assert bad.stage("first") is not None
    assert done.looked == 7


def test_what_is_at_work_and_what_the_next_night_needs_stays(folder: Path) -> None:
    trained = days_ago(folder, 9)
    newest = days_ago(folder, 1)
    record = newest.paths.folder / "pipeline.json"
    plain = json.loads(record.read_text())
    plain["stages"][0]["kind"] = "train"
    write_json(record, plain)
    fake_bundle(trained.paths.folder / "stages" / "first" / "model")
    done = prune(folder / "runs", Site(), keep=Keep(runs=1), now=NOW)
    assert [choice.stays for choice in done.staying] == [f"{newest.label} uses it"]
    ledger.record(trained.paths, "again", "submitted", backend="local", **process_identity(os.getpid()))
    stage = trained.stage("second")
    assert stage is not None
    ledger.record(stage.paths, "again", "submitted", backend="local", **process_identity(os.getpid()))
    done = prune(folder / "runs", Site(), keep=Keep(runs=1), now=NOW)
    assert [choice.stays for choice in done.staying] == ["it is running"]


def predicting(folder: Path, model: str) -> Path:
    data = {"root": str(folder / "data"), "images": "images"}
    stages = {
        "first": {"job": evaluate(folder)},
        "masks": {"job": {"kind": "predict", "model": model, "data": data}, "needs": "first"},
    }
    return write_pipeline(folder / "nightly.yaml", stages)


def test_a_version_that_a_later_stage_names_is_in_use_from_the_start(folder: Path) -> None:
    model = Registry(folder / "registry").model("forest")
    for name in ("a", "b", "c"):
        register(model, fake_bundle(folder / name, weights=name), version=name)
    file = predicting(folder, "forest@a")
    nights = [made(folder, f"night-{number}", file=file) for number in range(2)]
    assert uses(model, "a") == [str(night.paths.folder) for night in nights]
    keep = Keep(models=1)
    done = prune(folder / "runs", Site(registry=str(folder / "registry")), keep=keep, now=NOW)
    ((name, outcome),) = done.models
    assert (name, outcome.removed) == ("forest", ("b",))
    assert dict(outcome.kept)["a"].startswith(f"used by {nights[0].paths.folder}")


def test_versions_that_a_schedule_names_stay(folder: Path, call: Call) -> None:
    model = Registry(folder / "registry").model("forest")
    for name in ("a", "b", "c"):
        register(model, fake_bundle(folder / name, weights=name), version=name)
    stored = make(folder)
    stored = stored.with_record(job=str(predicting(folder, "forest@a")))
    assert used_by_schedules([stored]) == {}
    out = call("prune", "--dry-run", "--keep-runs", "1")[1]
    assert "forest@" not in out
    (folder / "site.yaml").write_text("keep: {models: 1}\n")
    out = call("prune", "--dry-run")[1]
    assert "goes    forest@b" in out
    assert "stays   forest@a: the schedule nightly uses it" in out
    out = call("models", "prune", "--keep", "1", "--dry-run")[1]
    assert "forest@a  the schedule nightly uses it" in out


def test_the_list_of_schedules_tells_what_became_of_a_pipeline(folder: Path, call: Call) -> None:
    stored = make(folder)
    pipeline = made(folder, "night-0")
    stored.note("2026-11-20T02:00:00+00:00", "started", run=pipeline.label, folder=str(pipeline.paths.folder))
    drive(pipeline, 1)

    def outcome() -> str:
        return str(json.loads(call("schedule", "list", "--json")[1])[0]["outcome"])

    assert outcome() == "nightly/night-0: failed"
    idle = made(folder, "night-1")
    stored.note("2026-11-21T02:00:00+00:00", "started", run=idle.label, folder=str(idle.paths.folder))
    drive(nothing(idle))
    assert outcome() == "nightly/night-1: nothing to do"
    stored.note("2026-11-22T02:00:00+00:00", "nothing", why="no tile is new")
    assert outcome() == "nothing to do: no tile is new"
