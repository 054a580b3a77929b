"""Why a task failed or does not start, in one line: a table from what is known of it to a cause."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from segbatch.errors import Exit
from segbatch.runs.task_status import GONE_BEFORE_START, Cause

TAIL_BYTES = 65536
EXCERPT_LINES = 3
LINE_LENGTH = 200


@dataclass(frozen=True)
class Evidence:
    """What is known of a task that is in trouble."""

    folder: str
    """The run's folder, for commands."""
    task: str
    job_file: str = ""
    """Where the job came from, for commands."""
    waits: bool = False
    """It is in the queue and has not started: only the scheduler's words count."""
    state: str = ""
    """SLURM's last state of it, such as OUT_OF_MEMORY; empty if it was not asked or does not know."""
    reason: str = ""
    """SLURM's reason, such as DependencyNeverSatisfied."""
    code: int | None = None
    """Exit code of the worker, or what SLURM says."""
    signal: int = 0
    """Signal that SLURM says ended it; 53 is its word for files that it could not open."""
    message: str = ""
    """The worker's own last words."""
    why: str = ""
    """Why the batch script ended it."""
    log: str | None = None
    """Last 64 KB of its log; None if there is none."""
    node: str = ""
    by: str = ""
    """Who cancelled it."""
    dependency: str = ""
    """What it waited for: a run's name or a job's id."""
    stopped: str = ""
    """Why the scripts of its round called off what had not started."""

    @property
    def last_attempt(self) -> str:
        """The log from the newest attempt's first line on; the log holds all attempts."""
        text = self.log or ""
        starts = [found.start() for found in _BEGIN.finditer(text)]
        return text[starts[-1] :] if starts else text

    @property
    def number(self) -> int:
        """Signal that ended it, whoever says so; 0 for none."""
        return self.signal or (self.code - 128 if self.code is not None and self.code > 128 else 0)


_BEGIN = re.compile(r"^--- \S+Z job \S+, task ", re.MULTILINE)
_FRAME = re.compile(r"^(\d\d:\d\d:\d\d )?--- (\S+Z )?(job |exit )")
"""What the batch script and the worker print around an attempt, and what is known without."""


@dataclass(frozen=True)
class Rule:
    """One kind of cause: any of its conditions is enough.

    In `line` and `next`, {folder}, {task}, {job_file}, {node}, {by}, {reason}, {dependency}, {stopped}, {message},
    {code}, {number} and {why} stand for the evidence, {0} for what the pattern of the log found.
    """

    kind: str
    line: str
    next: str
    states: tuple[str, ...] = ()
    reason: str = ""
    """Pattern of SLURM's reason."""
    codes: tuple[int, ...] = ()
    why: str = ""
    """Pattern of the batch script's reason."""
    message: str = ""
    """Pattern of the worker's last words."""
    log: str = ""
    """Pattern of a line of the log."""
    when: Callable[[Evidence], bool] = lambda evidence: False
    """Any other condition."""
    of: Literal["ended", "waiting", "any"] = "ended"
    """Whether it is about tasks that have ended, or that wait in the queue: SLURM's reason outlives the wait."""


RESUME = "segbatch resume {folder}"
LOGS = "segbatch logs {folder} {task}"
AGAIN = "then: segbatch resume {folder}"

