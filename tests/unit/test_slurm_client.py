"""The client against a fake SLURM on PATH: what is asked, how failures are told, what is repeated and what never is."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from segbatch.cluster.slurm.client import (
    Slurm,
    SlurmError,
    SlurmRefusedError,
    SlurmUnavailableError,
    SlurmUnclearError,
)
from tests.support.fake_slurm import FakeSlurm


def submitted(slurm: Slurm, fake: FakeSlurm) -> str:
    return slurm.submit("s.sh", fake.folder)[0]


# Submitting.


def test_submit_gives_the_id(slurm: Slurm, fake: FakeSlurm) -> None:
    assert slurm.submit("s.sh", fake.folder) == ("101", "")
    assert fake.jobs["101"].comment == "segbatch:abc"


@pytest.mark.parametrize("mode", ["time out", "queue then time out", "hang", "queue then hang"])
def test_lost_answer_is_told_and_sbatch_is_never_repeated(fake: FakeSlurm, mode: str) -> None:
    fake.on_sbatch = mode  # type: ignore[assignment]
    with pytest.raises(SlurmUnclearError, match="may have been done all the same"):
        Slurm(fake.environ, timeout_s=1).submit("s.sh", fake.folder)
    assert fake.calls["sbatch"] == 1
    assert [row.comment for row in Slurm(fake.environ).queue()][:1] == ["segbatch:abc"] * mode.startswith("queue")


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("Batch job submission failed: Invalid partition name specified", "`partition` in the site file"),
        ("Batch job submission failed: Invalid account or account/partition combination specified", "`account`"),
        ("Batch job submission failed: Invalid qos specification", "`qos`"),
        ("Batch job submission failed: Invalid job array specification", "MaxArraySize"),
        ("Batch job submission failed: Requested node configuration is not available", "sinfo -o"),
        ("Memory specification can not be satisfied", "`memory`"),
        ("Invalid generic resource (gres) specification", "gpu_flavour"),
        ("Batch job submission failed: Invalid feature specification", "`constraint`"),
        ("Batch job submission failed: Requested reservation is invalid", "`reservation`"),
        ("Batch job submission failed: Access/permission denied", "administrators"),
        (
            "Batch job submission failed: Requested time limit is invalid (missing or exceeds some limit)",
            "`time` under `resources`",
        ),
        (
            "QOSMaxSubmitJobPerUserLimit\nsbatch: error: Batch job submission failed: Job violates accounting/QOS "
            "policy (job submit limit, user's size and/or time limits)",
            "more jobs or larger ones than the site allows",
        ),
        ("Batch script is empty!", "template"),
        ("Batch script contains DOS line breaks (\\r\\n)", "template"),
        ("Invalid --time specification", "`time` under `resources`"),
        ("unrecognized option '--nonsense'", "under `slurm:`"),
        ("Batch job submission failed: Job dependency problem", ""),
        ("Please name a project.\nsbatch: error: Batch job submission failed: Unspecified error", "site's own rules"),
    ],
)
def test_refusals_keep_slurms_words_and_say_what_to_do(slurm: Slurm, fake: FakeSlurm, words: str, advice: str) -> None:
    fake.on_sbatch, fake.refusal = "refuse", words
    with pytest.raises(SlurmRefusedError) as caught:
        slurm.submit("s.sh", fake.folder)
    assert words.split("\n")[0] in caught.value.words
    assert "error:" not in caught.value.words
    assert str(caught.value).startswith(f"sbatch s.sh: SLURM refused: {caught.value.words}")
    assert advice in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "words",
    [
        "Batch job submission failed: Socket timed out on send/recv operation",
        "Batch job submission failed: Unable to contact slurm controller (connect failure)",
        "Batch job submission failed: Zero Bytes were transmitted or received",
        "Batch job submission failed: Unexpected message received",
        "slurm_receive_msg: Transport endpoint is not connected",
        "Batch job submission failed: Invalid authentication credential",
        "Batch job submission failed: Words that nobody has seen",
    ],
)
def test_what_may_have_been_queued_is_unclear(slurm: Slurm, fake: FakeSlurm, words: str) -> None:
    fake.on_sbatch, fake.refusal = "refuse", words
    with pytest.raises(SlurmUnclearError) as caught:
        slurm.submit("s.sh", fake.folder)
    assert caught.value.words == words
    assert fake.calls["sbatch"] == 1


def test_settings_that_are_not_found_are_no_submission(slurm: Slurm, fake: FakeSlurm) -> None:
    fake.on_sbatch, fake.refusal = (
        "refuse",
        "fetch_config: failed\nsbatch: fatal: Could not establish a configuration source",
    )
    with pytest.raises(SlurmUnavailableError, match="SLURM_CONF"):
        slurm.submit("s.sh", fake.folder)


def test_a_hang_over_missing_settings_is_no_submission(fake: FakeSlurm) -> None:
    sbatch = fake.folder / "fake-slurm-bin" / "sbatch"
    sbatch.write_text("#!/bin/sh\necho 'sbatch: error: s_p_parse_file: cannot stat file /x/slurm.conf' >&2\nsleep 60\n")
    with pytest.raises(SlurmUnavailableError, match="SLURM_CONF"):
        Slurm(fake.environ, timeout_s=0.5).submit("s.sh", fake.folder)


def test_no_programs(tmp_path: Path) -> None:
    nowhere = Slurm({"PATH": str(tmp_path)}, timeout_s=5)
    for call in (nowhere.version, nowhere.queue, lambda: nowhere.submit("s.sh", tmp_path)):
        with pytest.raises(SlurmUnavailableError, match=r"no program s\w+ on PATH. Is this a login node"):
            call()
    assert not nowhere.ping()


def test_only_asking_queues_nothing(slurm: Slurm, fake: FakeSlurm) -> None:
    assert slurm.test_only("s.sh", fake.folder).startswith("Job 101 to start at 2030-01-01T00:00:00")
    assert not fake.jobs
    fake.on_sbatch = "refuse"
    with pytest.raises(SlurmRefusedError, match="--test-only"):
        slurm.test_only("s.sh", fake.folder)


def test_the_callers_own_job_does_not_leak(fake: FakeSlurm) -> None:
    leaks = {
        "SLURM_JOB_ID": "7",
        "SLURM_ARRAY_TASK_ID": "3",
        "SBATCH_TIMELIMIT": "1",
        "SQUEUE_FORMAT": "%i",
        "PMIX_X": "1",
    }
    kept = {"SLURM_CLUSTERS": "big", "SLURM_JWT": "secret", "MY_OWN": "yes"}
    Slurm({**fake.environ, **leaks, **kept}).submit("s.sh", fake.folder)
    (inside,) = fake.environs
    assert not leaks.keys() & inside.keys()
    assert kept.items() <= inside.items()
    assert inside["SLURM_CONF"] == fake.environ["SLURM_CONF"]


# Asking.


def test_one_question_for_the_whole_queue(slurm: Slurm, fake: FakeSlurm) -> None:
    first, second = submitted(slurm, fake), submitted(slurm, fake)
    fake.start(first, 0)
    fake.end(first, 2, "FAILED", code=137)
    rows = {row.job: row for row in slurm.queue()}
    assert fake.calls["squeue"] == 1
    assert len(rows) == 8
    assert (rows[f"{first}_0"].state.phase, rows[f"{second}_3"].state.phase) == ("running", "waiting")
    assert rows[f"{first}_2"].exit_code == 137


@pytest.mark.parametrize("shape", ["json 22.05", "json 24.11"])
def test_a_squeue_without_our_columns_is_asked_for_json(slurm: Slurm, fake: FakeSlurm, shape: str) -> None:
    job = submitted(slurm, fake)
    fake.end(job, 1, "FAILED", code=3)
    text = [(row.job, row.state.name, row.exit_code, row.comment) for row in slurm.queue()]
    fake.squeue = shape  # type: ignore[assignment]
    assert [(row.job, row.state.name, row.exit_code, row.comment) for row in slurm.queue()] == text


def test_a_squeue_that_nobody_understands(slurm: Slurm, fake: FakeSlurm) -> None:
    fake.squeue = "garbage"
    with pytest.raises(SlurmUnavailableError, match="not understood"):
        slurm.queue()


def test_an_empty_queue_is_an_answer(slurm: Slurm, fake: FakeSlurm) -> None:
    assert slurm.queue() == []
    assert fake.calls == {"squeue": 1}


def test_incarnations(slurm: Slurm, fake: FakeSlurm) -> None:
    job = submitted(slurm, fake)
    fake.start(job, 0)
    fake.restart(job, 0, "PREEMPTED")
    fake.end(job, 0)
    fake.purge(job)
    assert slurm.queue() == []
    states = [row.state.name for row in slurm.accounting([job], time.time() - 60) if row.index == 0]
    assert states == ["PREEMPTED", "COMPLETED"]


def test_a_job_that_had_the_id_before_is_not_ours(slurm: Slurm, fake: FakeSlurm) -> None:
    old = submitted(slurm, fake)
    for task in fake.jobs[old].tasks.values():
        fake.end(old, task.index)
        task.submitted = time.time() - 5000
    fake.purge(old)
    fake.next_id = int(old)
    assert submitted(slurm, fake) == old
    assert {row.state.name for row in slurm.accounting([old], time.time() - 60)} == {"PENDING"}


@pytest.mark.parametrize(("state", "words"), [("off", "keeps no accounts"), ("down", "database does not answer")])
def test_accounting_that_cannot_be_asked_is_asked_once(slurm: Slurm, fake: FakeSlurm, state: str, words: str) -> None:
    fake.accounting = state  # type: ignore[assignment]
    with pytest.raises(SlurmUnavailableError, match=words):
        slurm.accounting(["101"], 0)
    assert fake.calls["sacct"] == 1


def test_facts_of_one_task(slurm: Slurm, fake: FakeSlurm) -> None:
    job = submitted(slurm, fake)
    fake.end(job, 2, "FAILED", code=137)
    facts = slurm.job(f"{job}_2")
    assert facts is not None
    assert (facts["JobState"], facts["ExitCode"]) == ("FAILED", "137:0")
    assert slurm.job("999") is None


def test_what_the_site_is(slurm: Slurm) -> None:
    assert slurm.version() == (22, 5)
    assert slurm.config()["MaxArraySize"] == "1001"
    assert slurm.ping()
    assert [partition.name for partition in slurm.partitions()] == ["main"]


def test_a_passing_silence_is_asked_again(slurm: Slurm, fake: FakeSlurm) -> None:
    fake.silences = 2
    assert slurm.queue() == []
    assert fake.calls["squeue"] == 3


@pytest.mark.parametrize("state", ["down", "silent"])
def test_a_controller_that_stays_away(slurm: Slurm, fake: FakeSlurm, state: str) -> None:
    fake.controller = state  # type: ignore[assignment]
    with pytest.raises(SlurmUnavailableError, match="Try again in a minute"):
        slurm.queue()
    with pytest.raises(SlurmUnavailableError):
        slurm.job("101")  # Not None: it may well be there.
    assert fake.calls["squeue"] <= 3
    assert not slurm.ping()


def test_a_program_that_hangs_is_left_with_all_its_children(fake: FakeSlurm) -> None:
    squeue = fake.folder / "fake-slurm-bin" / "squeue"
    squeue.write_text(f"#!/bin/sh\nsleep 60 &\necho $! > {fake.folder}/child\nwait\n")
    began = time.monotonic()
    with pytest.raises(SlurmUnavailableError, match="no answer within"):
        Slurm(fake.environ, timeout_s=0.5).queue()
    assert time.monotonic() - began < 10
    child = Path(f"/proc/{(fake.folder / 'child').read_text().strip()}/stat")
    deadline = time.monotonic() + 20
    while child.exists() and child.read_text().rpartition(")")[2].split()[0] not in "ZX":
        assert time.monotonic() < deadline
        time.sleep(0.01)


# Changing.


def test_cancel_is_repeated_and_passes_over_what_is_gone(slurm: Slurm, fake: FakeSlurm) -> None:
    job = submitted(slurm, fake)
    fake.start(job, 0)
    slurm.cancel([job, "999"])
    assert {row.state.name for row in slurm.queue()} == {"CANCELLED"}


def test_only_waiting_tasks_are_cancelled(slurm: Slurm, fake: FakeSlurm) -> None:
    job = submitted(slurm, fake)
    fake.start(job, 0)
    slurm.cancel([job], pending_only=True)
    assert {task.index: task.state for task in fake.jobs[job].tasks.values()} == {
        0: "RUNNING",
        1: "CANCELLED",
        2: "CANCELLED",
        3: "CANCELLED",
    }


def test_only_the_named_waiting_tasks_are_cancelled(slurm: Slurm, fake: FakeSlurm) -> None:
    """scancel --state=PENDING 101_3 would cancel tasks 1 and 2 as well."""
    job = submitted(slurm, fake)
    fake.start(job, 0)
    slurm.cancel([f"{job}_0", f"{job}_[2-3]"], pending_only=True)
    assert [task.state for task in fake.jobs[job].tasks.values()] == ["RUNNING", "PENDING", "CANCELLED", "CANCELLED"]


def test_a_signal_reaches_running_tasks_once(slurm: Slurm, fake: FakeSlurm) -> None:
    job = submitted(slurm, fake)
    for index in (0, 1):
        fake.start(job, index)
    slurm.cancel([job], pending_only=True)
    slurm.cancel([job], signal="USR1")
    assert fake.signals == [(f"{job}_0", "USR1"), (f"{job}_1", "USR1")]
    assert [task.state for task in fake.jobs[job].tasks.values()][:2] == ["RUNNING", "RUNNING"]


def test_a_signal_while_others_wait_does_not_hang(fake: FakeSlurm) -> None:
    slurm = Slurm(fake.environ, timeout_s=1)
    job = submitted(slurm, fake)
    fake.start(job, 0)
    slurm.cancel([job], signal="USR1")
    assert fake.signals == [(f"{job}_0", "USR1")]


def test_a_signal_to_what_is_gone_is_nothing(slurm: Slurm, fake: FakeSlurm) -> None:
    slurm.cancel(["999"], signal="USR1")
    assert fake.signals == []


def test_requeue_and_release(slurm: Slurm, fake: FakeSlurm) -> None:
    job = submitted(slurm, fake)
    fake.start(job, 1)
    slurm.requeue(f"{job}_1")
    assert (fake.task(job, 1).state, fake.task(job, 1).restarts, fake.task(job, 2).restarts) == ("PENDING", 1, 0)
    fake.task(job, 2).reason = "JobHeldUser"
    slurm.release(job)
    assert fake.task(job, 2).reason != "JobHeldUser"
    with pytest.raises(SlurmRefusedError, match="does not know the job"):
        slurm.requeue("999")
    assert fake.calls["scontrol"] == 3


def test_update(slurm: Slurm, fake: FakeSlurm) -> None:
    job = submitted(slurm, fake)
    slurm.update(job, ArrayTaskThrottle=3)
    assert fake.updates == [(job, {"ArrayTaskThrottle": "3"})]


def test_a_requeue_whose_answer_is_lost_is_not_repeated(slurm: Slurm, fake: FakeSlurm) -> None:
    fake.controller = "silent"
    with pytest.raises(SlurmUnclearError):
        slurm.requeue("101_1")
    assert fake.calls["scontrol"] == 1


def test_every_failure_is_one_kind_of_error(slurm: Slurm, fake: FakeSlurm) -> None:
    fake.controller, fake.accounting = "down", "down"
    calls = (
        slurm.queue,
        slurm.config,
        slurm.partitions,
        lambda: slurm.accounting(["1"], 0),
        lambda: slurm.cancel(["1"]),
    )
    for call in calls:
        with pytest.raises(SlurmError) as caught:
            call()
        assert caught.value.words
        assert "\n" not in str(caught.value)
