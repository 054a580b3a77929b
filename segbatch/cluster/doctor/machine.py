"""This machine: processors, memory, GPUs, and the folder of runs."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from segbatch.cluster.doctor.asking import Answer, ask, run_program
from segbatch.cluster.doctor.finding import Finding
from segbatch.runs.files import append_line, write_text
from segbatch.spec.site import Site

AREA = "this machine"
GUESS = "shared?"
"""The row that guesses whether nodes have the runs folder."""
GPU_QUERY = ("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
SMALL_BYTES = 5_000_000_000
"""Free space below which a run's masks and checkpoints may not fit."""
TIGHT_BYTES = 4_000_000_000
"""Memory below which TensorFlow with a network may not fit."""
OWN_TYPES = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "vfat", "f2fs", "ramfs"})
"""File systems that are one machine's own, unless it serves them to others."""
_GROUPS = Path("/sys/fs/cgroup")
_NO_LIMIT = 1 << 60


@dataclass(frozen=True)
class MachineFacts:
    """What this machine has."""

    cpus: int
    """Processors that this process may use."""
    cpus_in_all: int
    memory: int
    """Bytes in all; 0 where unknown."""
    memory_free: int
    """Bytes available; 0 where unknown."""
    memory_limit: int | None
    """Bytes that a control group allows; None for no limit."""
    cpu_limit: float | None
    """Processors that a control group allows."""
    gpus: Answer[str]
    runs: Path
    """Folder of runs."""
    checked: Path
    """The runs folder, or the nearest folder above it that is there."""
    written: Answer[bool]
    """Whether a file could be written, renamed, appended to and removed there."""
    free: int
    """Bytes free there."""
    kind: str
    """Its file system; empty where unknown."""


def gather_machine(runs: Path, environ: Mapping[str, str]) -> MachineFacts:
    """Look at this machine; what cannot be found out stays unknown."""
    checked = next((folder for folder in (runs, *runs.parents) if ask(folder.exists).value), Path("/"))
    memory = _memory()
    free = ask(lambda: shutil.disk_usage(checked).free).value or 0
    return MachineFacts(
        cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        cpus_in_all=os.cpu_count() or 1,
        memory=memory.get("MemTotal", 0),
        memory_free=memory.get("MemAvailable", 0),
        memory_limit=memory_limit(_GROUPS, _own_groups()),
        cpu_limit=cpu_limit(_GROUPS, _own_groups()),
        gpus=run_program(GPU_QUERY, environ),
        runs=runs,
        checked=checked,
        written=ask(lambda: _write(checked)),
        free=free,
        kind=file_system(checked, ask(Path("/proc/mounts").read_text).value or ""),
    )


def _memory() -> dict[str, int]:
    lines = (ask(Path("/proc/meminfo").read_text).value or "").splitlines()
    pairs = (line.split() for line in lines)
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in pairs if len(words) > 1 and words[1].isdigit()}


def _own_groups() -> str:
    return ask(Path("/proc/self/cgroup").read_text).value or ""


def _levels(root: Path, groups: str, controller: str) -> Iterator[Path]:
    """Yield the folders of this process's control groups, of version 2 and 1, from its own up to the root."""
    for line in groups.splitlines():
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if names and controller not in names.split(","):
            continue
        base = root / names if names else root
        here = base / path.lstrip("/")
        yield from (folder for folder in (here, *here.parents) if folder == base or base in folder.parents)


