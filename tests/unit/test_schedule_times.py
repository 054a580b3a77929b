"""When schedules are due: cron's five fields, time zones with their clock changes, and what a wake-up decides."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segbatch.cluster.cron.decision import decide, delay
from segbatch.spec.occurrences import (
    following,
    machine_zone,
    minutes_here,
    preceding,
    same_clock,
    shortest_gap,
    wrong_cron,
    wrong_zone,
)
from segbatch.spec.schedule import Schedule
from tests.support.job_files import PREDICT, load, problems

MADRID = "Europe/Madrid"


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "cron", ["0 2 * * *", "*/15 8-18 * * mon-fri", "0 0 1,15 JAN-JUN *", "5 4 29 2 *", "0 2 * * 7", "59 23 31 12 wed"]
)
def test_what_every_cron_understands(cron: str) -> None:
    assert wrong_cron(cron) == ""


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("0 2 * *", "expected five fields"),
        ("0 0 2 * * *", "expected five fields"),
        ("@daily", "expected five fields"),
        ("60 2 * * *", "bad minute"),
        ("0 2 30 2 *", "bad day-of-month"),
        ("0 2 * * mon#2", "numbers, names of months and days"),
        ("0 2 L * *", "numbers, names of months and days"),
        ("0 2 * * *\n0 3 * * *", "expected five fields"),
        ("0 2 * * $(id)", "numbers, names of months and days"),
    ],
)
def test_what_no_cron_understands(cron: str, words: str) -> None:
    assert words in wrong_cron(cron)


def test_clock_changes() -> None:
    """On 29 March 2026 clocks in Madrid go from 02:00 to 03:00, on 25 October from 03:00 back to 02:00."""
    spring = [moment.isoformat()[:16] for moment in islice(following("30 2 * * *", MADRID, utc("2026-03-28")), 3)]
    assert spring == ["2026-03-28T01:30", "2026-03-29T01:00", "2026-03-30T00:30"]
    autumn = [moment.isoformat()[:16] for moment in islice(following("30 2 * * *", MADRID, utc("2026-10-24")), 3)]
    assert autumn == ["2026-10-24T00:30", "2026-10-25T00:30", "2026-10-26T01:30"]


@given(
    st.sampled_from(["0 2 * * *", "*/7 * * * *", "30 2 * * 1-5", "15 3 1 * *"]),
    st.sampled_from([MADRID, "UTC", "Asia/Kolkata", "Australia/Lord_Howe"]),
    st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1)),
)
def test_before_and_after_agree(cron: str, zone: str, moment: datetime) -> None:
    now = moment.replace(tzinfo=UTC, microsecond=0)
    before, after = next(preceding(cron, zone, now)), next(following(cron, zone, now))
    assert before <= now < after
    assert next(preceding(cron, zone, after)) == after
    assert next(following(cron, zone, after - timedelta(seconds=1))) == after


def test_zones(tmp_path: Path) -> None:
    assert wrong_zone(MADRID) == wrong_zone("UTC") == ""
    for wrong in ("Madrid", "", "../etc", "Europe/madrid/", "CEST+1"):
        assert "expected a time zone such as" in wrong_zone(wrong)
    assert machine_zone({"TZ": ":Asia/Tokyo"}, tmp_path) == "Asia/Tokyo"
    assert machine_zone({"TZ": "nowhere"}, tmp_path) == "UTC"
    (tmp_path / "zoneinfo" / "Europe").mkdir(parents=True)
    (tmp_path / "zoneinfo" / "Europe" / "Madrid").touch()
    (tmp_path / "localtime").symlink_to(tmp_path / "zoneinfo" / "Europe" / "Madrid")
    (tmp_path / "timezone").write_text("Etc/UTC\n")
    assert machine_zone({}, tmp_path) == MADRID


def test_the_minutes_at_which_a_machine_of_another_zone_has_to_look() -> None:
    now = utc("2026-11-21")
    assert minutes_here("0 2 * * *", MADRID, "America/New_York", now) == [0]
    assert minutes_here("10,40 2 * * *", "Asia/Kathmandu", "UTC", now) == [25, 55]
    assert minutes_here("0 2 * * *", "Australia/Lord_Howe", "UTC", now) == [0, 30], "half an hour of summer time"
    assert same_clock("Etc/UTC", "UTC", now)
    assert same_clock("Europe/Paris", MADRID, now)
    assert not same_clock("Europe/London", "UTC", now)


def test_job_and_site_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    job = load(PREDICT + 'schedule: {cron: "0 2 * * *", zone: Europe/Madrid, catch_up: 8h, jitter: 20min}\n').job
    assert job.schedule == Schedule(cron="0 2 * * *", zone=MADRID, catch_up=480, jitter=20)
    found = problems(PREDICT + 'schedule: {cron: "0 26 * * *", zone: Madrid, overlap: wait, jitter: 5min}\n')
    assert [line.split(": ", 1)[1][:25] for line in found] == [
        "bad hour in '0 26 * * *';",
        "expected a time zone such",
        "expected 'skip', 'queue' ",
    ]
    assert "starts are 0:05:00 apart" in problems(PREDICT + 'schedule: {cron: "*/5 * * * *", jitter: 5min}\n')[0]
    assert "missing key 'cron' under 'schedule'" in problems(PREDICT + "schedule: {zone: UTC}\n")[0]


NIGHTLY = Schedule(cron="0 2 * * *")
SINCE = utc("2026-11-01T12:00")


def what(schedule: Schedule, now: str, *handled: str) -> tuple[str | None, list[str]]:
    decision = decide(schedule, "UTC", SINCE, [utc(text).timestamp() for text in handled], utc(now))
    due = decision.due.isoformat()[5:16] if decision.due else None
    return due, [moment.isoformat()[5:16] for moment in decision.missed]


def test_what_is_due_is_started_once() -> None:
    assert what(NIGHTLY, "2026-11-02T02:00:00") == ("11-02T02:00", [])
    assert what(NIGHTLY, "2026-11-02T02:00:01", "2026-11-02T02:00") == (None, [])
    assert what(NIGHTLY, "2026-11-02T01:59:30") == (None, []), "too early, and before the first night"
    assert what(NIGHTLY, "2026-11-02T01:59:45") == ("11-02T02:00", []), "a node's clock may be a little behind"
    assert what(NIGHTLY, "2026-11-02T02:55") == ("11-02T02:00", []), "the entry's own job may have waited"


def test_a_missed_start_is_named_and_made_up_only_where_that_was_asked_for() -> None:
    late = "2026-11-04T09:00"
    assert what(NIGHTLY, late, "2026-11-02T02:00") == (None, ["11-03T02:00", "11-04T02:00"])
    eager = Schedule(cron="0 2 * * *", catch_up=8 * 60)
    assert what(eager, late, "2026-11-02T02:00") == ("11-04T02:00", ["11-03T02:00"]), "only the newest is made up"
    assert what(eager, "2026-11-04T10:01", "2026-11-03T02:00") == (None, ["11-04T02:00"]), "and not for ever"
    assert what(NIGHTLY, "2026-11-05T02:00", "2026-11-02T02:00") == ("11-05T02:00", ["11-03T02:00", "11-04T02:00"])


def test_what_was_before_the_schedule_does_not_count() -> None:
    assert what(Schedule(cron="0 2 * * *", catch_up=24 * 60), "2026-11-01T13:00") == (None, [])


@given(st.lists(st.integers(0, 60 * 24 * 6), min_size=1, max_size=30), st.sampled_from([None, 60 * 5, 60 * 24]))
def test_however_it_is_woken_each_occurrence_is_handled_once(wakes: list[int], catch_up: int | None) -> None:
    schedule = Schedule(cron="0 */6 * * *", catch_up=catch_up)
    handled: list[float] = []
    for minute in sorted(wakes):
        now = SINCE + timedelta(minutes=minute)
        decision = decide(schedule, "UTC", SINCE, handled, now)
        new = [*decision.missed, *([decision.due] if decision.due else [])]
        handled += [moment.timestamp() for moment in new]
        assert all(SINCE < moment <= now + timedelta(seconds=20) for moment in new)
    assert handled == sorted(set(handled))
    last = SINCE + timedelta(minutes=max(wakes))
    expected = [SINCE + timedelta(hours=6 * n) for n in range(1, 30) if SINCE + timedelta(hours=6 * n) <= last]
    assert handled == [moment.timestamp() for moment in expected]


def test_delays_are_fixed_for_a_schedule_and_spread() -> None:
    schedule = Schedule(cron="0 2 * * *", jitter=20)
    found = [delay(schedule, f"ana node {number}").total_seconds() for number in range(400)]
    assert found == [delay(schedule, f"ana node {number}").total_seconds() for number in range(400)]
    assert 0 <= min(found) < 60
    assert 1140 < max(found) <= 1200
    assert 540 < sum(found) / 400 < 660
    assert delay(NIGHTLY, "ana") == timedelta()
    assert shortest_gap("0,10 2 * * *") == timedelta(minutes=10)
