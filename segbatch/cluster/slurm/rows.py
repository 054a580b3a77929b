"""What SLURM's programs print, as frozen values. Pure: text in, values out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from segbatch.cluster.slurm.states import JobState, read_state
from segbatch.runs.indexes import expand_indexes

FIELD_END = "\x1f"
"""Ends a field: the character of ASCII for it, which no name, reason or comment holds."""
ROW_END = "\x1e"
"""Ends a row of squeue, since a comment may hold a line break."""
QUEUE_FIELDS = (
    *("JobArrayID", "JobID", "ArrayJobID", "ArrayTaskID", "State", "Reason", "NodeList", "TimeLeft"),
    *("StartTime", "Dependency", "exit_code", "RestartCnt", "Comment"),
)
QUEUE_FORMAT = ",".join(f"{field}:{FIELD_END}" for field in QUEUE_FIELDS) + ROW_END
"""For `squeue -O`. Unlike -o it knows the exit code, unmasked, with no accounting."""
ACCOUNT_FIELDS = (
    *("JobID", "JobIDRaw", "State", "ExitCode", "NodeList", "Submit", "Start", "End", "Reason", "Comment"),
)
"""For `sacct -P -o`. The comment comes last: it is the only one that may hold a line break."""
_NOTHING = {"", "(null)", "N/A", "None", "None assigned", "Unknown", "NONE", "UNLIMITED", "NOT_SET", "INVALID"}


@dataclass(frozen=True)
class QueueRow:
    """One task as squeue knows it, waiting, running or just ended."""

    job: str
    """Name by which SLURM takes orders for this task alone: `123_4`, or `123` outside arrays."""
    raw: str
    """Raw job id. A waiting task of an array still has the array's; the last one keeps it for ever."""
    array: str
    """The array's id, or the job's own."""
    index: int | None
    """None outside arrays, and in the row of state CANCELLED that stands for what was cancelled of an array's waiting
    tasks; as long as others of them wait, cancelled ones have no row at all."""
    state: JobState
    reason: str = ""
    comment: str = ""
    nodes: str = ""
    time_left_s: int | None = None
    """Seconds to the time limit; None for no limit."""
    start: str = ""
    """Start, or SLURM's guess of it: local time of the cluster; empty where there is none."""
    dependency: str = ""
    exit_code: int | None = None
    """Exit code of 0 to 255, or None where SLURM did not say; read it only when the state is `over`."""
    exit_signal: int = 0
    """Signal that ended it, or 53: the log file could not be opened."""
    restarts: int = 0
    """Times that SLURM has started it again."""


@dataclass(frozen=True)
class AccountRow:
    """One incarnation of a task as sacct knows it; a requeued task has several."""

    job: str
    raw: str
    array: str
    index: int | None
    """None outside arrays, and where one row stands for all cancelled waiting tasks."""
    state: JobState
    exit_code: int
    """sacct masks it with 0x7f: 137 comes out as 9. Trust zero and non-zero, not the number above 127."""
    exit_signal: int
    nodes: str
    submitted: float | None
    """Seconds since 1970; for a requeued task the time of the requeue."""
    started: float | None
    ended: float | None
    reason: str = ""
    comment: str = ""
    """Kept only where the site says AccountingStoreFlags=job_comment, and not before the end."""


def parse_queue(text: str) -> list[QueueRow]:
    """Read the rows of `squeue -h -r -O QUEUE_FORMAT`; what is no row is left out."""
    rows: list[QueueRow] = []
    for line in text.split(ROW_END):
        fields = line.lstrip("\n").split(FIELD_END)
        if len(fields) < len(QUEUE_FIELDS):
            continue
        job, raw, array, _, state, reason, nodes, left, start, dependency, code, restarts, comment = (
            field.strip() for field in fields[: len(QUEUE_FIELDS)]
        )
        exit_code, exit_signal = _wait_status(code)
        for name, number in tasks_of_row(job):
            rows.append(
                QueueRow(
                    name,
                    raw,
                    array if array.isdecimal() else raw,
                    number,
                    read_state(state),
                    _value(reason),
                    _value(comment),
                    _value(nodes),
                    parse_duration(left),
                    _value(start),
                    _value(dependency),
                    exit_code,
                    exit_signal,
                    int(restarts) if restarts.isdecimal() else 0,
                )
            )
    return rows


