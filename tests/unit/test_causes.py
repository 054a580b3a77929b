"""Causes of failure, from what logs, scripts and SLURM really say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from segbatch.cluster.causes import Evidence, cause, read_tail
from segbatch.runs.task_status import GONE_BEFORE_START

HEAD = "--- 2026-01-01T00:00:00Z job 100_1, task 1, on node1, restart 0\n"


def kind(**facts: object) -> str:
    found = cause(Evidence("/runs/job/r1", "1", **facts))  # type: ignore[arg-type]
    return found.kind if found is not None else ""


@pytest.mark.parametrize(
    ("expected", "facts"),
    [
        ("host out of memory", {"state": "OUT_OF_MEMORY", "code": 1}),
        (
            "host out of memory",
            {
                "code": 137,
                "log": "slurmstepd: error: Detected 1 oom_kill event in StepId=4.batch. Some of the step tasks have "
                "been OOM Killed.",
            },
        ),
        ("host out of memory", {"code": 137, "log": "slurmstepd: error: Detected 1 oom-kill event(s) in step 9.0"}),
        ("host out of memory", {"signal": 9, "log": "slurmstepd: error: Exceeded job memory limit at some point."}),
        ("host out of memory", {"code": 1, "message": "out of memory: ask for more `resources.memory`, or ..."}),
        ("killed", {"state": "FAILED", "signal": 9}),
        ("killed", {"code": 137, "log": "nothing telling"}),
        ("killed", {"code": 139}),
        ("GPU out of memory", {"code": 1, "message": "ResourceExhaustedError: Graph execution error:"}),
        (
            "GPU out of memory",
            {"code": 1, "log": "W OOM when allocating tensor with shape[64,512,512,64] and type float on /GPU:0"},
        ),
        ("GPU out of memory", {"code": 134, "log": "E failed call to cuInit: CUDA_ERROR_OUT_OF_MEMORY: out of memory"}),
        ("time limit", {"state": "TIMEOUT"}),
        ("time limit", {"code": 85, "why": "time limit", "message": "stopped by SIGUSR1"}),
        ("preempted", {"state": "PREEMPTED"}),
        ("preempted", {"code": 85, "why": "preempted"}),
        ("node failed", {"state": "NODE_FAIL"}),
        ("log folder missing", {"state": "FAILED", "signal": 53, "message": GONE_BEFORE_START}),
        (
            "container",
            {
                "code": 255,
                "log": "FATAL:   could not open image /images/seg.sif: failed to retrieve path for /images/seg.sif: "
                "lstat /images/seg.sif: no such file or directory",
            },
        ),
        (
            "container",
            {
                "code": 255,
                "log": "FATAL:   container creation failed: mount hook function failure: mount /dat->/data error: "
                "while mounting /dat: mount source /dat doesn't exist",
            },
        ),
        ("container", {"code": 125, "log": "Error: statfs /data/none: no such file or directory"}),
        ("container", {"code": 125, "log": 'Error: short-name "seg:1" did not resolve to an alias'}),
        ("container", {"code": 125, "log": "docker: Error response from daemon: invalid mount config for type"}),
        ("container", {"code": 1, "log": "slurmstepd: error: pyxis: couldn't start container"}),
        ("container", {"code": 1, "log": "slurmstepd: error: pyxis: failed to import docker image"}),
        ("container", {"code": 127, "log": "/var/spool/job4/slurm_script: line 8: apptainer: command not found"}),
        ("container", {"code": 2, "log": "slurmstepd: error: execve(): apptainer: No such file or directory"}),
        ("program missing", {"code": 2, "log": "slurmstepd: error: execve(): /opt/py/bin/python: No such file"}),
        ("program missing", {"code": 127, "log": "slurm_script: line 9: python3.12: command not found"}),
        ("program missing", {"code": 1, "log": "/usr/bin/python3: No module named segbatch"}),
        ("TensorFlow missing", {"code": 1, "message": "No module named 'tensorflow': tasks need `pip install ...`"}),
        ("disk full", {"code": 1, "message": "OSError: [Errno 28] No space left on device"}),
        ("bad data", {"code": 4, "message": "more than 0 of 12 tiles were rejected"}),
        ("bad data", {"code": 1, "message": "every tile was rejected; /r/rejected.csv says why"}),
        ("configuration", {"code": 2, "message": "model: /m is no bundle"}),
        ("cancelled", {"state": "CANCELLED", "by": "anna"}),
        ("cancelled", {"code": 85, "why": "cancelled"}),
        ("dependency", {"waits": True, "state": "PENDING", "reason": "DependencyNeverSatisfied"}),
        ("held", {"waits": True, "state": "PENDING", "reason": "launch failed requeued held"}),
        ("held", {"waits": True, "state": "PENDING", "reason": "JobHeldUser"}),
        ("", {"waits": True, "state": "PENDING", "reason": "Resources", "log": "Exceeded job memory limit"}),
        ("stopped", {"message": GONE_BEFORE_START, "stopped": "12 of 15 tasks failed"}),
        ("stopped", {"code": 1, "why": "12 of 15 tasks failed", "stopped": "12 of 15 tasks failed"}),
        ("failed", {"code": 1, "why": "failed", "message": "ValueError: x", "stopped": "12 of 15 tasks failed"}),
        ("never started", {"message": GONE_BEFORE_START}),
        ("launch failed", {"code": 1, "log": "srun: error: Task launch for StepId=4.0 failed on node node1: timeout"}),
        ("bad node", {"code": 9, "log": "--- 2026-01-01T00:00:00Z keeping away from node3: 3 tasks failed"}),
        ("retries used", {"code": 1, "why": "all retries used"}),
        ("failed", {"code": 1, "message": "ValueError: broken"}),
        ("failed", {"code": 7}),
        ("gone", {}),
    ],
)
def test_each_cause_has_a_name_a_line_and_a_command(expected: str, facts: dict[str, object]) -> None:
    log = facts.get("log")
    facts = facts | ({"log": HEAD + "some line\n" + str(log) + "\nlast line\n"} if log else {})
    assert kind(**facts) == expected
    found = cause(Evidence("/runs/job/r1", "1", job_file="/jobs/job.yaml", **facts))  # type: ignore[arg-type]
    if found is not None:
        assert found.line
        assert "\n" not in found.line
        assert "{" not in found.line + found.next
        assert re.search(r"/runs/job/r1|/jobs/job\.yaml|submit again|segbatch doctor", found.next), found.next
        if log and not facts.get("waits"):
            assert any(str(log)[:60] in line for line in found.excerpt)


def test_the_log_of_an_earlier_attempt_is_not_the_cause_of_this_one() -> None:
    log = HEAD + "slurmstepd: error: Exceeded job memory limit\n" + HEAD + "ValueError: broken\n"
    assert kind(code=1, message="ValueError: broken", log=log) == "failed"


def test_a_task_told_to_stop_is_not_judged_by_its_log() -> None:
    log = HEAD + "W OOM when allocating tensor, trying something smaller\n"
    assert kind(code=85, why="time limit", log=log) == "time limit"


def test_lines_of_logs_are_shown_as_they_are() -> None:
    """Braces in messages and logs mean nothing."""
    found = cause(Evidence("/r", "1", code=1, message="KeyError: {0} {folder}", log=HEAD + "{x}\n"))
    assert found is not None
    assert (found.line, found.excerpt) == ("KeyError: {0} {folder}", ("{x}",))


def test_who_cancelled_and_what_was_waited_for_are_named() -> None:
    by = cause(Evidence("/r", "1", state="CANCELLED", by="anna"))
    assert by is not None
    assert "by anna" in by.line
    waits = Evidence("/r", "1", waits=True, reason="DependencyNeverSatisfied", dependency="run a/b (job 7)")
    found = cause(waits)
    assert found is not None
    assert "run a/b (job 7)" in found.line


def test_only_the_end_of_a_log_is_read(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"early\n" + b"x" * 100_000 + b"\nlate \xff\n")
    tail = read_tail(path)
    assert tail is not None
    assert len(tail) <= 65536
    assert "early" not in tail
    assert tail.endswith("late \N{REPLACEMENT CHARACTER}\n")
    assert read_tail(tmp_path / "none") is None
