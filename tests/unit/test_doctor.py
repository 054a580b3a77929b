"""`segbatch doctor`: what is found, and what follows from it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from segbatch.cluster.doctor.deep import check_node, probe_script
from segbatch.cluster.doctor.finding import Finding, worst
from segbatch.spec.site import Site
from tests.support.fake_slurm import FakeSlurm


def doctor(folder: Path, environ: dict[str, str], *words: str, code: int | None = None) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "segbatch", "doctor", "--json", *words],
        cwd=folder,
        env={**environ, "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert code is None or done.returncode == code, done.stdout + done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def row(found: list[dict[str, Any]], what: str) -> dict[str, Any]:
    return next(item for item in found if item["what"] == what)


def test_without_slurm_this_machine_will_do(tmp_path: Path) -> None:
    environ = {**os.environ, "PATH": str(tmp_path)}
    environ.pop("SLURM_CONF", None)
    found = doctor(tmp_path, environ, code=0)
    assert row(found, "programs")["state"] == "ok"
    assert "this machine" in row(found, "programs")["consequence"]
    assert row(found, "runs folder")["words"].startswith(str(tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()


def test_on_a_cluster(tmp_path: Path) -> None:
    with FakeSlurm(tmp_path) as fake:
        (tmp_path / "fake-slurm.conf").touch()
        fake.max_array_size = 11
        found = doctor(tmp_path, fake.environ)
        assert "up to 11 tasks" in row(found, "job arrays")["words"]
        assert row(found, "controller")["state"] == "ok"
        assert not fake.jobs, "a trial job is judged and not queued"


def test_a_controller_that_is_down_is_said_and_nothing_hangs(tmp_path: Path) -> None:
    with FakeSlurm(tmp_path) as fake:
        (tmp_path / "fake-slurm.conf").touch()
        (tmp_path / "site.yaml").write_text("backend: slurm\n")
        fake.controller = "down"
        found = doctor(tmp_path, fake.environ, "--deep", code=1)
    assert row(found, "controller")["state"] == "bad"
    assert row(found, "job")["words"] == "not sent: no controller answers"


def test_worst() -> None:
    assert worst([]) == "ok"
    assert worst([Finding("a", "b", "warn", "", ""), Finding("a", "b", "ok", "", "")]) == "warn"


NODE = {
    "node": "node1",
    "clock": "1000",
    "saw": "token",
    "python": "3.11.7",
    "segbatch": "0.1",
    "tensorflow": "2.18",
    "scratch": "/tmp, 9G free",
}


@pytest.mark.parametrize(
    ("facts", "what", "state"),
    [
        ({}, "shared files", "ok"),
        ({"saw": ""}, "shared files", "bad"),
        ({"clock": "1100"}, "clock", "warn"),
        ({"python_error": "no such file"}, "Python", "bad"),
        ({"tensorflow_error": "ImportError: libcuda"}, "Python", "bad"),
        ({"scratch_error": "/local: no folder can be made there"}, "scratch", "warn"),
    ],
)
def test_what_a_node_says_is_judged(facts: dict[str, str], what: str, state: str) -> None:
    found = {item.what: item.state for item in check_node(NODE | facts, "token", Path("/runs"), 1001.0)}
    assert found[what] == state


def test_the_probe_is_a_job_of_the_site(tmp_path: Path) -> None:
    script = probe_script(Site(account="forest", partition="gpu", modules=("cuda/12",)), tmp_path / "a b", "t")
    assert "#SBATCH --account=forest\n" in script
    assert "module load cuda/12\n" in script
    assert f"FOLDER='{tmp_path}/a b'\n" in script
