"""Pipelines on a real SLURM, whose stages need no TensorFlow."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from segbatch.cluster.cron.store import ScheduleRecord, StoredSchedule, load, save
from segbatch.runs.pipelines import find_pipeline
from segbatch.spec.schedule import Schedule
from tests.integration.slurm.world import LABELS, User
from tests.support.slurm_cluster import SlurmCluster
from tests.support.worlds import make_tiles

FIRST_NIGHT = datetime.now(UTC).replace(hour=2, minute=0, second=0)


@pytest.fixture
def user(slurm: SlurmCluster, tmp_path: Path, repo: Path) -> User:
    made = User(slurm, tmp_path)
    made.checkout(repo)
    make_tiles(tmp_path / "data", 6, size=(16, 16))
    (tmp_path / "data" / "predicted").symlink_to("masks")
    return made


def stage(user: User, *needs: str, images: str = "images", **more: Any) -> dict[str, Any]:
    data = {
        "root": str(user.folder / "data"),
        "images": images,
        "masks": "masks",
        "predictions": {"folder": "predicted"},
    }
    resources = {"memory": 300, "cpus": 1, "time": 10}
    job = {"kind": "evaluate", "labels": LABELS, "data": data, "resources": resources, **more}
    return {"job": job, "needs": list(needs)}


def pipeline(user: User, notify: list[dict[str, Any]] | None = None, **stages: dict[str, Any]) -> str:
    path = user.folder / "nightly.yaml"
    written = {"kind": "pipeline", "notify": notify or [], "stages": stages}
    path.write_text(yaml.safe_dump(written, sort_keys=False))
    return path.name


def every_night(user: User, overlap: str) -> StoredSchedule:
    """A schedule as `schedule add` leaves it; nobody wakes it but the test."""
    record = ScheduleRecord(
        name="nightly",
        job=str(user.folder / "nightly.yaml"),
        site=str(user.folder / "site.yaml"),
        backend="slurm",
        schedule=Schedule.model_validate({"cron": "0 2 * * *", "overlap": overlap}),
        zone="UTC",
        here="UTC",
        via="crontab",
        host="login",
        cwd=str(user.folder),
        python=sys.executable,
        since=due(0).isoformat(),
    )
    return save(user.folder / "schedules", record)


def due(number: int) -> datetime:
    return FIRST_NIGHT + timedelta(days=number)


def night(user: User, number: int) -> str:
    return user.type(
        "schedule", "fire", "nightly", "--now", due(number).isoformat(), "--home", str(user.folder / "schedules")
    )


def states(found: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["state"] for each in found["stages"]}


def test_stages_follow_each_other_without_anybody_watching(user: User) -> None:
    file = pipeline(user, a=stage(user), b=stage(user, "a"), also=stage(user, "a"), end=stage(user, "b", "also"))
    said = user.type("submit", file, "--backend", "slurm")
    assert "then goes on" in said
    found = user.over("nightly", timeout=200)
    assert (found["state"], found["code"]) == ("done", 0), found
    assert set(states(found).values()) == {"done"}
    assert "job" in user.type("logs", "nightly")
    assert "exit 0" in user.type("logs", "nightly", "end")


def test_a_stage_that_fails_is_named_and_resume_starts_at_it(user: User) -> None:
    file = pipeline(user, a=stage(user), b=stage(user, "a", images="later"), end=stage(user, "b"))
    user.type("submit", file, "--backend", "slurm")
    found = user.over("nightly", timeout=200)
    assert (found["state"], found["code"]) == ("failed", 2), found
    assert states(found) == {"a": "done", "b": "refused", "end": "cancelled"}
    assert "needs b, which was refused" in user.type("status", "nightly")
    (user.folder / "data" / "later").symlink_to("images")
    user.type("resume", "nightly")
    found = user.over("nightly", timeout=200)
    assert found["state"] == "done", found
    assert len(found["stages"][0]["run"]["tasks"]) == 1
    assert found["stages"][0]["run"]["tasks"][0]["attempts"] == 1


def test_cancelled_between_stages_it_stays_so_until_resumed(user: User) -> None:
    user.type("submit", pipeline(user, a=stage(user), b=stage(user, "a")), "--backend", "slurm")
    user.type("cancel", "nightly", "--now")
    user.slurm.wait_for(
        lambda: not set(user.slurm.jobs().values()) & {"PENDING", "RUNNING", "COMPLETING"}, 60, "an idle queue"
    )
    found = user.status("nightly")
    assert found["state"] in ("cancelled", "done"), found
    if found["state"] == "cancelled":
        user.type("resume", "nightly")
    assert user.over("nightly", timeout=200)["state"] == "done"


def test_a_night_that_still_runs_when_the_next_one_is_due(user: User) -> None:
    told = user.folder / "told"
    notify = [{"on": "end", "command": ["sh", "-c", f"cat >>{told}"]}]
    # Held until somebody releases it, so that it is at work as long as the test wants.
    pipeline(user, notify, a=stage(user, slurm={"hold": True}), b=stage(user, "a"))
    stored = every_night(user, "skip")
    assert "then goes on" in night(user, 1)
    first = find_pipeline("nightly", user.folder / "runs")
    assert first is not None
    assert f"skipped: {first.label} is still queued" in night(user, 2)

    stored.with_record(schedule=stored.record.schedule.model_copy(update={"overlap": "queue"}))
    pipeline(user, notify, a=stage(user), b=stage(user, "a"))
    said = night(user, 3)
    assert f"waits for {first.label}: job" in said
    assert user.status("nightly")["state"] == "queued"
    user.type("resume", str(first.paths.folder / "stages" / "a"))
    found = user.over("nightly", timeout=300)
    assert (found["state"], set(states(found).values())) == ("done", {"done"}), found
    assert found["run"] != first.label
    ends = [
        (user.folder / "runs" / name / "stages" / part / "report" / "summary.json").stat().st_mtime
        for name, part in ((first.label, "b"), (found["run"], "a"))
    ]
    assert ends == sorted(ends), "one after the other"
    user.slurm.wait_for(lambda: told.read_text().count("outcome  done, exit code 0") == 2, 60, "the notices")
    assert told.read_text().count("stages   a done, b done\n") == 2
    events = [fire.event for fire in load(user.folder / "schedules", "nightly").fires()]
    assert events == ["started", "skipped", "started"]
