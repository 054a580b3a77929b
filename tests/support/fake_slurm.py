"""A SLURM of programs on PATH whose state is an object of the test, for what a real one cannot be made to show.

    with FakeSlurm(tmp_path) as fake:
        slurm = Slurm(fake.environ, timeout_s=5)
        fake.on_sbatch = "queue then time out"

Rows, words and exit codes are those of SLURM 22.05, its oddities with cancelled parts of arrays included.
"""

from __future__ import annotations

import json
import os
import shutil
import socketserver
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from tests.support.fake_jobs import FakeJob, FakeTask, numbers, script_options
from tests.support.fake_rows import accounting_rows, job_line, queue_json, queue_rows, state_rows

PROGRAMS = ("sbatch", "squeue", "sacct", "scontrol", "scancel", "sinfo", "sacctmgr")
CONNECT_FAILURE = "Unable to contact slurm controller (connect failure)"
TIMED_OUT = "Socket timed out on send/recv operation"
OnSbatch = Literal["ok", "queue then time out", "time out", "queue then hang", "hang", "refuse"]

_PROGRAM = """\
import json, os, socket, sys, time
link = socket.socket(socket.AF_UNIX)
link.connect(sys.argv[1])
link.sendall(json.dumps([sys.argv[2:], os.getcwd(), dict(os.environ)]).encode() + b"\\n")
answer = json.loads(link.makefile().read())
sys.stdout.write(answer["out"])
sys.stderr.write(answer["err"])
sys.stdout.flush(), sys.stderr.flush()
time.sleep(answer["sleep"])
sys.exit(answer["code"])
"""


