"""The wheel, in an empty environment: the control side alone, with its templates and labels."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.support.worlds import make_tiles, write_job


@pytest.fixture(scope="module")
def wheel(repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    # The build backend is among the development tools, so that nothing is fetched.
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(repo)]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_templates_and_labels_are_inside(wheel: Path, repo: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    templates = {f"segbatch/slurm/{path.name}" for path in (repo / "slurm").glob("*.j2")}
    assert {"segbatch/slurm/predict.sh.j2", "segbatch/slurm/probe.sh.j2"} <= templates <= names
    assert "segbatch/evaluation/page.html.j2" in names
    assert {f"segbatch/spec/builtin_labels/{name}.yaml" for name in ("forest", "camvid", "cityscapes-19")} <= names
    assert not any(name.startswith(("tests/", "benchmarks/", "jobs/")) for name in names)


def test_help_and_a_render_from_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "env"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", str(wheel)], check=True)
    segbatch = environment / "bin" / "segbatch"
    installed = subprocess.run(
        [python, "-m", "pip", "list", "--format=freeze"], check=True, capture_output=True, text=True
    ).stdout.lower()
    assert not any(heavy in installed for heavy in ("tensorflow", "numpy", "pandas", "pillow"))
    shown = subprocess.run([segbatch, "--help"], check=True, capture_output=True, text=True, cwd=tmp_path)
    assert "segbatch submit" in shown.stdout
    make_tiles(tmp_path / "data", 3)
    job = write_job(
        tmp_path / "job.yaml",
        kind="train",
        labels="forest",
        data={"root": "data", "images": "images", "masks": "masks"},
        model={"input": [32, 32], "depth": 2},
    )
    script = subprocess.run(
        [segbatch, "plan", job, "--script"], check=True, capture_output=True, text=True, cwd=tmp_path
    ).stdout
    assert "#SBATCH --job-name=job" in script
    assert "segbatch.worker" in script
    checked = subprocess.run([segbatch, "check", job], capture_output=True, text=True, cwd=tmp_path)
    assert checked.returncode == 2
    assert "segbatch[worker]" in checked.stderr + checked.stdout
