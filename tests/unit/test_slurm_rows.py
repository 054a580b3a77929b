"""Parsers against what SLURM really printed: text of 22.05, JSON of 22.05 and 24.11."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segbatch.cluster.slurm import rows
from segbatch.cluster.slurm.rows import AccountRow, QueueRow
from segbatch.runs.indexes import compact_indexes

OUTPUT = Path(__file__).parent / "slurm_output"


def printed(name: str) -> str:
    return (OUTPUT / name).read_text(encoding="utf-8")


@pytest.fixture
def queue() -> dict[str, QueueRow]:
    return {row.job: row for row in rows.parse_queue(printed("squeue_22.05.txt"))}


@pytest.fixture
def account() -> list[AccountRow]:
    return rows.parse_accounting(printed("sacct_22.05.txt"))


def test_running_task_of_an_array(queue: dict[str, QueueRow]) -> None:
    row = queue["26_4"]
    assert (row.array, row.index, row.raw, row.nodes) == ("26", 4, "34", "node1")
    assert (row.state.name, row.comment, row.start) == ("RUNNING", "segbatch:0011aabb", "2026-11-21T12:38:15")
    assert row.time_left_s is None


def test_waiting_tasks_say_why(queue: dict[str, QueueRow]) -> None:
    assert (queue["26_7"].raw, queue["26_7"].reason, queue["26_7"].nodes) == ("26", "JobArrayTaskLimit", "")
    assert (queue["28"].reason, queue["28"].start) == ("JobHeldUser", "2026-11-21T13:38:14")
    assert queue["27"].dependency == "afterany:26_*(unfulfilled)"


def test_exit_codes_are_whole(queue: dict[str, QueueRow]) -> None:
    """sacct would say 9:0 for the first."""
    codes = {job: (queue[job].exit_code, queue[job].exit_signal) for job in ("26_1", "37_4", "26_2", "45", "26_0")}
    assert codes == {"26_1": (137, 0), "37_4": (143, 0), "26_2": (0, 9), "45": (0, 53), "26_0": (0, 0)}


def test_restarts_are_counted(queue: dict[str, QueueRow]) -> None:
    assert (queue["26_3"].state.phase, queue["26_3"].restarts, queue["26_4"].restarts) == ("waiting", 1, 0)


def test_comment_with_line_break_stays_one_row(queue: dict[str, QueueRow]) -> None:
    assert queue["27"].comment == "two\nlines | a=b"


def test_what_was_cancelled_while_it_waited_has_one_row_without_index(queue: dict[str, QueueRow]) -> None:
    row = queue["14"]
    assert (row.array, row.index, row.state.name) == ("14", None, "CANCELLED")
    assert queue["14_0"].array == "14"


def test_time_left_in_seconds(queue: dict[str, QueueRow]) -> None:
    assert queue["29"].time_left_s == 4 * 3600 + 59 * 60 + 46
    assert rows.parse_duration("364-23:59:57") == 364 * 86400 + 23 * 3600 + 59 * 60 + 57
    assert rows.parse_duration("0:05") == 5
    assert rows.parse_duration("INVALID") is None


def queue_line(**changes: str) -> str:
    values = dict.fromkeys(rows.QUEUE_FIELDS, "") | {"JobArrayID": "7_[2-3,8%2]", "JobID": "7", "ArrayJobID": "7"}
    return "".join(f"{value}\x1f" for value in (values | changes).values()) + "\x1e\n"


def test_a_waiting_remainder_is_told_apart() -> None:
    found = rows.parse_queue(queue_line(State="PENDING"))
    assert [(row.job, row.index) for row in found] == [("7_2", 2), ("7_3", 3), ("7_8", 8)]


def test_a_list_that_was_cut_short_gives_what_it_has() -> None:
    assert [row.index for row in rows.parse_queue(queue_line(JobArrayID="7_[1,3,...]"))] == [1, 3]


def test_states_from_the_future_are_rows_all_the_same() -> None:
    (row,) = rows.parse_queue(queue_line(JobArrayID="7_1", State="WEIRD_NEW_STATE"))
    assert (row.job, row.state.name, row.state.phase) == ("7_1", "WEIRD_NEW_STATE", "unknown")


@pytest.mark.parametrize("text", ["", "\n", "Welcome!\n", "slurm_load_jobs error: x\n", "7\x1f8\x1f\x1e\n"])
def test_what_is_no_row_is_left_out(text: str) -> None:
    assert rows.parse_queue(text) == []
    assert rows.parse_queue(text + queue_line(JobArrayID="7_1"))[-1].job == "7_1" or "\x1e" not in text


def test_json_of_22_05() -> None:
    found = {row.job: row for row in rows.parse_queue_json(printed("squeue_22.05.json"))}
    assert {job: row.state.name for job, row in found.items() if row.array == "46"} == {
        "46_0": "COMPLETED",
        "46_1": "FAILED",
        "46_2": "FAILED",
        "46_3": "PENDING",
        "46_4": "RUNNING",
        "46_5": "RUNNING",
        "46_6": "RUNNING",
        "46_7": "PENDING",
    }
    assert (found["46_1"].exit_code, found["46_2"].exit_signal) == (137, 9)
    assert (found["47"].index, found["47"].dependency) == (None, "afterany:46_*(unfulfilled)")
    assert found["46_4"].comment == "segbatch:0011aabb"


def test_json_of_24_11() -> None:
    found = {row.job: row for row in rows.parse_queue_json(printed("squeue_24.11.json"))}
    assert list(found) == ["3_0", "4", "3_1", "3_2", "3_3"]
    assert (found["3_0"].state.name, found["3_0"].raw, found["3_0"].nodes) == ("RUNNING", "5", "node1")
    assert (found["3_3"].state.phase, found["3_3"].reason) == ("waiting", "JobArrayTaskLimit")
    assert (found["3_1"].comment, found["3_1"].exit_code) == ("hello", 0)


def test_json_of_one_user() -> None:
    assert rows.parse_queue_json(printed("squeue_22.05.json"), user=0)
    assert rows.parse_queue_json(printed("squeue_22.05.json"), user=1000) == []


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"jobs": 3}', "Welcome"])
def test_json_of_another_shape_is_an_error_of_one_kind(text: str) -> None:
    with pytest.raises(ValueError):
        rows.parse_queue_json(text)


def test_incarnations_in_the_accounts(account: list[AccountRow]) -> None:
    states = [(row.job, row.state.name) for row in account if row.array == "55"]
    assert ("55_3", "REQUEUED") in states
    assert [(job, state) for job, state in states if state == "PENDING"] == [("55_6", "PENDING"), ("55_7", "PENDING")]
    ended = next(row for row in account if row.job == "55_2")
    assert (ended.exit_code, ended.exit_signal, ended.nodes, ended.index) == (0, 9, "node1", 2)
    assert (ended.submitted, ended.started, ended.ended) == (1795264791.0, 1795264791.0, 1795264791.0)
    assert next(row for row in account if row.job == "55_4").ended is None


def test_cancelled_remainder_does_not_hide_how_tasks_ended(account: list[AccountRow]) -> None:
    """sacct calls it 23_[0-5%2], though tasks 0 and 1 had been started."""
    rows_of = {index: [row for row in account if row.array == "23" and row.index == index] for index in range(6)}
    assert [row.raw for row in rows_of[1]] == ["25"]
    assert [row.state.name for row in rows_of[0]] == ["REQUEUED", "CANCELLED"]
    assert [row.state.name for row in rows_of[4]] == ["CANCELLED"]


def test_facts_of_a_job_keep_their_blanks() -> None:
    facts = rows.parse_job(printed("job_22.05.txt"))
    assert (facts["JobId"], facts["ArrayTaskId"], facts["JobName"]) == ("52", "4", "two words")
    assert (facts["WorkDir"], facts["Comment"]) == ("/home/ada/my run", "segbatch:0011aabb")
    assert (facts["JobState"], facts["ExitCode"], facts["AllocNode:Sid"]) == ("RUNNING", "0:0", "localhost:13632")


def test_settings_of_the_controller() -> None:
    config = rows.parse_config(printed("config_22.05.txt"))
    assert (config["MaxArraySize"], config["MinJobAge"], config["ClusterName"]) == ("1001", "300 sec", "lab")
    assert config["AccountingStorageBackupHost"] == ""
    assert config["AuthInfo"].endswith(",cred_expire=5")


def test_submitted() -> None:
    assert rows.parse_submitted("123\n") == ("123", "")
    assert rows.parse_submitted("123;lab\n") == ("123", "lab")
    assert rows.parse_submitted("Welcome to the cluster.\n123;lab\n") == ("123", "lab")
    with pytest.raises(ValueError, match="expected a job id"):
        rows.parse_submitted("Submitted batch job\n")


def test_version() -> None:
    assert rows.parse_version("slurm-wlm 22.05.8\n") == (22, 5)
    assert rows.parse_version("slurm 24.11.5\n") == (24, 11)
    assert rows.parse_version("?") == (0, 0)


def test_partitions_are_added_up() -> None:
    text = (
        "gpu*|up|1-00:00:00|3|idle|64|500000+|gpu:a100:4(S:0-1)\ngpu*|up|1-00:00:00|2|mix|32|256000|gpu:v100:2,shard:8\n"
        "cpu|inact|infinite|7|down*|16+|64000|(null)\nnonsense\n"
    )
    gpu, cpu = rows.parse_partitions(text)
    assert (gpu.name, gpu.default, gpu.up, gpu.nodes, gpu.idle, gpu.time_limit_s) == ("gpu", True, True, 5, 3, 86400)
    assert (gpu.cpus, gpu.memory_mb, gpu.gres) == (64, 500000, ("gpu:a100:4", "gpu:v100:2", "shard:8"))
    assert (cpu.default, cpu.up, cpu.gres, cpu.time_limit_s, cpu.cpus) == (False, False, (), None, 16)


@given(st.sets(st.integers(0, 5000), min_size=1, max_size=60), st.integers(1, 9))
def test_any_remainder_is_told_apart(indexes: set[int], throttle: int) -> None:
    name = f"7_[{compact_indexes(indexes)}%{throttle}]"
    assert [index for _, index in rows.tasks_of_row(name)] == sorted(indexes)


@given(st.text())
def test_no_text_breaks_the_parsers(text: str) -> None:
    rows.parse_queue(text + "\x1e")
    rows.parse_queue("\x1f".join([text] * len(rows.QUEUE_FIELDS)))
    rows.parse_accounting("\x1f".join([text] * len(rows.ACCOUNT_FIELDS)))
    rows.parse_job(text)
    rows.parse_config(text)
    rows.parse_partitions(text)
