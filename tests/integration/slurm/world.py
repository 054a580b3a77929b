"""A user at a login node: job files, a site file and the command line, on a real SLURM."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from segbatch.runs.run import Run, find_run
from tests.support.slurm_cluster import SlurmCluster
from tests.support.worlds import outputs, write_job

PATIENCE_S = 240.0
"""Seconds that anything may take: a busy machine is no failure."""
TILES = 48
BATCH = 2
LABELS = {
    "name": "two",
    "classes": [{"id": 0, "name": "ground", "color": "#102030"}, {"id": 1, "name": "forest", "color": "#108030"}],
}


@dataclass
class User:
    """Types commands in a folder of their own."""

    slurm: SlurmCluster
    folder: Path
    home: Path = field(init=False)

    def __post_init__(self) -> None:
        self.home = self.folder / "home"
        self.home.mkdir(parents=True, exist_ok=True)
        self.site()

    def site(self, **settings: Any) -> None:
        """Write the site file."""
        values = {"min_poll_seconds": 0.2, **settings}
        (self.folder / "site.yaml").write_text(yaml.safe_dump(values))

    def checkout(self, repo: Path, linger: int = 0) -> None:
        """Let tasks run the code of a checkout: what starts on a node has no environment of whoever submits.

        Args:
            repo: the checkout.
            linger: seconds that pass between a worker's end and what its batch script makes of it.
        """
        program = self.folder / "python here"
        run = f'{sys.executable} "$@"; code=$?; sleep {linger}; exit $code' if linger else f'exec {sys.executable} "$@"'
        program.write_text(f"#!/bin/bash\nexport PYTHONPATH={shlex.quote(str(repo))}\n{run}\n")
        program.chmod(0o755)
        self.site(python=str(program))

    def predict(self, archive: Path, **sections: Any) -> Path:
        """Write a predict job of several tasks over an archive made by `make_archive`."""
        settings = {"tasks": 2, "batch_size": BATCH, **sections.pop("predict", {})}
        resources = {"memory": 900, "cpus": 1, "time": 10, **sections.pop("resources", {})}
        return write_job(
            self.folder / "night.yaml",
            kind="predict",
            model=str(archive / "bundle"),
            data={"root": str(archive), "images": "images", "masks": "masks"},
            predict=settings,
            resources=resources,
            **sections,
        )

    def evaluate(self, archive: Path, name: str = "score", **sections: Any) -> Path:
        """Write an evaluate job, whose tasks need no TensorFlow."""
        data = {"root": str(archive), "images": "images", "masks": "masks", "predictions": {"folder": "predicted"}}
        resources = {"memory": 300, "cpus": 1, "time": 10}
        return write_job(
            self.folder / f"{name}.yaml", kind="evaluate", labels=LABELS, data=data, resources=resources, **sections
        )

    def type(self, *words: str, code: int | None = 0) -> str:
        """Run a command and return what it prints; fails on another exit code."""
        environ = {**os.environ, "HOME": str(self.home), "COLUMNS": "200"}
        done = subprocess.run(
            [sys.executable, "-m", "segbatch", *words],
            cwd=self.folder,
            env=environ,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert code is None or done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def status(self, run: str) -> dict[str, Any]:
        """Everything that `status` knows."""
        found: dict[str, Any] = json.loads(self.type("status", run, "--json"))
        return found

    def run(self, name: str) -> Run:
        """The newest run of a job."""
        return find_run(name, self.folder / "runs")

    def over(self, name: str, timeout: float = PATIENCE_S) -> dict[str, Any]:
        """Wait until a run is over, and return its status."""
        found: dict[str, Any] = {}

        def ended() -> bool:
            found.update(self.status(name))
            return found["state"] not in ("queued", "running", "pending")

        self.slurm.wait_for(ended, timeout, f"the end of {name}")
        return found

    def begun(self, name: str, tasks: int = 1, rows: int = 1) -> None:
        """Wait until so many tasks of a run have journalled so many tiles."""

        def count() -> int:
            folder = self.run(name).paths.folder
            journals = folder.glob("tasks/[0-9]*/journal-*.csv")
            return sum(len(path.read_bytes().splitlines()) >= rows for path in journals)

        self.slurm.wait_for(lambda: count() >= tasks, PATIENCE_S, f"{tasks} tasks of {name} with {rows} tiles")

    def go(self, name: str) -> None:
        """Let slow workers run at full speed."""
        (self.run(name).paths.folder / "go").touch()

    def outputs(self, name: str) -> dict[str, bytes]:
        """Masks and CSVs of the newest run of a job."""
        return outputs(self.run(name))