def memory_limit(root: Path, groups: str) -> int | None:
    """Return the tightest limit on memory in bytes.

    Args:
        root: where control groups are mounted.
        groups: text of /proc/self/cgroup.
    """
    found = []
    for folder in _levels(root, groups, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            text = (ask((folder / name).read_text).value or "").strip()
            found += [int(text)] if text.isdigit() and int(text) < _NO_LIMIT else []
    return min(found, default=None)


def cpu_limit(root: Path, groups: str) -> float | None:
    """Return the tightest limit on processors; arguments as of `memory_limit`."""
    found = []
    for folder in _levels(root, groups, "cpu"):
        words = (ask((folder / "cpu.max").read_text).value or "").split()
        if not words:
            parts = (ask((folder / f"cpu.cfs_{name}_us").read_text).value or "" for name in ("quota", "period"))
            words = [part.strip() for part in parts]
        if len(words) == 2 and words[0].isdigit() and words[1].isdigit() and int(words[1]):
            found.append(int(words[0]) / int(words[1]))
    return min(found, default=None)


def file_system(folder: Path, mounts: str) -> str:
    """Name the type of the file system that a folder is on, from the text of /proc/mounts."""
    best, kind = -1, ""
    real = ask(folder.resolve).value or folder
    for line in mounts.splitlines():
        words = line.split()
        if len(words) < 3:
            continue
        place = Path(words[1].encode("latin-1", "replace").decode("unicode_escape"))
        if (place == real or place in real.parents) and len(place.parts) >= best:
            best, kind = len(place.parts), words[2]
    return kind


def _write(folder: Path) -> bool:
    """Do with a file what runs do with theirs."""
    path = folder / f".segbatch-doctor-{secrets.token_hex(4)}"
    try:
        write_text(path, "{}\n")
        append_line(path, {})
        return path.read_text() == "{}\n{}\n"
    finally:
        path.unlink(missing_ok=True)


def check_machine(facts: MachineFacts, site: Site, backend: str) -> Iterator[Finding]:
    """Judge this machine; what only tasks need matters where they run here."""
    local = backend == "local"
    yield _cpus(facts, site, local)
    yield _memory_row(facts, local)
    yield _gpus(facts, local)
    yield _folder(facts)
    yield from _kind(facts, local)


def _cpus(facts: MachineFacts, site: Site, local: bool) -> Finding:
    words = f"{facts.cpus}" + (f" of {facts.cpus_in_all}" if facts.cpus != facts.cpus_in_all else "")
    words += f", held to {facts.cpu_limit:g} by a control group" if facts.cpu_limit is not None else ""
    if not local:
        return Finding(AREA, "CPUs", "ok", words, "uses few of them: tasks run on nodes")
    together = f"{site.parallel} tasks" if site.parallel else "as many tasks as have their `cpus`"
    return Finding(AREA, "CPUs", "ok", words, f"runs {together} at once; those with GPUs one by one")


def _memory_row(facts: MachineFacts, local: bool) -> Finding:
    words = f"{_gigabytes(facts.memory)}, {_gigabytes(facts.memory_free)} free" if facts.memory else "unknown"
    least = facts.memory_free or facts.memory
    if facts.memory_limit is not None and (not facts.memory or facts.memory_limit < facts.memory):
        words += f", held to {_gigabytes(facts.memory_limit)} by a control group"
        least = min(least or facts.memory_limit, facts.memory_limit)
    if local and least and least < TIGHT_BYTES:
        return Finding(AREA, "memory", "warn", words, "may have tasks killed: lower `batch_size`, one task at once")
    return Finding(AREA, "memory", "ok", words, "sets no limit of its own here" if local else "needs little of it here")


def _gpus(facts: MachineFacts, local: bool) -> Finding:
    cards = [" ".join(line.split()) for line in (facts.gpus.value or "").splitlines() if line.strip()]
    if cards:
        return Finding(
            AREA, "GPUs", "ok", "; ".join(cards), "lets tasks here use them" if local else "leaves them alone"
        )
    there = facts.gpus.trouble.startswith("there is no program")
    words = "none (no nvidia-smi)" if there else f"nvidia-smi: {facts.gpus.trouble or 'no GPUs'}"
    return Finding(AREA, "GPUs", "ok", words, "runs tasks here on CPUs" if local else "needs none here")


def _folder(facts: MachineFacts) -> Finding:
    where = str(facts.runs) if facts.checked == facts.runs else f"{facts.runs} (to be made in {facts.checked})"
    if not facts.written.value:
        why = facts.written.trouble or "what was written did not come back"
        consequence = "cannot start runs: name another folder by --runs or `runs` in the site file"
        return Finding(AREA, "runs folder", "bad", f"{where}: {why}", consequence)
    words = f"{where}: writable, {_gigabytes(facts.free)} free"
    if facts.free < SMALL_BYTES:
        return Finding(AREA, "runs folder", "warn", words, "may fill it: remove old runs, or name another by --runs")
    return Finding(AREA, "runs folder", "ok", words, "keeps runs there")


def _kind(facts: MachineFacts, local: bool) -> Iterator[Finding]:
    if local or not facts.kind:
        return
    if facts.kind in OWN_TYPES:
        words = f"{facts.kind}, which may be this machine's own"
        yield Finding(AREA, GUESS, "warn", words, "needs to have it on the nodes too: --deep finds out")
    else:
        yield Finding(AREA, GUESS, "ok", facts.kind, "expects it on the nodes: --deep finds out")


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.0f} GB" if count >= 10e9 else f"{count / 1e9:.1f} GB"
