"""The folder of a run: the one place that knows every file's name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FINISH = "finish"
"""Name of the task that merges the others and writes the report."""


@dataclass(frozen=True)
class TaskPaths:
    """Files of one task, over all its attempts."""

    folder: Path

    @property
    def attempts(self) -> Path:
        """Start and end of every attempt, one JSON line each."""
        return self.folder / "attempts.jsonl"

    @property
    def host(self) -> Path:
        """Start and end of every attempt as the batch script saw it, one JSON line each; only on SLURM."""
        return self.folder / "host.jsonl"

    @property
    def progress(self) -> Path:
        """How far the task is."""
        return self.folder / "progress.json"

    @property
    def mark(self) -> Path:
        """What the task vouches for, once it has ended by itself."""
        return self.folder / "proven.json"

    def journal(self, attempt: int) -> Path:
        """Proof of the tiles that one attempt finished."""
        return self.folder / f"journal-{attempt}.csv"

    def rejected(self, attempt: int) -> Path:
        """Tiles that one attempt could not read, with reasons."""
        return self.folder / f"rejected-{attempt}.csv"

    def masks(self, attempt: int) -> Path:
        """Masks that one attempt made, with `layout: tar`, until the finishing task brings them together."""
        return self.folder / f"masks-{attempt}.tar"

    def journals(self) -> list[tuple[int, Path]]:
        """Journals of all attempts, oldest first."""
        found = []
        for path in self.folder.glob("journal-*.csv"):
            number = path.stem.removeprefix("journal-")
            if number.isdigit():
                found.append((int(number), path))
        return sorted(found)


@dataclass(frozen=True)
class RunPaths:
    """Files of one run."""

    folder: Path

    @property
    def job(self) -> Path:
        """The job as submitted, includes and overrides resolved."""
        return self.folder / "job.yaml"

    @property
    def record(self) -> Path:
        """Id, time, versions, digests, roots and shards; written once."""
        return self.folder / "run.json"

    @property
    def tiles(self) -> Path:
        """The tile list."""
        return self.folder / "tiles.csv"

    @property
    def engine(self) -> Path:
        """Which engine computes the masks of a predict run; there from its first task on."""
        return self.folder / "engine.json"

    @property
    def measured(self) -> Path:
        """What a pilot measured."""
        return self.folder / "measured.json"

    @property
    def split(self) -> Path:
        """Group and part of every tile."""
        return self.folder / "split.csv"

    @property
    def news(self) -> Path:
        """Names of the tiles that are new since the last training, one JSON string a line; only where asked for."""
        return self.folder / "new.jsonl"

    @property
    def cuts(self) -> Path:
        """How what was missing was cut into new tasks, one JSON line each time."""
        return self.folder / "cuts.jsonl"

    def round(self, number: int) -> Path:
        """What the tasks of one submission tell each other."""
        return self.folder / "rounds" / str(number)

    def script(self, number: int) -> Path:
        """What was given to sbatch."""
        return self.folder / f"script-{number}.sbatch"

    @property
    def ledger(self) -> Path:
        """What was asked of which scheduler, and what came of it."""
        return self.folder / "submissions.jsonl"

    @property
    def logs(self) -> Path:
        """Folder of the tasks' logs."""
        return self.folder / "logs"

    @property
    def masks(self) -> Path:
        """Folder of the predicted masks."""
        return self.folder / "masks"

    @property
    def probabilities(self) -> Path:
        """Folder of the probability pictures, where they were asked for."""
        return self.folder / "probabilities"

    @property
    def model(self) -> Path:
        """The bundle of a train run."""
        return self.folder / "model"

    @property
    def training(self) -> Path:
        """Checkpoints, history, curves and previews of a train run."""
        return self.folder / "training"

    @property
    def forced(self) -> Path:
        """Says that a training goes on although its job was changed; there from `resume --force` until its end."""
        return self.folder / "forced.json"

    def notices(self, end: str) -> Path:
        """Who was told of one end of the run, one JSON line each; there as soon as somebody begins to tell."""
        return self.folder / "notices" / f"{end}.jsonl"

    @property
    def report(self) -> Path:
        """Folder of the report."""
        return self.folder / "report"

    @property
    def mask_table(self) -> Path:
        """Where each tile's mask lies, with `layout: sharded` and `tar`."""
        return self.report / "masks.csv"

    def task(self, name: int | str) -> TaskPaths:
        """Files of task number `name`, or of the finishing task."""
        return TaskPaths(self.folder / "tasks" / str(name))

    def log(self, name: int | str) -> Path:
        """Log of a task started on this machine; attempts append to it."""
        return self.logs / f"{name}.log"


def run_folders(root: Path) -> Iterator[Path]:
    """Yield the folders of all runs below `root` (`<root>/<job name>/<run id>`), newest last."""
    if not root.is_dir():
        return
    found = [run for job in _folders(root) for run in _folders(job) if _is_file(run / "run.json")]
    yield from sorted(found, key=lambda path: (path.name, path.parent.name))


def _folders(parent: Path) -> list[Path]:
    """Folders within a folder, links left out; none of one that may not be read."""
    try:
        return [entry for entry in parent.iterdir() if entry.is_dir() and not entry.is_symlink()]
    except OSError:
        return []


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False
