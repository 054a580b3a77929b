"""The Python that tasks run in, here or on a node."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import segbatch
from segbatch.cluster.doctor.asking import Answer, read_facts, run_program
from segbatch.cluster.doctor.finding import Finding, State
from segbatch.spec.site import Site

SCRIPT = Path(__file__).with_name("python_facts.py")
"""Tells about the Python that runs it."""
OLDEST = (3, 11)
_PATIENCE_S = 60.0
INSTALL = "pip install 'segbatch[worker]'"


def tasks_python(site: Site, backend: str) -> str:
    """Path of the Python that runs tasks outside containers."""
    return (site.python if backend == "slurm" else None) or sys.executable


def ask_python(python: str, environ: Mapping[str, str]) -> Answer[dict[str, str]]:
    """Let a Python of this machine tell about itself; TensorFlow is looked for and not imported."""
    answer = run_program([python, str(SCRIPT)], environ, _PATIENCE_S)
    return Answer(None if answer.value is None else read_facts(answer.value), answer.trouble)


def check_python(answer: Answer[dict[str, str]], python: str, site: Site, backend: str) -> Finding:
    """Judge the tasks' Python as this machine sees it."""
    what = "tasks' Python"
    runtime = site.container.runtime if site.container else "none"
    if runtime != "none":
        return Finding("segbatch", what, "ok", f"in the image, by {runtime}", "uses no Python outside of it for tasks")
    if answer.value is None:
        # A path that only nodes have is no fault.
        elsewhere = backend == "slurm" and not Path(python).exists()
        return Finding(
            "segbatch",
            what,
            "warn" if elsewhere else "bad",
            f"{python}: {'not on this machine' if elsewhere else answer.trouble}",
            "expects it on the nodes; --deep looks there"
            if elsewhere
            else "cannot start tasks: correct `python` in the site file",
        )
    state, consequence = judge_python(answer.value, "starts tasks with it")
    brought = backend == "slurm" and bool(site.modules or site.prolog or site.environment)
    if state == "bad" and brought:
        # Modules or the prolog may add what is missing.
        state, consequence = "warn", "hopes that the site's modules and prolog bring the rest; --deep looks on a node"
    return Finding("segbatch", what, state, f"{python}: {python_words(answer.value)}", consequence)


def python_words(facts: Mapping[str, str]) -> str:
    """Say what a Python holds."""
    parts = [f"Python {facts.get('python', '?')}"]
    parts.append(f"segbatch {facts['segbatch']}" if "segbatch" in facts else "no segbatch")
    tensorflow = f"TensorFlow {facts['tensorflow']}" if "tensorflow" in facts else "no TensorFlow"
    if "tensorflow_seconds" in facts:
        tensorflow += f" (imported in {facts['tensorflow_seconds']} s)"
    parts.append(tensorflow)
    parts += [f"missing: {facts['missing']}"] if "missing" in facts else []
    return ", ".join(parts)


def judge_python(facts: Mapping[str, str], fine: str) -> tuple[State, str]:
    """Say how bad it is and what follows; `fine` is what follows where nothing is wrong."""
    if _version(facts.get("python", "")) < OLDEST:
        return "bad", "cannot start tasks: name a Python of 3.11 or later as `python` in the site file"
    if "segbatch" not in facts:
        return "bad", f"cannot start tasks: {INSTALL} there, or name another `python` in the site file"
    if "tensorflow" not in facts:
        return "bad", f"can submit and show runs, but its tasks fail: {INSTALL} there, or use a container"
    if "tensorflow_error" in facts:
        return "bad", f"starts tasks that fail: importing TensorFlow ends in {facts['tensorflow_error']}"
    if "missing" in facts:
        return "bad", f"starts tasks that fail for want of {facts['missing']}: {INSTALL} there"
    if facts["segbatch"] != segbatch.__version__:
        return "warn", f"runs tasks of another version than this {segbatch.__version__}: install the same one there"
    return "ok", fine


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2] if part.isdigit())