RULES = (
    Rule(
        "dependency",
        "it waits for {dependency}, which did not end as it should, so it can never start",
        f"{RESUME} clears it and submits what is missing",
        reason="DependencyNeverSatisfied",
        of="any",
    ),
    Rule(
        "held",
        "SLURM holds it: {reason}",
        f"{RESUME} releases it",
        reason="launch failed|requeued held|JobHeld|JobHoldMaxRequeue",
        when=lambda evidence: evidence.state in ("REQUEUE_HOLD", "SPECIAL_EXIT"),
        of="waiting",
    ),
    Rule(
        "cannot be scheduled",
        "SLURM cannot start it as it is: {reason}",
        "change what it asks for in the job or site file, and submit again; segbatch cancel {folder} removes this one",
        reason="BadConstraints|PartitionTimeLimit|PartitionNodeLimit|InvalidAccount|InvalidQOS|AssocGrpMaxSubmit",
        of="waiting",
    ),
    Rule(
        "stopped",
        "called off, since too many of the run's tasks fail: {stopped}",
        f"see why they fail: segbatch logs {{folder}} --failed   {AGAIN}",
        when=lambda evidence: (
            bool(evidence.stopped) and (evidence.why == evidence.stopped or evidence.message == GONE_BEFORE_START)
        ),
    ),
    Rule(
        "host out of memory",
        "it used more memory than it asked for",
        "ask for more: segbatch submit {job_file} --set resources.memory=...   (or a smaller batch)",
        states=("OUT_OF_MEMORY",),
        message=r"^out of memory\b|MemoryError|Cannot allocate memory",
        log=r"oom[_-]kill|[Ee]xceeded (job|step) memory limit|Out [Oo]f [Mm]emory: Killed process|^MemoryError",
    ),
    Rule(
        "GPU out of memory",
        "the GPU's memory is too small for its batches",
        "use smaller batches, or a larger GPU, in the job file, and submit again",
        message=r"ResourceExhaustedError|OOM when allocating|CUDA_ERROR_OUT_OF_MEMORY",
        log=r"ResourceExhaustedError|OOM when allocating|CUDA_ERROR_OUT_OF_MEMORY|CUDA out of memory"
        r"|RESOURCE_EXHAUSTED: Out of memory",
    ),
    Rule(
        "time limit",
        "its time was up",
        f"it goes on where it stopped: {RESUME}   (longer: resources.time)",
        states=("TIMEOUT", "DEADLINE"),
        why="time limit",
    ),
    Rule(
        "preempted",
        "a job with more rights took its node",
        f"it goes on where it stopped: {RESUME}",
        states=("PREEMPTED",),
        why="preempted",
    ),
    Rule(
        "node failed",
        "its node{node} failed",
        f"it goes on where it stopped: {RESUME}",
        states=("NODE_FAIL", "BOOT_FAIL", "RECONFIG_FAIL"),
    ),
    Rule("cancelled", "cancelled{by}", RESUME, states=("CANCELLED", "REVOKED"), why="cancelled"),
    Rule(
        "log folder missing",
        "SLURM could not open its log on the node{node}: the run folder is missing or cannot be written there",
        "segbatch doctor shows whether nodes see this folder",
        when=lambda evidence: evidence.signal == 53,
    ),
    Rule(
        "container",
        "its container could not be started: an image, a mount or the runtime is missing",
        f"check container and site file; {LOGS}   {AGAIN}",
        log=r"^FATAL: .*(image|mount|container|overlay|bind|userid|executable|stat )"
        r"|^(\S+: )*[Ee]rror: .*(short-name|statfs|initializing source|unable to find image|unable to pull"
        r"|Error response from daemon|invalid mount|\bcrun\b|\brunc\b|\bcontainer_linux\b|image not known)"
        r"|Error response from daemon|Unable to find image|pyxis: .*(fail|couldn't|could not|error)"
        r"|(apptainer|singularity|podman|docker|enroot): (command )?not found"
        r"|execve\(\): (\S*/)?(apptainer|singularity|podman|docker|enroot)\b|container never started",
    ),
    Rule(
        "TensorFlow missing",
        "TensorFlow is not installed where it ran{node}",
        f"pip install 'segbatch[worker]' there, or name the right `python` or `container` in the site file; {AGAIN}",
        message=r"No module named '?tensorflow|No module named '?keras",
        log=r"No module named '?(tensorflow|keras)\b",
    ),
    Rule(
        "program missing",
        "a program or module that it needs is not there{node}",
        f"name the right `python`, `modules` or `container` in the site file; {AGAIN}",
        codes=(126, 127),
        message=r"No module named|segbatch\[worker\]",
        log=r"No module named|command not found|execve\(\): |Lmod has detected|Unable to locate a modulefile",
    ),
    Rule(
        "disk full",
        "there was no room left to write",
        f"make room, {AGAIN}",
        message="No space left on device|Disk quota exceeded",
        log="No space left on device|Disk quota exceeded",
    ),
    Rule(
        "bad data",
        "too many tiles could not be read: {message}",
        f"segbatch check {{job_file}} shows which; mend them or raise predict.max_rejected, {AGAIN}",
        codes=(int(Exit.TOO_MANY_REJECTED),),
        message="every tile was rejected",
    ),
    Rule(
        "configuration",
        "its settings do not fit: {message}",
        "mend the job file, check it with: segbatch check {job_file}   and submit again",
        codes=(int(Exit.BAD_INPUT),),
    ),
    Rule(
        "launch failed",
        "SLURM could not start it on its node{node}",
        RESUME,
        states=("LAUNCH_FAILED",),
        log=r"srun: error: .*(task launch failed|Unable to create step|Slurmd could not|Task launch for)",
    ),
    Rule(
        "bad node",
        "tasks fail on one node within seconds, and the next attempts keep away from it: {0}",
        f"tell the cluster's staff; {AGAIN}",
        log=r"keeping away from (?P<found>\S+?):",
    ),
    Rule(
        "retries used",
        "it was tried as often as `retries` allows{why}",
        f"{LOGS}   {AGAIN}",
        why="all retries used",
    ),
    Rule(
        "killed",
        "killed by signal 9, most often for using more memory than it asked for",
        "if so, ask for more: segbatch submit {job_file} --set resources.memory=...   else: segbatch resume {folder}",
        when=lambda evidence: evidence.number == 9,
    ),
    Rule(
        "killed",
        "killed by signal {number}",
        f"{LOGS}   {AGAIN}",
        when=lambda evidence: evidence.number > 0,
    ),
    Rule(
        "never started",
        GONE_BEFORE_START,
        f"segbatch doctor looks at the place; {AGAIN}",
        when=lambda evidence: evidence.message == GONE_BEFORE_START,
    ),
    Rule("told to stop", "told to stop from outside", RESUME, codes=(int(Exit.INTERRUPTED),), why="stop"),
    Rule("failed", "{message}", f"{LOGS}   {AGAIN}", when=lambda evidence: bool(evidence.message)),
    Rule("failed", "exit code {code}", f"{LOGS}   {AGAIN}", when=lambda evidence: bool(evidence.code)),
    Rule("gone", "it ended without a word", f"{LOGS}   {AGAIN}", when=lambda evidence: not evidence.waits),
)
"""The first that fits counts, so what is certain comes before what is likely."""


