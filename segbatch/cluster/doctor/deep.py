"""A small job that tells what a compute node is like, and whether it sees the files of this machine."""

from __future__ import annotations

import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from segbatch.cluster.doctor.asking import read_facts
from segbatch.cluster.doctor.finding import Finding
from segbatch.cluster.doctor.interpreter import SCRIPT, judge_python, python_words, tasks_python
from segbatch.cluster.render import comment, render_template
from segbatch.cluster.slurm.client import Slurm
from segbatch.errors import SegbatchError
from segbatch.spec.site import Site

RUNTIMES = ("apptainer", "singularity", "podman", "docker")
LOOK_S = 0.5
CLOCKS_APART_S = 60
_SITE = ("account", "partition", "qos", "constraint", "reservation", "exclude")


def probe_script(site: Site, folder: Path, token: str) -> str:
    """Render the job."""
    options: dict[str, Any] = {
        "job-name": "segbatch-doctor",
        "comment": comment(token),
        "output": "job.log",
        "nodes": 1,
        "ntasks": 1,
        "cpus-per-task": 1,
        "mem": "1000M",
        "time": 5,
        **{name: value for name in _SITE if (value := getattr(site, name)) is not None},
    }
    return render_template(
        "doctor.sh.j2",
        {
            "directives": options,
            "site": site,
            "folder": folder,
            "runtimes": RUNTIMES,
            "scratch": site.scratch or "${TMPDIR:-/tmp}",
            "python": tasks_python(site, "slurm"),
        },
    )


def try_job(slurm: Slurm, site: Site) -> str:
    """Let sbatch judge the job without queueing it; return what it says."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "job.sbatch").write_text(probe_script(site, Path(folder), "test"), encoding="utf-8")
        return slurm.test_only("job.sbatch", Path(folder))


def probe_node(
    slurm: Slurm, site: Site, runs: Path, timeout_s: float, progress: Callable[[str], object]
) -> Iterator[Finding]:
    """Send the job, wait for its answer, and yield what it says; the job never outlives this call.

    Args:
        slurm: its programs.
        site: the site.
        runs: folder of runs, in which a file is passed to the node and one comes back.
        timeout_s: seconds to wait.
        progress: told what is being waited for.
    """
    runs.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".doctor-", dir=runs))
    token = secrets.token_hex(8)
    job = ""
    try:
        shutil.copy(SCRIPT, folder / "python_facts.py")
        (folder / "question").write_text(token, encoding="utf-8")
        (folder / "job.sbatch").write_text(probe_script(site, folder, token), encoding="utf-8")
        job, _ = slurm.submit("job.sbatch", folder)
        facts, ended = _await(slurm, job, folder / "answer", timeout_s, progress)
        yield from check_node(facts, token, runs, time.time()) if facts else [_silent(job, ended, folder, timeout_s)]
    except SegbatchError as error:
        yield Finding("node", "job", "bad", str(error), "cannot run tasks on SLURM")
    finally:
        if job:
            slurm.cancel([job])
        shutil.rmtree(folder, ignore_errors=True)


def _await(
    slurm: Slurm, job: str, answer: Path, timeout_s: float, progress: Callable[[str], object]
) -> tuple[dict[str, str], str]:
    """Return the node's answer, or how its job ended without one."""
    begun = time.monotonic()
    look = begun + 5.0
    ended = ""
    while time.monotonic() - begun < timeout_s:
        # A listing makes a network file system look again.
        if answer.name in {path.name for path in answer.parent.iterdir()}:
            return read_facts(answer.read_text(encoding="utf-8", errors="replace")), ""
        if ended:
            return {}, ended
        if time.monotonic() >= look:
            state = (slurm.job(job) or {}).get("JobState", "gone")
            progress(f"job {job}: {state}")
            look = time.monotonic() + 10.0
            # One more look at the files, which may be later than the controller.
            ended = "" if state in ("PENDING", "RUNNING", "CONFIGURING", "COMPLETING") else state
        time.sleep(2.0 if ended else LOOK_S)
    return {}, ""


def _silent(job: str, ended: str, folder: Path, timeout_s: float) -> Finding:
    log = folder / "job.log"
    said = log.read_text(errors="replace").strip().splitlines()[-1:] if log.exists() else []
    if ended:
        words = f"job {job} ended ({ended}) and no file of it appeared in {folder.parent}. {' '.join(said)}"
        advice = "cannot run there: put runs into a folder that nodes share (`runs` in the site file, or --runs)"
        return Finding("node", "shared files", "bad", words.strip(), advice)
    return Finding(
        "node", "job", "warn", f"job {job} gave no answer within {timeout_s:.0f} s and was removed", "may wait as long"
    )


def check_node(facts: Mapping[str, str], token: str, runs: Path, now: float) -> Iterator[Finding]:
    """Judge what a node says of itself."""
    node = facts.get("node", "?")
    both = facts.get("saw") == token
    yield Finding(
        "node",
        "shared files",
        "ok" if both else "bad",
        f"{node} {'sees' if both else 'does not see'} the files of {runs}, and this machine sees its own",
        "runs tasks there" if both else "cannot run there: put runs into a folder that nodes share",
    )
    apart = abs(float(facts.get("clock", now)) - now)
    if apart > CLOCKS_APART_S:
        yield Finding("node", "clock", "warn", f"{apart:.0f} s apart", "shows times that are wrong by as much")
    if "python_error" in facts:
        yield Finding(
            "node", "Python", "bad", facts["python_error"], "cannot run tasks: correct `python` in the site file"
        )
    else:
        state, consequence = judge_python(facts, "runs tasks with it")
        error = facts.get("tensorflow_error")
        if error:
            state, consequence = "bad", "cannot train or predict there"
        yield Finding("node", "Python", state, f"{python_words(facts)} {error or ''}".strip(), consequence)
    if "gpus" in facts:
        yield Finding("node", "GPUs", "ok", f"{facts['gpus']} seen by nvidia-smi", "asks for GPUs by job")
    found = [name.removeprefix("runtime ") for name in facts if name.startswith("runtime ")]
    yield Finding("node", "containers", "ok", ", ".join(found) or "none found", "can start images with these")
    lost = facts.get("scratch_error")
    yield Finding(
        "node",
        "scratch",
        "warn" if lost else "ok",
        lost or facts.get("scratch", ""),
        "fails jobs with `scratch: true`: correct `scratch` in the site file" if lost else "stages files there",
    )
