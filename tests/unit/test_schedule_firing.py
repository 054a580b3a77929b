"""A schedule that is woken: each occurrence starts once, keeps clear of the run before, and leaves a line."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from segbatch.cluster.cron.firing import Firing, own_delay
from segbatch.cluster.cron.overlap import Way
from segbatch.cluster.cron.store import ScheduleRecord, StoredSchedule, default_home, load, save
from segbatch.cluster.prune import used_by_schedules
from segbatch.errors import InputError, NothingToDo, SegbatchError
from segbatch.runs import ledger
from segbatch.runs.claims import claim_round
from segbatch.runs.layout import RunPaths
from segbatch.runs.process import process_identity
from segbatch.runs.run import Run
from segbatch.spec.schedule import Schedule
from segbatch.spec.site import Site
from tests.support.fake_slurm import FakeSlurm
from tests.support.slurm_runs import write_run
from tests.unit.test_slurm_scheduler import JOB, World

FIRST = datetime(2026, 11, 21, 2, tzinfo=UTC)
DAY = timedelta(days=1)
GONE = {"host": "nowhere", "pid": 1, "started": 1}


def make(folder: Path, **rules: Any) -> StoredSchedule:
    schedule = Schedule.model_validate({"cron": "0 2 * * *", **rules})
    record = ScheduleRecord(
        name="nightly",
        job=str(folder / "job.yaml"),
        schedule=schedule,
        zone="UTC",
        here="UTC",
        via="crontab",
        host="login",
        cwd=str(folder),
        python=sys.executable,
        since="2026-11-20T12:00:00+00:00",
    )
    return save(folder / "home", record)


@dataclass
class Nights:
    """A schedule whose job is started by a stub; runs are at work until they are told to end."""

    folder: Path
    stored: StoredSchedule
    site: Site = field(default_factory=lambda: Site(backend="local"))
    runs: list[Run] = field(default_factory=list)
    afters: list[str] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    broken: str = ""

    def start(self, way: Way) -> Run:
        if self.broken:
            raise InputError(self.broken)
        run = write_run(self.folder, tasks=1, run_id=f"run-{len(self.runs)}")
        self.begin(run)
        self.runs.append(run)
        self.afters.append(way.after)
        return run

    def begin(self, run: Run) -> None:
        ledger.record(run.paths, "a", "submitted", backend="local", **process_identity(os.getpid()))

    def end(self, number: int = -1, code: int = 0) -> None:
        ledger.record(self.runs[number].paths, "a", "ended", code=code)

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        if len(self.waits) > 3 and self.runs:
            self.end()

    @property
    def firing(self) -> Firing:
        return Firing(load(self.stored.folder.parent, "nightly"), self.site, self.start, self.sleep)

    def wake(self, now: datetime) -> str:
        fire = self.firing.on_time(now)
        return "" if fire is None else f"{fire.event} {fire.why}".strip()


@pytest.fixture
def nights(tmp_path: Path) -> Nights:
    return Nights(tmp_path, make(tmp_path))


def test_each_night_starts_once(nights: Nights) -> None:
    assert nights.wake(FIRST - timedelta(minutes=5)) == ""
    assert nights.wake(FIRST) == "started"
    nights.end()
    assert nights.wake(FIRST) == nights.wake(FIRST + timedelta(minutes=30)) == ""
    assert nights.wake(FIRST + DAY) == "started"
    assert [fire.key for fire in nights.stored.fires()] == ["2026-11-21T02:00:00+00:00", "2026-11-22T02:00:00+00:00"]
    assert [fire.run for fire in nights.stored.fires()] == [run.paths.folder for run in nights.runs]
    assert nights.afters == ["", ""]


def test_missed_nights_leave_a_line(nights: Nights) -> None:
    assert nights.wake(FIRST + 3 * DAY) == "started"
    assert [(fire.key[:10], fire.event) for fire in nights.stored.fires()] == [
        ("2026-11-21", "missed"),
        ("2026-11-22", "missed"),
        ("2026-11-23", "missed"),
        ("2026-11-24", "started"),
    ]


def test_a_run_that_is_at_work_makes_the_next_start_skip(nights: Nights) -> None:
    nights.wake(FIRST)
    assert nights.wake(FIRST + DAY) == "skipped job/run-0 is still running"
    nights.end(code=1)
    assert nights.wake(FIRST + 2 * DAY) == "started"


def test_queued_behind_the_run_before(tmp_path: Path) -> None:
    nights = Nights(tmp_path, make(tmp_path, overlap="queue"))
    nights.wake(FIRST)
    assert nights.wake(FIRST + DAY) == "started", "here it waits for the end itself"
    assert nights.waits == [30.0] * 4
    assert len(nights.runs) == 2
    nights.stored.note("2026-11-23T02:00:00+00:00", "taken", **process_identity(os.getpid()))
    assert nights.wake(FIRST + 3 * DAY) == "skipped one start waits already for the run before"


def test_replacing_stops_the_run_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nights = Nights(tmp_path, make(tmp_path, overlap="replace"))
    nights.wake(FIRST)
    asked: list[bool] = []
    monkeypatch.setattr(
        "segbatch.cluster.local.LocalScheduler.cancel", lambda self, run, *, now=False: asked.append(now) or True
    )
    assert nights.wake(FIRST + DAY) == "started"
    assert asked == [False]
    assert nights.waits == [1.0] * 4, "until it has ended"
    assert len(nights.runs) == 2


@pytest.mark.parametrize("rule", ["skip", "queue"])
def test_a_run_that_cannot_be_asked_counts_as_at_work(tmp_path: Path, rule: str) -> None:
    nights = Nights(tmp_path, make(tmp_path, overlap=rule))
    nights.begin = lambda run: ledger.record(run.paths, "a", "submitted", backend="local", **GONE)  # type: ignore[method-assign]
    nights.wake(FIRST)
    assert nights.wake(FIRST + DAY) == "skipped nobody can tell whether job/run-0 is still at work"


def test_a_start_that_fails_leaves_its_reason_and_the_next_night_tries_again(nights: Nights) -> None:
    nights.broken = "job.yaml: there are no images"
    assert nights.wake(FIRST) == "failed job.yaml: there are no images"
    assert nights.wake(FIRST) == "", "an occurrence is tried once"
    nights.broken = ""
    assert nights.wake(FIRST + DAY) == "started"


def test_a_start_whose_process_died_is_named_and_not_repeated(nights: Nights) -> None:
    gone = process_identity(os.getpid()) | {"started": 1}
    nights.stored.note("2026-11-21T02:00:00+00:00", "taken", **gone)
    assert nights.stored.fires()[0].why == "broken off: its process ended without a word"
    assert nights.wake(FIRST + timedelta(minutes=1)) == ""
    assert nights.wake(FIRST + DAY) == "started"


def test_a_start_with_nothing_to_do_is_no_failure(nights: Nights) -> None:
    def start(way: Way) -> Run:
        raise NothingToDo("no tile is new")

    nights.start = start  # type: ignore[method-assign]
    assert nights.wake(FIRST) == "nothing no tile is new"
    assert nights.wake(FIRST) == ""


def test_by_hand_is_no_occurrence(nights: Nights) -> None:
    fire = nights.firing.by_hand(FIRST - timedelta(hours=1))
    assert (fire.event, fire.by_hand) == ("started", True)
    assert nights.firing.by_hand(FIRST - timedelta(minutes=59)).why == "job/run-0 is still running"
    nights.end()
    assert nights.wake(FIRST) == "started"


def test_a_paused_schedule_starts_nothing_but_by_hand(nights: Nights) -> None:
    nights.stored.with_record(paused=True)
    assert nights.wake(FIRST) == ""
    assert nights.firing.by_hand(FIRST).event == "started"
    nights.end()
    nights.stored.with_record(paused=False, since="2026-11-21T12:00:00+00:00")
    assert nights.wake(FIRST + timedelta(hours=11)) == ""
    assert nights.wake(FIRST + DAY) == "started"
    assert [fire.event for fire in nights.stored.fires()] == ["started", "started"], "the pause was meant"


def test_its_own_delay_is_kept_before_the_start(tmp_path: Path) -> None:
    nights = Nights(tmp_path, make(tmp_path, jitter="20min"))
    pause = own_delay(nights.stored)
    assert 0 < pause <= 1200
    nights.wake(FIRST)
    assert nights.waits == [pause]
    nights.end()
    assert nights.firing.on_time(FIRST + DAY, wait=False) is not None
    assert nights.waits == [pause]


def test_two_wake_ups_at_once_start_one_run(nights: Nights) -> None:
    claim_round(RunPaths(nights.stored.folder))
    with pytest.raises(SegbatchError, match="just now"):
        nights.wake(FIRST)
    assert nights.runs == []


def test_a_torn_or_foreign_line_of_the_history_is_left_out(nights: Nights) -> None:
    nights.wake(FIRST)
    with (nights.stored.folder / "fires.jsonl").open("a") as handle:
        handle.write('{"fire":"soon","event":"started","time":1}\n{"fire":"2026-11-22T02:00:00+00:00","ev')
    nights.end()
    assert nights.wake(FIRST + DAY) == "started"
    assert len(nights.stored.fires()) == 2


def test_names_and_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = make(tmp_path)
    with pytest.raises(InputError, match=r"no schedule 'day' in .*: nightly"):
        load(stored.folder.parent, "day")
    for name in ("../x", "a b", "", "é", "a\nb"):
        with pytest.raises(InputError, match="expected up to 100 letters"):
            save(tmp_path, stored.record.model_copy(update={"name": name}))
    (stored.folder / "schedule.json").write_text("{}")
    with pytest.raises(InputError, match="not a schedule of version 1"):
        load(stored.folder.parent, "nightly")
    monkeypatch.setenv("HOME", "/home/ana")
    assert default_home({}) == Path("/home/ana/.local/state/segbatch/schedules")
    assert default_home({"XDG_STATE_HOME": "/state"}) == Path("/state/segbatch/schedules")
    assert default_home({"SEGBATCH_SCHEDULES": "/s"}) == Path("/s")


def test_what_a_schedule_uses_is_not_pruned(nights: Nights) -> None:
    for night in range(2):
        nights.wake(FIRST + night * DAY)
        nights.end()
    (nights.folder / "job.yaml").write_text("kind: predict\nmodel: runs/train/7/model\ndata: {images: i}\n")
    assert used_by_schedules([nights.stored]) == {
        nights.runs[1].paths.folder: "it is the last run of the schedule nightly",
        nights.folder / "runs" / "train" / "7" / "model": "the schedule nightly uses it",
    }


@pytest.fixture
def on_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with FakeSlurm(tmp_path) as fake:
        for name, value in fake.environ.items():
            monkeypatch.setenv(name, value)
        yield World(fake, write_run(tmp_path, tasks=1))


@pytest.mark.parametrize("rule", ["skip", "queue", "replace"])
def test_a_night_that_still_runs_on_slurm(tmp_path: Path, on_slurm: World, rule: str) -> None:
    site = Site(backend="slurm", min_poll_seconds=0.01)
    nights = Nights(tmp_path, make(tmp_path, overlap=rule), site)

    def start(way: Way) -> Run:
        run = write_run(tmp_path, tasks=1, run_id=f"run-{len(nights.runs)}")
        run.paths.job.write_text(JOB)
        on_slurm.scheduler().start(run, after=way.after)
        nights.runs.append(run)
        nights.afters.append(way.after)
        return run

    nights.start = start  # type: ignore[method-assign]
    assert nights.wake(FIRST) == "started"
    on_slurm.fake.start("101", 0)
    second = nights.wake(FIRST + DAY)
    if rule == "skip":
        assert second == "skipped job/run-0 is still running"
        assert nights.afters == [""]
    elif rule == "queue":
        assert second == "started"
        assert nights.afters == ["", "afterany:102"], "behind the job that merges and reports"
        assert on_slurm.fake.jobs["103"].options["dependency"] == "afterany:102"
        assert nights.wake(FIRST + 2 * DAY) == "skipped one start waits already for the run before"
    else:
        assert second == "started"
        assert on_slurm.fake.signals == [("101_0", "USR1")], "its tasks finish the batch in hand"
        assert on_slurm.fake.task("102", 0).state == "CANCELLED"
