"""The image: refused where it or its runtime is missing, and never changed unnoticed under a run."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from segbatch.cli import cli
from segbatch.cli.options import plan_job
from segbatch.cluster.containers.image import image_digest, refuse_missing_image
from segbatch.cluster.containers.inside import inside_of_plan
from segbatch.errors import Exit, InputError
from segbatch.runs import ledger
from segbatch.runs.creation import create_run
from segbatch.runs.layout import FINISH
from segbatch.runs.run import Run
from segbatch.spec.resources import Container

JOB = """\
kind: evaluate
labels: buildings
data: {images: images, masks: masks, predictions: {folder: predicted}}
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a job, and a PATH without runtimes."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    for folder, end in (("images", "jpg"), ("masks", "png"), ("predicted", "png")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"a.{end}").touch()
    (tmp_path / "job.yaml").write_text(JOB)
    return tmp_path


def site(**container: Any) -> None:
    settings = ", ".join(f"{key}: {value}" for key, value in container.items())
    Path("site.yaml").write_text(f"backend: local\ncontainer: {{{settings}}}\n")


def program(place: Path, name: str, text: str = "exit 0") -> None:
    path = place / "bin" / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def planned(place: Path) -> Run:
    """A run of the job as it is submitted, of which nothing was started."""
    plan, found_site = plan_job(place / "job.yaml", (), place / "site.yaml", None)
    inside = inside_of_plan(plan, found_site)
    return create_run(plan, image=image_digest(inside.container) if inside else "")


def invoke(*words: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "segbatch", *words, "--site", "site.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


def test_a_job_whose_runtime_is_missing_is_refused_before_anything_is_written(place: Path) -> None:
    site(runtime="podman", image="segbatch")
    program(place, "docker", "exit 1")
    code, said = invoke("submit", "job.yaml")
    assert code == Exit.BAD_INPUT
    assert "container.runtime of the site file: podman is not installed here" in said
    assert "Runtimes here: none (see `segbatch doctor`)" in said
    assert not (place / "runs").exists()


def test_a_runtime_of_slurm_cannot_start_tasks_here(place: Path) -> None:
    site(runtime="pyxis", image="x.sqsh")
    code, said = invoke("submit", "job.yaml")
    assert code == Exit.BAD_INPUT
    assert "pyxis is part of SLURM, and this job would run on this machine" in said


def test_an_image_file_that_is_not_there_is_refused(place: Path) -> None:
    program(place, "apptainer", "echo apptainer version 1.4.5")
    site(runtime="apptainer", image="images/none.sif")
    code, said = invoke("submit", "job.yaml")
    assert code == Exit.BAD_INPUT
    assert f"{place}/images/none.sif: no such file or folder. Expected a SIF file" in said


def test_a_bundle_that_is_none_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"not an OCI bundle.*umoci unpack --image"):
        refuse_missing_image(Container(runtime="slurm-oci", image=str(tmp_path)), "the job")


def test_the_digest_is_that_of_the_file_or_of_what_describes_a_folder(tmp_path: Path) -> None:
    sif = tmp_path / "a.sif"
    sif.write_bytes(b"image")
    digest = f"sha256:{hashlib.sha256(b'image').hexdigest()}"
    assert image_digest(Container(runtime="apptainer", image=str(sif))) == digest
    layout = tmp_path / "layout"
    layout.mkdir()
    (layout / "index.json").write_bytes(b"{}")
    digest = f"sha256:{hashlib.sha256(b'{}').hexdigest()}"
    assert image_digest(Container(runtime="apptainer", image=f"oci:{layout}:1.0")) == digest


def test_the_digest_of_a_stored_image_is_asked_from_its_runtime(place: Path) -> None:
    program(place, "podman", '[ "$1 $2" = "image inspect" ] && echo sha256:12ab')
    assert image_digest(Container(runtime="podman", image="segbatch:1")) == "sha256:12ab"
    program(place, "podman", "exit 125")
    assert image_digest(Container(runtime="podman", image="segbatch:1")) == "segbatch:1"


def test_a_run_goes_on_in_its_image_or_by_force(place: Path) -> None:
    program(place, "apptainer", 'case "$1" in --version) echo apptainer 1.4;; *) exit 3;; esac')
    Path("a.sif").write_bytes(b"first")
    site(runtime="apptainer", image="a.sif")
    code, said = invoke("submit", "job.yaml", "--wait")
    assert code != Exit.OK, said
    (run,) = (path for path in (place / "runs" / "job").iterdir() if not path.is_symlink())
    assert hashlib.sha256(b"first").hexdigest() in (run / "run.json").read_text()
    Path("a.sif").write_bytes(b"second")
    code, said = invoke("resume", str(run), "--wait")
    assert code == Exit.BAD_INPUT
    assert f"began in the image sha256:{hashlib.sha256(b'first').hexdigest()}" in said.replace("\n", "")
    assert "--force" in said
    site(runtime="none", image="a.sif")
    code, said = invoke("resume", str(run), "--wait")
    assert code == Exit.BAD_INPUT
    assert "would go on without one" in said.replace("\n", " ")
    site(runtime="apptainer", image="a.sif")
    code, said = invoke("resume", str(run), "--wait", "--force")
    assert "began in the image" not in said


def test_one_task_is_requeued_in_its_image_or_by_force(place: Path) -> None:
    program(place, "apptainer", "echo apptainer 1.4")
    Path("a.sif").write_bytes(b"first")
    site(runtime="apptainer", image="a.sif")
    run = planned(place)
    ledger.record(run.paths, "t", "submitted", backend="slurm", job="7", indexes="0", offset=0)
    Path("a.sif").write_bytes(b"second")
    code, said = invoke("requeue", str(run.paths.folder), "0")
    assert code == Exit.BAD_INPUT, said
    assert f"began in the image sha256:{hashlib.sha256(b'first').hexdigest()}" in said.replace("\n", "")
    code, said = invoke("requeue", str(run.paths.folder), "0", "--force")
    assert "began in the image" not in said
    assert "squeue" in said, "SLURM is asked, and is not here"


@pytest.mark.parametrize(
    ("container", "said"),
    [
        ({}, "numpy"),
        ({"runtime": "pyxis", "image": "x.sqsh"}, "Its container is of pyxis, which only SLURM starts."),
        ({"runtime": "apptainer", "image": "a.sif"}, "apptainer is not installed here"),
    ],
)
def test_a_report_that_cannot_be_written_here_says_what_to_do(
    place: Path, monkeypatch: pytest.MonkeyPatch, container: dict[str, str], said: str
) -> None:
    """As on a login node: a Python without NumPy, no container runtime."""
    Path("a.sif").touch()
    site(**container or {"runtime": "none"})
    run = planned(place)
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(InputError) as caught:
        cli.main(["report", str(run.paths.folder), "--rebuild"], standalone_mode=False)
    assert said in str(caught.value)
    assert not run.paths.task(FINISH).attempts.exists(), "the run is as it was"