def parse_queue_json(text: str, user: int | None = None) -> list[QueueRow]:
    """Read `squeue --json`, of 22.05 or newer.

    Args:
        text: the JSON. 22.05 ignores every filter and lists the jobs of all users.
        user: numeric id of the user whose jobs are wanted; None for all.

    Raises:
        ValueError: it is no JSON, or has no list of jobs.
    """
    answer = json.loads(text)
    jobs = answer.get("jobs") if isinstance(answer, dict) else None
    if not isinstance(jobs, list):
        raise ValueError("expected a list of jobs in the JSON of squeue")
    mine = [job for job in jobs if isinstance(job, dict) and user in (None, _number(job.get("user_id")))]
    return [row for job in mine for row in _json_rows(job)]


def _json_rows(job: dict[str, Any]) -> Iterator[QueueRow]:
    raw = str(_number(job.get("job_id")) or "")
    array = str(_number(job.get("array_job_id")) or raw)
    if not raw:
        return
    index = _number(job.get("array_task_id"))
    waiting = str(job.get("array_task_string") or "")
    in_array = array != raw or index is not None or bool(waiting)
    label = f"{array}_[{waiting}]" if waiting else f"{array}_{index or 0}" if in_array else raw
    states = job.get("job_state") or ""
    code, signal = _json_exit(job.get("exit_code"))
    start = _number(job.get("start_time"))
    for name, number in tasks_of_row(label):
        yield QueueRow(
            job=name,
            raw=raw,
            array=array,
            index=number,
            state=read_state(",".join(states) if isinstance(states, list) else str(states)),
            reason=_value(str(job.get("state_reason") or "")),
            comment=_value(str(job.get("comment") or "")),
            nodes=_value(str(job.get("nodes") or "")),
            start=_local(start) if start else "",
            dependency=_value(str(job.get("dependency") or "")),
            exit_code=code,
            exit_signal=signal,
            restarts=_number(job.get("restart_cnt")) or 0,
        )


def _json_exit(value: Any) -> tuple[int | None, int]:
    """Exit code and signal: a raw wait status in 22.05, an object with two numbers since."""
    if isinstance(value, int):
        return _wait_status(str(value))
    if not isinstance(value, dict):
        return None, 0
    signal = value.get("signal")
    return _number(value.get("return_code")), (_number(signal.get("id")) or 0) if isinstance(signal, dict) else 0


def _number(value: Any) -> int | None:
    """Read a number: plain in 22.05, `{"set": .., "infinite": .., "number": ..}` since."""
    if isinstance(value, dict):
        value = value.get("number") if value.get("set") and not value.get("infinite") else None
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _local(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).isoformat(timespec="seconds")


def _value(text: str) -> str:
    return "" if text in _NOTHING else text


def _wait_status(text: str) -> tuple[int | None, int]:
    """Take a raw wait status apart: exit code and signal."""
    if not text.isdecimal():
        return None, 0
    signal = int(text) & 0x7F
    return 0 if signal else int(text) >> 8 & 0xFF, signal


def tasks_of_row(job: str) -> list[tuple[str, int | None]]:
    """Name the tasks of a row, with their indexes: one, or all of a waiting remainder such as `7_[2-5%2]`."""
    array, _, within = job.partition("_")
    if not within:
        return [(job, None)]
    try:
        # Clients cut long lists short unless SLURM_BITSTR_LEN says otherwise.
        return [(f"{array}_{number}", number) for number in expand_indexes(within.strip("[]").removesuffix(",..."))]
    except ValueError:
        return [(job, None)]


def parse_duration(text: str) -> int | None:
    """Read SLURM's `days-hours:minutes:seconds` as seconds; None for no limit or none known."""
    match = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", text.strip())
    if not match:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def parse_accounting(text: str, since: float = 0.0) -> list[AccountRow]:
    r"""Read the rows of `sacct -X -D -n -P --delimiter=\x1f`, times as seconds since 1970.

    A row such as `7_[0-5%2]` is told apart into its tasks. Once cancelled it names all tasks that the array ever had,
    so it counts only for those of which no row of their own tells the end.

    Args:
        text: what sacct printed.
        since: seconds since 1970; rows submitted before are left out, since ids are used again.
    """
    own: list[AccountRow] = []
    shared: list[AccountRow] = []
    for line in text.split("\n"):
        fields = line.split(FIELD_END)
        if len(fields) < len(ACCOUNT_FIELDS):
            continue  # The rest of a comment with a line break.
        job, raw, state, exit_code, nodes, submitted, started, ended, reason, comment = fields[: len(ACCOUNT_FIELDS)]
        if (_epoch(submitted) or since) < since:
            continue
        code, _, signal = exit_code.partition(":")
        for name, index in tasks_of_row(job):
            (shared if "[" in job else own).append(
                AccountRow(
                    name,
                    raw,
                    job.partition("_")[0],
                    index,
                    read_state(state),
                    int(code) if code.isdecimal() else 0,
                    int(signal) if signal.isdecimal() else 0,
                    _value(nodes),
                    _epoch(submitted),
                    _epoch(started),
                    _epoch(ended),
                    _value(reason),
                    comment,
                )
            )
    told = {row.job for row in own if not row.state.returns}
    return own + [row for row in shared if row.job not in told]


