"""Fixtures of the tests that run on a real SLURM: `slurm` without accounting, `slurm_database` with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.needs import lacking
from tests.support.slurm_cluster import PACKAGES, SlurmCluster, missing_programs

CLUSTERS = ("slurm_cluster", "slurm_database_cluster")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses a cluster, so that `-m "not slurm"` leaves it out."""
    for item in items:
        if set(CLUSTERS) & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slurm)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Add to a failure what the cluster was doing."""
    report = yield
    if report.failed:
        for cluster in {id(value): value for value in getattr(item, "funcargs", {}).values()}.values():
            if isinstance(cluster, SlurmCluster):
                report.sections.append(("SLURM", cluster.logs()))
    return report


def _running(**description: Any) -> Iterator[SlurmCluster]:
    if missing := missing_programs():
        lacking(f"no {', '.join(missing)}: apt-get install {PACKAGES}")
    with SlurmCluster(**description) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def slurm_cluster() -> Iterator[SlurmCluster]:
    """Two nodes with two GPUs each, no accounting. Tests use `slurm`."""
    yield from _running()


@pytest.fixture(scope="session")
def slurm_database_cluster() -> Iterator[SlurmCluster]:
    """The same with accounting; it takes some seconds to start. Tests use `slurm_database`."""
    yield from _running(db=True)


@pytest.fixture
def slurm(slurm_cluster: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> SlurmCluster:
    """The cluster without accounting, tidy, and this process's programs speak with it."""
    return _entered(slurm_cluster, monkeypatch)


@pytest.fixture
def slurm_database(slurm_database_cluster: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> SlurmCluster:
    """The cluster with accounting, tidy, and this process's programs speak with it."""
    return _entered(slurm_database_cluster, monkeypatch)


def _entered(cluster: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> SlurmCluster:
    environ = cluster.environ
    for name in set(os.environ) - environ.keys():
        monkeypatch.delenv(name)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    cluster.reset()
    return cluster
