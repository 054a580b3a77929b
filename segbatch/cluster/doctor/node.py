"""What a probe's report says about a node and about the way there. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from segbatch.cluster.doctor.containers import PROGRAMS
from segbatch.cluster.doctor.finding import Finding
from segbatch.cluster.doctor.interpreter import judge_python, python_words
from segbatch.cluster.doctor.probe import Report
from segbatch.cluster.doctor.probe_script import CODES
from segbatch.spec.site import Site

AREA = "node"
SHARED = "shared files"
"""The row that says whether the node has the runs folder."""
SLOW_S = 10.0
"""Seconds for a file there and back at which waiting for files is a nuisance."""
CLOCK_S = 5.0
"""Difference of clocks that shows in times."""
SMALL_MB = 5_000
"""Free scratch space, in megabytes, below which copies of data will not fit."""
MEMORY_TYPES = ("tmpfs", "ramfs")
_WHY = {
    CODES["no_folder"]: "the runs folder is not there",
    CODES["no_file"]: "the runs folder is there, but not what is written into it here",
    CODES["not_writable"]: "the runs folder is there and cannot be written",
}


def check_node(report: Report, site: Site) -> Iterator[Finding]:
    """Judge what a probe brought back."""
    yield _job(report)
    if report.left_behind:
        consequence = "asks you to cancel it: scancel --me --name=segbatch-doctor"
        yield Finding(AREA, "left behind", "bad", report.left_behind, consequence)
    yield from _shared(report)
    if not report.facts:
        return
    facts = report.facts
    words = f"{facts.get('node', '?')}: {facts['machine']}" if "machine" in facts else facts.get("node", "?")
    if memory := facts.get("memory_mb", ""):
        words += f", {int(memory) / 1000:.0f} GB in all" if memory.isdigit() else ""
    yield Finding(AREA, "machine", "ok", words, "takes the others to be like it")
    yield from _stages(report, site)


def _stages(report: Report, site: Site) -> Iterator[Finding]:
    """Go through what the script looked at, in its order, as far as it came."""
    facts, stage = report.facts, report.facts.get("stage", "")
    if stage == "environment":
        words = f"a module or the prolog ended the job with code {facts.get('code', '?')}: {report.log or 'no words'}"
        yield Finding(AREA, "environment", "bad", words, "starts tasks that fail: correct `modules` or `prolog`")
        return
    if site.modules or site.prolog:
        words = f"modules {', '.join(site.modules)} loaded" if site.modules else "prolog has run"
        yield Finding(AREA, "environment", "ok", words, "starts tasks in it")
    elif "modules" in facts:
        words = "modules are there" if facts["modules"] else "no modules"
        yield Finding(AREA, "environment", "ok", words, "loads none: the site file names none")
    if "scontrol" in facts:
        yield _scontrol(facts["scontrol"])
    if "srun" in facts:
        yield _srun(facts["srun"])
    yield from _containers(report, site)
    if "cuda_visible_devices" in facts:
        yield _gpus(report)
    yield from _scratch(facts)
    if stage in ("python", "end"):
        yield from _python(report, site)


def _job(report: Report) -> Finding:
    what, row = "tiny job", report.row
    name = f"job {report.job}" if report.job else "the job"
    if report.end == "told":
        return Finding(AREA, what, "ok", f"{name} ran and answered after {report.waited_s:.0f} s", "can use this place")
    if report.end == "failed":
        return Finding(AREA, what, "bad", report.words, "cannot say more about nodes, and jobs will fare alike")
    if report.end == "stopped":
        words = f"stopped after {report.waited_s:.0f} s; {name} was cancelled"
        return Finding(AREA, what, "bad", words, "knows too little about nodes: try --deep again")
    if report.end == "late":
        if row is not None and row.state.phase == "waiting":
            words = f"{name} still waited after {report.waited_s:.0f} s ({row.reason or 'no reason given'})"
            consequence = "knows nothing about nodes; give --timeout more seconds, or try --gpus 0"
            return Finding(AREA, what, "warn", f"{words} and was cancelled", consequence)
        words = f"{name} had not answered after {report.waited_s:.0f} s and was cancelled"
        return Finding(AREA, what, "bad", words, "knows too little about nodes; --timeout gives them more time")
    return _dead(report, name)


def _dead(report: Report, name: str) -> Finding:
    row = report.row
    if row is None or row.state.phase != "over":
        words = f"{name} is gone from the queue without a sign"
    else:
        code = (
            f", exit code {row.exit_code}"
            if row.exit_code
            else f", signal {row.exit_signal}"
            if row.exit_signal
            else ""
        )
        why = _WHY.get(row.exit_code or 0, "")
        where = f" on {row.nodes}" if row.nodes else ""
        words = f"{name} ended{where}: {row.state.name}{code}" + (f": {why}" if why else "")
    if report.log:
        words += f": {report.log}"
    return Finding(AREA, "tiny job", "bad", words, "expects the like of its own jobs")


def _shared(report: Report) -> Iterator[Finding]:
    what, kind = SHARED, report.facts.get("folder_type", "")
    there = f"runs folder ({kind} there)" if kind else "runs folder"
    if report.round_trip_s is not None:
        words = f"{there}: a file and the answer took {report.round_trip_s:.1f} s"
        if report.round_trip_s > SLOW_S:
            consequence = "shows progress late, and may take files for missing for a while"
            yield Finding(AREA, what, "warn", words, consequence)
        else:
            yield Finding(AREA, what, "ok", words, "keeps runs there and sees progress at once")
        yield _clock(report)
    elif report.said_hello:
        missing = "unseen" in report.facts or report.end == "dead"
        words = f"{there}: files of the node appear here" + (", files written here not there" if missing else "")
        consequence = "cannot tell tasks anything while they run" if missing else "knows only this of it"
        yield Finding(AREA, what, "bad" if missing else "warn", words, consequence)
    elif report.end in ("dead", "late") and (report.row is None or report.row.state.phase != "waiting"):
        consequence = "cannot run jobs from it: name a folder that the nodes share as `runs` in the site file"
        yield Finding(AREA, what, "bad", f"{there}: no file of the node appeared here", consequence)


def _clock(report: Report) -> Finding:
    off, to = abs(report.clock_off_s), (report.round_trip_s or 0.0) / 2
    if off - to > CLOCK_S:
        words = f"{off:.0f} s {'ahead' if report.clock_off_s > 0 else 'behind'}"
        return Finding(AREA, "clock", "warn", words, "shows times and rates that are off by as much")
    return Finding(AREA, "clock", "ok", f"like this one, to {max(off, to, 0.1):.1f} s", "compares times of both")


def _scontrol(said: str) -> Finding:
    if said == "ok":
        return Finding(AREA, "scontrol", "ok", "answers on the node", "lets an interrupted task requeue itself")
    consequence = "cannot continue tasks by itself after time limits and preemptions: `segbatch resume` does"
    return Finding(AREA, "scontrol", "warn", said or "no answer", consequence)


def _srun(said: str) -> Finding:
    if said == "ok":
        return Finding(AREA, "srun", "ok", "starts programs in a job", "starts tasks by it")
    return Finding(AREA, "srun", "bad", said, "starts tasks that fail")


def _containers(report: Report, site: Site) -> Iterator[Finding]:
    names = (*PROGRAMS, "pyxis")
    found = {name: report.facts[f"runtime_{name}"] for name in names if f"runtime_{name}" in report.facts}
    wanted = site.container.runtime if site.container else "none"
    words = ", ".join(f"{name} ({said})" if said else name for name, said in found.items()) or "none"
    if wanted in names and wanted not in found:
        consequence = "starts tasks that fail: install it there, load its module, or choose another `container.runtime`"
        yield Finding(AREA, "containers", "bad", f"no {wanted}; there are: {words}", consequence)
    elif wanted in names:
        yield Finding(AREA, "containers", "ok", words, f"starts tasks with {wanted}")
    elif found:
        yield Finding(AREA, "containers", "ok", words, "can start jobs that name one of them as `container.runtime`")
    else:
        yield Finding(AREA, "containers", "ok", words, "runs tasks in the node's own Python")


def _gpus(report: Report) -> Finding:
    cards = [card.strip() for card in report.facts.get("nvidia_smi", "").split(";") if card.strip()]
    given = report.facts["cuda_visible_devices"]
    seen = report.facts.get("tensorflow_gpus", "")
    words = f"{'; '.join(cards) if cards else 'no nvidia-smi'}; given to the job: {given or 'none'}"
    words += f"; TensorFlow sees {seen}" if seen else ""
    if not report.gpus:
        return Finding(AREA, "GPUs", "ok", words, "did not ask for one in this job; --gpus 1 does")
    if not given and not cards:
        return Finding(AREA, "GPUs", "bad", words, "asks for GPUs and gets none: see `gpu_flavour` in the site file")
    if seen.isdigit() and int(seen) < report.gpus:
        consequence = (
            "runs GPU tasks on CPUs, slowly: install TensorFlow with CUDA there (tensorflow[and-cuda]), or a driver"
        )
        return Finding(AREA, "GPUs", "warn", words, consequence)
    return Finding(AREA, "GPUs", "ok", words, "gives tasks the GPUs that they ask for")


def _scratch(facts: dict[str, str]) -> Iterator[Finding]:
    if "scratch_error" in facts:
        consequence = "fails tasks that want scratch space: correct `scratch` in the site file"
        yield Finding(AREA, "scratch", "bad", facts["scratch_error"], consequence)
    elif "scratch" in facts:
        free = facts.get("scratch_mb", "")
        kind = facts.get("scratch_type", "")
        words = f"{facts['scratch']} ({kind}), {int(free) / 1000:.0f} GB free" if free.isdigit() else facts["scratch"]
        if free.isdigit() and int(free) < SMALL_MB:
            consequence = "gives tasks little room: `scratch` in the site file names another folder"
            yield Finding(AREA, "scratch", "warn", words, consequence)
        elif kind in MEMORY_TYPES:
            consequence = "uses the job's memory for it: `scratch` in the site file names another folder"
            yield Finding(AREA, "scratch", "warn", words, consequence)
        else:
            yield Finding(AREA, "scratch", "ok", words, "makes folders of tasks there and removes them")


def _python(report: Report, site: Site) -> Iterator[Finding]:
    facts, what = report.facts, "Python"
    if site.container is not None and site.container.runtime != "none":
        yield Finding(AREA, what, "ok", "in the image", "did not look into it")
    elif "python" not in facts:
        words = facts.get("python_error") or "it did not answer"
        consequence = "cannot start tasks: name a Python that nodes have as `python` in the site file"
        yield Finding(AREA, what, "bad", words, consequence)
    else:
        state, consequence = judge_python(facts, "starts tasks with it")
        if state != "bad" and not {"tensorflow_seconds", "tensorflow_error"} & facts.keys():
            state, consequence = "warn", "starts tasks slowly: importing TensorFlow took longer than the test waits"
        yield Finding(AREA, what, state, python_words(facts), consequence)