def _epoch(text: str) -> float | None:
    return float(text) if text.isdecimal() and text != "0" else None


def parse_job(text: str) -> dict[str, str]:
    """Read one line of `scontrol -o show job`; a value may hold blanks, the first of two equal keys counts."""
    found: dict[str, str] = {}
    for match in re.finditer(r"(?:^| )([A-Z][\w/:]*)=(.*?)(?= [A-Z][\w/:]*=|$)", text.strip()):
        found.setdefault(match[1], match[2].strip())
    return found


def parse_config(text: str) -> dict[str, str]:
    """Read `scontrol show config`: `Key = value` lines; `(null)` is empty."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {key.strip(): "" if value.strip() == "(null)" else value.strip() for key, _, value in pairs}


def parse_submitted(text: str) -> tuple[str, str]:
    """Read what `sbatch --parsable` prints: job id and cluster (empty where SLURM names none).

    Raises:
        ValueError: no line of it is a job id.
    """
    # A site's wrapper may greet on standard output; the id is the last line.
    for line in reversed(text.splitlines()):
        match = re.fullmatch(r"(\d+)(?:;(\S+))?", line.strip())
        if match:
            return match[1], match[2] or ""
    raise ValueError(f"expected a job id from sbatch --parsable, received {text.strip()!r}")


def parse_version(text: str) -> tuple[int, int]:
    """Read `sbatch --version`, such as `slurm-wlm 22.05.8`: (22, 5); (0, 0) for anything else."""
    match = re.search(r"(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def table(text: str, columns: Sequence[str], separator: str = "|") -> list[dict[str, str]]:
    """Read lines of separated values (`sacctmgr -nP`, `sinfo -h -o`); other lines are left out."""
    lines = (line.split(separator) for line in text.splitlines())
    return [dict(zip(columns, map(str.strip, line), strict=True)) for line in lines if len(line) == len(columns)]


@dataclass(frozen=True)
class Partition:
    """A partition, all its nodes taken together."""

    name: str
    default: bool
    up: bool
    time_limit_s: int | None
    """Longest time of a job in seconds; None for no limit."""
    nodes: int
    idle: int
    """Nodes with nothing running."""
    cpus: int
    """CPUs of its largest node."""
    memory_mb: int
    gres: tuple[str, ...]
    """Generic resources of its nodes, such as `gpu:a100:4`, each once."""


PARTITION_FIELDS = ("name", "up", "limit", "nodes", "state", "cpus", "memory", "gres")
PARTITION_FORMAT = "%P|%a|%l|%D|%t|%c|%m|%G"
"""For `sinfo -h -o`."""
_IDLE = {"idle", "idle~"}
"""`~`: powered down, and started when a job wants it."""


def parse_partitions(text: str) -> list[Partition]:
    """Read `sinfo -h -o PARTITION_FORMAT`, which has one line for each kind and state of nodes."""
    found: dict[str, Partition] = {}
    for line in table(text, PARTITION_FIELDS):
        name, count = line["name"].rstrip("*"), _leading(line["nodes"])
        known = found.get(name) or Partition(name, False, False, parse_duration(line["limit"]), 0, 0, 0, 0, ())
        # With a socket's index, gpu:a100:4(S:0-1), and (null) for none.
        gres = [part for part in re.sub(r"\([^)]*\)", "", line["gres"]).split(",") if part]
        found[name] = Partition(
            name,
            default=line["name"].endswith("*"),
            up=line["up"] == "up",
            time_limit_s=known.time_limit_s,
            nodes=known.nodes + count,
            idle=known.idle + (count if line["state"] in _IDLE else 0),
            cpus=max(known.cpus, _leading(line["cpus"])),
            memory_mb=max(known.memory_mb, _leading(line["memory"])),
            gres=tuple(dict.fromkeys([*known.gres, *gres])),
        )
    return list(found.values())


def _leading(text: str) -> int:
    match = re.match(r"\d+", text)
    return int(match[0]) if match else 0