def cause(evidence: Evidence) -> Cause | None:
    """Tell why a task is in trouble; None for a task that waits and has no trouble.

    A task that stopped when told to has no use for its log, in which anything may stand.
    """
    text = "" if evidence.waits or evidence.code == Exit.INTERRUPTED else evidence.last_attempt
    for rule in RULES:
        if rule.of == ("ended" if evidence.waits else "waiting"):
            continue
        found = _pattern(rule.log).search(text) if rule.log and text else None
        if found is not None or _fits(rule, evidence):
            return _told(rule, evidence, found, text)
    return None


def _fits(rule: Rule, evidence: Evidence) -> bool:
    patterns = ((rule.reason, evidence.reason), (rule.why, evidence.why), (rule.message, evidence.message))
    return (
        evidence.state in rule.states
        or evidence.code in rule.codes
        or any(pattern and _pattern(pattern).search(text) for pattern, text in patterns)
        or rule.when(evidence)
    )


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.MULTILINE)


def _told(rule: Rule, evidence: Evidence, found: re.Match[str] | None, text: str) -> Cause:
    where = found.groupdict().get("found", "") if found is not None else ""
    values = {
        "folder": evidence.folder,
        "task": evidence.task,
        "job_file": evidence.job_file or "JOB",
        "node": f" ({evidence.node})" if evidence.node else "",
        "by": f" by {evidence.by}" if evidence.by else "",
        "reason": evidence.reason,
        "dependency": evidence.dependency or "another job",
        "stopped": evidence.stopped,
        "message": _first_line(evidence.message) or _first_line(evidence.why) or "see its log",
        "code": evidence.code,
        "number": evidence.number,
        "why": "",
    }
    line = rule.line.format(where, **values)
    return Cause(rule.kind, line[:LINE_LENGTH], _excerpt(rule, text), rule.next.format(where, **values))


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]


def _excerpt(rule: Rule, text: str) -> tuple[str, ...]:
    """Pick the log's telling lines: those that the rule knows, or else its last words."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if _pattern(rule.log).search(line)] if rule.log else []
    chosen = telling[:EXCERPT_LINES] or [line for line in lines if not _FRAME.match(line)][-EXCERPT_LINES:]
    return tuple(line[:LINE_LENGTH] for line in chosen)


def read_tail(path: Path, most: int = TAIL_BYTES) -> str | None:
    """Return the end of a log as text; None if there is no such file, or it cannot be read."""
    try:
        with path.open("rb") as handle:
            handle.seek(max(handle.seek(0, 2) - most, 0))
            return handle.read(most).decode(errors="replace")
    except OSError:
        return None
