"""What a site allows: read once, kept for a day, corrected by the site file."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from segbatch.cluster.slurm.client import Slurm, SlurmUnavailableError
from segbatch.cluster.slurm.limits import Limits, read_limits
from segbatch.spec.site import SiteLimits
from tests.support.fake_slurm import FakeSlurm

NOW = 1_900_000_000.0
DAY = 86_400.0


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeSlurm]:
    with FakeSlurm(tmp_path) as fake:
        yield fake


def limits(fake: FakeSlurm, now: float = NOW, **overrides: int) -> Limits:
    return read_limits(
        Slurm(fake.environ, timeout_s=2), SiteLimits(**overrides), fake.folder / "cache" / "segbatch", now
    )


def asked(fake: FakeSlurm) -> int:
    return sum(fake.calls.values())


def test_what_the_controller_says(fake: FakeSlurm) -> None:
    fake.max_array_size, fake.min_job_age = 301, 2
    assert limits(fake) == Limits(
        max_array_size=301,
        max_job_count=10_000,
        max_submit=None,
        min_job_age_s=2,
        cluster="fake",
        version=(22, 5),
        accounting=True,
    )


def test_the_smallest_limit_of_association_and_qos_counts(fake: FakeSlurm) -> None:
    fake.max_submit, fake.qos_limits = 500, {"normal": ("300", "", ""), "long": ("", "", "40"), "huge": ("", "", "")}
    slurm, cache = Slurm(fake.environ), fake.folder / "cache"
    assert read_limits(slurm, SiteLimits(), cache, NOW).max_submit == 300
    assert read_limits(slurm, SiteLimits(), cache, NOW, qos="long").max_submit == 40
    assert read_limits(slurm, SiteLimits(), cache, NOW, qos="huge").max_submit == 500
    assert read_limits(slurm, SiteLimits(), cache, NOW, qos="huge", account="other").max_submit is None
    assert any(f"name={getpass.getuser()}" in call for call in fake.log)


def test_limits_that_are_not_enforced_are_none(fake: FakeSlurm) -> None:
    fake.max_submit, fake.enforced = 5, "none"
    assert limits(fake).max_submit is None


def test_a_day_long_nobody_is_asked_again(fake: FakeSlurm) -> None:
    first = limits(fake)
    before = asked(fake)
    fake.max_array_size = 99
    assert limits(fake, NOW + DAY - 1) == first
    assert asked(fake) == before
    assert limits(fake, NOW + DAY).max_array_size == 99


def test_the_site_file_knows_better(fake: FakeSlurm) -> None:
    limits(fake)
    corrected = limits(fake, max_array_size=11, max_submit=7, max_jobs=20)
    assert (corrected.max_array_size, corrected.max_submit, corrected.max_job_count) == (11, 7, 20)
    assert limits(fake).max_array_size == 1001


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"read": 1900000000}', b"\xff\x00", b"null", b'{"read": "x"}'])
def test_a_broken_cache_is_read_anew(fake: FakeSlurm, content: bytes) -> None:
    first = limits(fake)
    (file,) = (fake.folder / "cache" / "segbatch").iterdir()
    file.write_bytes(content)
    assert limits(fake) == first


def test_a_cache_from_the_future_is_read_anew(fake: FakeSlurm) -> None:
    limits(fake, NOW + 10 * DAY)
    fake.max_array_size = 99
    assert limits(fake).max_array_size == 99


def test_a_cache_that_cannot_be_written_is_done_without(fake: FakeSlurm) -> None:
    (fake.folder / "cache").write_text("a file")
    assert limits(fake).max_array_size == 1001


def test_without_accounting(fake: FakeSlurm) -> None:
    fake.accounting = "off"
    assert not limits(fake).accounting
    assert "sacctmgr" not in fake.calls


def test_with_the_database_down_the_rest_is_known_and_asked_again(fake: FakeSlurm) -> None:
    fake.max_submit, fake.accounting = 50, "down"
    assert limits(fake).max_submit is None
    fake.accounting = "on"
    assert limits(fake).max_submit == 50


def test_with_the_controller_down_yesterdays_answer_holds(fake: FakeSlurm) -> None:
    first = limits(fake)
    fake.controller = "down"
    assert limits(fake, NOW + 3 * DAY) == first


def test_with_the_controller_down_and_no_answer_ever(fake: FakeSlurm) -> None:
    fake.controller = "down"
    with pytest.raises(SlurmUnavailableError, match="slurmctld does not answer"):
        limits(fake)


def test_two_clusters_do_not_share(fake: FakeSlurm) -> None:
    first = limits(fake)
    fake.max_array_size = 99
    other = Slurm({**fake.environ, "SLURM_CONF": "/elsewhere/slurm.conf"})
    second = read_limits(other, SiteLimits(), fake.folder / "cache" / "segbatch", NOW)
    assert second == replace(first, max_array_size=99)
