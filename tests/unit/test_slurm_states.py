"""SLURM's states: every one it documents, those it prints in odd ways, and those nobody has seen yet."""

from __future__ import annotations

import pytest

from segbatch.cluster.slurm.states import read_state

WAITING = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT", "LAUNCH_FAILED")
RUNNING = ("RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING")
ENDED = {
    "COMPLETED": "",
    "CANCELLED": "cancelled",
    "FAILED": "failed",
    "TIMEOUT": "time limit",
    "NODE_FAIL": "node failed",
    "PREEMPTED": "preempted",
    "BOOT_FAIL": "boot failed",
    "DEADLINE": "deadline",
    "OUT_OF_MEMORY": "out of memory",
}


@pytest.mark.parametrize("name", WAITING)
def test_waiting(name: str) -> None:
    assert (read_state(name).phase, read_state(name).name) == ("waiting", name)


@pytest.mark.parametrize("name", RUNNING)
def test_running(name: str) -> None:
    assert read_state(name).phase == "running"


@pytest.mark.parametrize(("name", "cause"), ENDED.items())
def test_over_and_why(name: str, cause: str) -> None:
    state = read_state(name)
    assert (state.phase, state.cause, state.good) == ("over", cause, name == "COMPLETED")


def test_who_cancelled() -> None:
    state = read_state("CANCELLED by 1000")
    assert (state.name, state.phase, state.by) == ("CANCELLED", "over", "1000")
    assert read_state("CANCELLED").by == ""


@pytest.mark.parametrize("name", ["PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "REQUEUED", "SPECIAL_EXIT"])
def test_slurm_itself_may_start_these_again(name: str) -> None:
    assert read_state(name).returns


@pytest.mark.parametrize("name", ["FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "COMPLETED", "RUNNING"])
def test_these_end_for_good(name: str) -> None:
    assert not read_state(name).returns


@pytest.mark.parametrize("text", ["WEIRD_NEW_STATE", "", "?", "COMPLETED,WEIRD_NEW_FLAG", "REVOKED"])
def test_what_is_not_known_is_neither_good_nor_over(text: str) -> None:
    state = read_state(text)
    assert (state.phase, state.good) == ("unknown", False)


@pytest.mark.parametrize(
    ("text", "name", "phase"),
    [
        ("CANCELLED,COMPLETING", "COMPLETING", "running"),
        ("RUNNING,CONFIGURING", "CONFIGURING", "running"),
        ("PREEMPTED,REQUEUED", "REQUEUED", "waiting"),
        ("REQUEUED,COMPLETING", "REQUEUED", "waiting"),
        ("RUNNING,WEIRD_NEW_FLAG", "RUNNING", "running"),
        ("PENDING,WEIRD_NEW_FLAG", "PENDING", "waiting"),
        ("COMPLETED,UPDATE_DB", "COMPLETED", "over"),
        ("PENDING,EXPEDITING", "PENDING", "waiting"),
    ],
)
def test_lists_of_newer_versions(text: str, name: str, phase: str) -> None:
    assert (read_state(text).name, read_state(text).phase) == (name, phase)


def test_the_cause_of_an_end_survives_its_flags() -> None:
    assert read_state("TIMEOUT,COMPLETING").cause == "time limit"
