"""What this machine is like."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import segbatch
from segbatch.cluster.doctor.asking import located, run_program
from segbatch.cluster.doctor.finding import Finding

LITTLE_BYTES = 2 * 1024**3


def check_machine(environ: Mapping[str, str], runs: Path, site_file: Path | None) -> Iterator[Finding]:
    """Judge this machine, the folder of runs and the site file."""
    words = f"segbatch {segbatch.__version__}, Python {platform.python_version()}"
    yield Finding("segbatch", "version", "ok", words, "runs commands with it")
    yield Finding(
        "segbatch",
        "site file",
        "ok",
        str(site_file or "none found"),
        "takes from it what is true of this place" if site_file else "uses defaults; the README says what it holds",
    )
    cpus = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1024**3
    yield Finding(
        "machine", "size", "ok", f"{cpus} processors, {memory:.0f} GB", "runs tasks here within it (--backend local)"
    )
    if located("nvidia-smi", environ):
        answer = run_program(["nvidia-smi", "-L"], environ)
        said = answer.trouble or f"{len((answer.value or '').splitlines())} GPUs"
        yield Finding("machine", "GPUs", "warn" if answer.trouble else "ok", said, "runs local tasks on them")
    yield _folder(runs)


def _folder(runs: Path) -> Finding:
    """Judge the folder of runs, or the one that would hold it."""
    there = next(folder for folder in (runs, *runs.parents) if folder.is_dir())
    try:
        with tempfile.NamedTemporaryFile(dir=there):
            free = shutil.disk_usage(there).free
    except OSError as error:
        words = f"{there}: {error.strerror or error}"
        return Finding("machine", "runs folder", "bad", words, "cannot write runs: choose another by --runs")
    words = f"{runs}, {free / 1024**3:.0f} GB free"
    if free < LITTLE_BYTES:
        return Finding("machine", "runs folder", "warn", words, "will stop when it is full; nothing done is lost")
    return Finding("machine", "runs folder", "ok", words, "writes runs there")