def numbers_of_version(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


class Refused(Exception):  # noqa: N818 - what SLURM says, not a fault
    """A program fails with these words on standard error."""

    def __init__(self, words: str, code: int = 1) -> None:
        super().__init__(words)
        self.code = code


class FakeSlurm:
    """A cluster. Tests look at and change its attributes at any time; nothing happens in it by itself."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.jobs: dict[str, FakeJob] = {}
        """By id, of an array its base id; those that the controller still knows."""
        self.purged: list[FakeJob] = []
        """What only the accounting remembers."""
        self.next_id = 101
        self.on_sbatch: OnSbatch = "ok"
        self.refusal = "Batch job submission failed: Invalid partition name specified"
        self.controller: Literal["up", "down", "silent"] = "up"
        self.silences = 0
        """The controller leaves so many more calls without an answer."""
        self.accounting: Literal["on", "off", "down"] = "on"
        self.squeue: Literal["text", "json 22.05", "json 24.11", "garbage"] = "text"
        self.max_array_size = 1001
        self.max_submit: int | None = None
        self.qos_limits: dict[str, tuple[str, str, str]] = {"normal": ("", "", "")}
        """Name to MaxSubmitJobsPU, MaxSubmitJobsPA, GrpSubmitJobs."""
        self.enforced = "associations,limits,qos"
        self.min_job_age = 300
        self.version = "22.05.8"
        self.calls: Counter[str] = Counter()
        """Calls by program."""
        self.log: list[list[str]] = []
        """Every call: program and arguments."""
        self.environs: list[dict[str, str]] = []
        """The environment of each call."""
        self.signals: list[tuple[str, str]] = []
        """Signals sent to batch scripts: task and name."""
        self.updates: list[tuple[str, dict[str, str]]] = []
        """Changes by `scontrol update`."""
        self._lock = threading.RLock()

    # The life of the fake.

    def __enter__(self) -> Self:
        # Sockets have short names: tmp_path may be too long.
        self._home = Path(tempfile.mkdtemp(prefix="fake-slurm-"))
        server = self._serve(self._home / "socket")
        self._server = server
        programs = self.folder / "fake-slurm-bin"
        programs.mkdir(parents=True, exist_ok=True)
        (programs / "program.py").write_text(_PROGRAM)
        for name in PROGRAMS:
            path = programs / name
            path.write_text(
                f'#!/bin/sh\nexec "{sys.executable}" -IS "{programs}/program.py" "{self._home}/socket" {name} "$@"\n'
            )
            path.chmod(0o755)
        outside = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "SBATCH_"))}
        self.environ = {
            **outside,
            "PATH": f"{programs}{os.pathsep}{outside.get('PATH', os.defpath)}",
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "SLURM_CONF": str(self.folder / "fake-slurm.conf"),
        }
        """Environment in which the programs are found, with a cache folder of its own."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        shutil.rmtree(self._home, ignore_errors=True)

    def _serve(self, path: Path) -> socketserver.ThreadingUnixStreamServer:
        fake = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                argv, cwd, environ = json.loads(self.rfile.readline())
                self.wfile.write(json.dumps(fake.answer(argv, Path(cwd), environ)).encode())

        server = socketserver.ThreadingUnixStreamServer(str(path), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return server

    # What a test does to it.

    def task(self, job: str, index: int | None = None) -> FakeTask:
        """One task: `task("101", 3)`, `task("101_3")`, or `task("102")` of a job that is no array."""
        array, _, number = job.partition("_")
        return self.jobs[array].tasks[int(number) if number else index]

    def start(self, job: str, index: int | None = None, node: str = "node1") -> FakeTask:
        """Let a task run."""
        with self._lock:
            task = self.task(job, index)
            of = self.jobs[job.partition("_")[0]]
            if len(of.waiting()) > 1 and task.raw == of.id:
                # The last one to leave the waiting remainder keeps the array's id.
                task.raw = str(self._take_id())
            task.state, task.reason, task.node, task.started = "RUNNING", "None", node, time.time()
            return task

    def end(
        self, job: str, index: int | None = None, state: str = "COMPLETED", code: int = 0, signal: int = 0
    ) -> FakeTask:
        """Let a task come to its end, of whatever state."""
        with self._lock:
            task = self.task(job, index)
            if task.state == "PENDING" and state != "CANCELLED":
                self.start(job, index)
            task.state, task.ended, task.status = state, time.time(), code << 8 | signal
            task.reason = "NonZeroExitCode" if code else "None"
            return task

    def restart(self, job: str, index: int | None = None, why: str = "REQUEUED") -> FakeTask:
        """Put a task back into the queue, as a requeue, a preemption (PREEMPTED) or a lost node (NODE_FAIL) does."""
        with self._lock:
            task = self.task(job, index)
            task.again(why)
            return task

    def purge(self, job: str) -> None:
        """Let the controller forget a job, as it does MinJobAge seconds after its end."""
        with self._lock:
            self.purged.append(self.jobs.pop(job))

    def run(self, job: str, index: int | None = None, environ: dict[str, str] | None = None) -> int:
        """Really run a task's script, to its end, and note what came of it; returns its exit code."""
        task = self.start(job, index)
        code = self.jobs[job.partition("_")[0]].execute(task, {**self.environ, **(environ or {})})
        if task.state == "RUNNING":
            self.end(job, index, "FAILED" if code else "COMPLETED", max(code, 0), max(-code, 0))
        return code

    # What programs say.

    def answer(self, argv: list[str], cwd: Path, environ: dict[str, str]) -> dict[str, object]:
        """Answer one call of a program."""
        with self._lock:
            program, arguments = argv[0], argv[1:]
            self.calls[program] += 1
            self.log.append(argv)
            self.environs.append(environ)
            reply: dict[str, object] = {"out": "", "err": "", "code": 0, "sleep": 0.0}
            try:
                if "--version" in arguments:
                    reply["out"] = f"slurm-wlm {self.version}\n"
                else:
                    self._reachable(program, arguments)
                    act: Callable[[list[str], Path, dict[str, object]], str] = getattr(self, f"_{program}")
                    reply["out"] = act(arguments, cwd, reply)
            except Refused as refusal:
                reply["err"] = f"{refusal}\n"
                reply["code"] = refusal.code
            return reply

    def _reachable(self, program: str, arguments: list[str]) -> None:
        if program in ("sacct", "sacctmgr"):
            if self.accounting == "off":
                raise Refused("Slurm accounting storage is disabled")
            if self.accounting == "down":
                raise Refused(f"{program}: error: Problem talking to the database: Connection refused")
        elif self.controller != "up" or self.silences > 0:
            self.silences -= 1
            if arguments == ["ping"]:
                raise Refused("Slurmctld(primary) at fake is DOWN")
            before = {
                "sbatch": "sbatch: error: Batch job submission failed",
                "scancel": "scancel: error: Kill job error",
            }
            words = CONNECT_FAILURE if self.controller == "down" else TIMED_OUT
            raise Refused(f"{before.get(program, 'slurm_load_jobs error')}: {words}")

    def _sbatch(self, arguments: list[str], cwd: Path, reply: dict[str, object]) -> str:
        script = cwd / next(word for word in arguments if not word.startswith("-"))
        mode = self.on_sbatch
        if mode == "refuse":
            raise Refused(f"sbatch: error: {self.refusal}")
        options = script_options(script)
        indexes = numbers(options.get("array", ""))
        queued = sum(len(job.live()) for job in self.jobs.values())
        if indexes and max(indexes) >= self.max_array_size:
            raise Refused("sbatch: error: Batch job submission failed: Invalid job array specification")
        if self.max_submit is not None and queued + max(len(indexes), 1) > self.max_submit:
            raise Refused(
                "sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: Batch job submission failed: Job violates "
                "accounting/QOS policy (job submit limit, user's size and/or time limits)"
            )
        if "--test-only" in arguments:
            reply["err"] = (
                f"sbatch: Job {self.next_id} to start at 2030-01-01T00:00:00 on nodes node1 in partition main\n"
            )
            return ""
        if mode in ("ok", "queue then time out", "queue then hang"):
            job = str(self._take_id())
            self.jobs[job] = FakeJob(job, script, cwd, options, indexes)
        if mode.endswith("time out"):
            raise Refused(f"sbatch: error: Batch job submission failed: {TIMED_OUT}")
        if mode.endswith("hang"):
            reply["sleep"] = 3600.0
            return ""
        return f"{job}\n"

    def _take_id(self) -> int:
        taken, self.next_id = self.next_id, self.next_id + 1
        return taken

    def _squeue(self, arguments: list[str], cwd: Path, reply: dict[str, object]) -> str:
        if self.squeue == "garbage":
            return "Welcome to the cluster!\n{]\n"
        if "--json" in arguments:
            return queue_json(list(self.jobs.values()), self.squeue.removeprefix("json "))
        if "--only-job-state" in arguments:
            if numbers_of_version(self.version) < (24, 5):
                raise Refused("squeue: unrecognized option '--only-job-state'")
            self.calls["squeue --only-job-state"] += 1
            wanted = next(word for word in arguments if word.startswith("--jobs=")).partition("=")[2].split(",")
            return state_rows([job for name, job in self.jobs.items() if name in wanted])
        if self.squeue != "text":
            raise Refused("squeue: error: Invalid job format specification: exit_code")
        return queue_rows(list(self.jobs.values()), arguments[arguments.index("-O") + 1])

    def _sacct(self, arguments: list[str], cwd: Path, reply: dict[str, object]) -> str:
        wanted = arguments[arguments.index("-j") + 1].split(",") if "-j" in arguments else None
        columns = next(word for word in arguments if word.startswith("--format=")).partition("=")[2].split(",")
        delimiter = next((word.partition("=")[2] for word in arguments if word.startswith("--delimiter=")), "|")
        return accounting_rows([*self.purged, *self.jobs.values()], wanted, columns, delimiter)

    def _sacctmgr(self, arguments: list[str], cwd: Path, reply: dict[str, object]) -> str:
        columns = next(word for word in arguments if word.startswith("format=")).partition("=")[2].split(",")
        if "qos" in arguments:
            return "".join("|".join([name, *most]) + "\n" for name, most in self.qos_limits.items())
        most = "" if self.max_submit is None else str(self.max_submit)
        known = {"Account": "lab", "DefaultAccount": "lab", "QOS": "normal", "MaxSubmitJobs": most}
        return "|".join(known.get(column, "") for column in columns) + "\n"

    def _sinfo(self, arguments: list[str], cwd: Path, reply: dict[str, object]) -> str:
        return "main*|up|1-00:00:00|2|idle|16|64000|gpu:a100:2(S:0-1)\n"

    def _scancel(self, arguments: list[str], cwd: Path, reply: dict[str, object]) -> str:
        names = [word for word in arguments if not word.startswith("-")]
        signal = next((word.partition("=")[2] for word in arguments if word.startswith("--signal=")), "")
        for name in names:
            job = self.jobs.get(name.partition("_")[0])
            chosen = numbers(name.partition("_")[2])
            if job is None or (signal and not job.live()):
                if signal:
                    raise Refused(f"scancel: error: Kill job error on job id {name}: Invalid job id specified")
                continue
            if signal:
                self.signals += [(task.name, signal) for task in job.chosen(chosen) if task.state == "RUNNING"]
                if any(task.raw == job.id for task in job.waiting()):
                    # While others of the array wait, the real one tries again and again, and signals each time.
                    reply["sleep"] = 95.0
                    if "--verbose" in arguments:
                        reply["err"] = "scancel: Job is in transitional state, retrying\n"
            elif "--state=PENDING" in arguments:
                # As the real one does: a filter makes a part of the waiting remainder mean all of it.
                job.cancel([task.index for task in job.waiting()])
            else:
                job.cancel(chosen or list(job.tasks), whole=not chosen)
        return ""

    def _scontrol(self, arguments: list[str], cwd: Path, reply: dict[str, object]) -> str:
        words = [word for word in arguments if not word.startswith("-")]
        if words == ["ping"]:
            return "Slurmctld(primary) at fake is UP\n"
        if words == ["show", "config"]:
            return self._config()
        target = words[2] if words[0] == "show" else words[1].removeprefix("JobId=")
        job = self.jobs.get(target.partition("_")[0])
        chosen = job.chosen(numbers(target.partition("_")[2])) if job else []
        if job is None or not chosen:
            raise Refused(f"Invalid job id specified for job {target}")
        if words[0] == "show":
            return "".join(job_line(job, task) + "\n" for task in chosen)
        if words[0] == "requeue":
            for task in chosen:
                task.again("REQUEUED")
        elif words[0] == "release":
            for task in chosen:
                task.reason = "Priority" if task.reason in ("JobHeldUser", "JobHeldAdmin") else task.reason
                task.reason = "None" if task.reason == "launch failed requeued held" else task.reason
        elif words[0] == "update":
            self.updates.append((target, dict(word.split("=", 1) for word in words[2:])))
        return ""

    def _config(self) -> str:
        kind = "accounting_storage/none" if self.accounting == "off" else "accounting_storage/slurmdbd"
        settings = {
            "AccountingStorageEnforce": self.enforced,
            "AccountingStorageType": kind,
            "ClusterName": "fake",
            "MaxArraySize": self.max_array_size,
            "MaxJobCount": 10000,
            "MinJobAge": f"{self.min_job_age} sec",
            "SLURM_VERSION": self.version,
        }
        return "Configuration data as of 2030-01-01T00:00:00\n" + "".join(
            f"{key:<23} = {value}\n" for key, value in settings.items()
        )
