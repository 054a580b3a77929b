"""Whole batch scripts against golden ones; nothing in a job can break out of its place."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from segbatch.cluster.containers.inside import Inside
from segbatch.cluster.containers.mounts import same_path
from segbatch.cluster.render import Order, render_script
from segbatch.errors import InputError
from segbatch.spec.job import KINDS, Job
from segbatch.spec.resources import Container
from segbatch.spec.site import Site

GOLDEN = Path(__file__).parent / "golden"
PYTHON = "/opt/segbatch/bin/python"
PLAIN = Site(python=PYTHON)
SITE = Site.model_validate(
    {
        "python": PYTHON,
        "account": "forest",
        "partition": "gpu",
        "finish_partition": "cpu",
        "exclude": "node13",
        "modules": ["cuda/12.4"],
        "environment": {"TF_XLA_FLAGS": "a b"},
        "prolog": ["ulimit -n 4096"],
        "scratch": "${TMPDIR:-/tmp}/my space",
        "gpu_types": {"a100": "nvidia_a100"},
        "priorities": {"high": {"qos": "urgent"}},
        "warning": {"signal": "USR2", "seconds": 300},
    }
)
FOLDER = Path("/scratch/runs/night/20261121-080000-abcd")
TASKS = Order(FOLDER, 1, "0123456789abcdef", offset=1000, indexes="0-9,12", at_once=4, after="afterok:7")
FINISH = Order(FOLDER, 1, "fedcba9876543210", role="finish", after="afterany:12:13")


def job(kind: str = "predict", **sections: Any) -> Job:
    data: dict[str, Any] = {"images": "images"}
    own: dict[str, Any] = {"model": "m"}
    if kind == "train":
        data["masks"] = "masks"
        classes = [
            {"id": 0, "name": "rest", "color": [0, 0, 0]},
            {"id": 1, "name": "forest", "color": [0, 99, 0]},
        ]
        own = {"labels": {"name": "two", "classes": classes}}
    return KINDS[kind].model_validate({"kind": kind, "name": "night", "data": data, **own, **sections})


GPUS = {"gpus": 2, "gpu_type": "a100", "cpus": 8, "memory": "32G", "time": "4h", "scratch": True, "priority": "high"}


def inside(runtime: str, asked: Job) -> Inside:
    """A container with data in a folder of its own."""
    container = Container(runtime=runtime, image="/images/segbatch 1.sif" if runtime == "apptainer" else "segbatch")
    mounts = (same_path("/archive/tiles", "data.images"),)
    return Inside(container, "the site file", asked, mounts, ("SLURM_JOB_ID",), {"KERAS_HOME": "/weights"})


GPU_JOB, GPU_TRAIN = job(resources=GPUS), job("train", resources=GPUS)
SCRIPTS: dict[str, tuple[Any, ...]] = {
    "predict": (job(resources=GPUS, slurm={"mail-type": "FAIL"}), SITE, TASKS),
    "predict-finish": (job(resources=GPUS, slurm={"mail-type": "FAIL"}), SITE, FINISH),
    "predict-plain": (job(), PLAIN, Order(FOLDER, 3, "0123456789abcdef", hold=True)),
    "train": (job("train", resources=GPUS), SITE, Order(FOLDER, 1, "0123456789abcdef")),
    "train-two-nodes": (job("train", resources={**GPUS, "nodes": 2}), SITE, Order(FOLDER, 1, "0123456789abcdef")),
    "predict-apptainer": (GPU_JOB, SITE, TASKS, inside("apptainer", GPU_JOB)),
    "train-pyxis": (GPU_TRAIN, SITE, Order(FOLDER, 1, "0123456789abcdef"), inside("pyxis", GPU_TRAIN)),
    "finish-pyxis": (GPU_JOB, SITE, FINISH, inside("pyxis", GPU_JOB)),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_whole_scripts(name: str) -> None:
    assert render_script(*SCRIPTS[name]) == (GOLDEN / f"{name}.sbatch").read_text()


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_are_bash(name: str, tmp_path: Path) -> None:
    path = tmp_path / "script.sh"
    path.write_text(render_script(*SCRIPTS[name]))
    subprocess.run(["bash", "-n", path], check=True)


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_are_clean_bash(name: str, tmp_path: Path, shellcheck: Callable[[Path], None]) -> None:
    path = tmp_path / "script.sh"
    path.write_text(render_script(*SCRIPTS[name]))
    shellcheck(path)


@pytest.mark.parametrize(
    "folder", ["""/runs/it's "$(touch pwned)" `x`, a;b""", "/runs/two\nlines\t", "/runs/%A\\x ü", "/runs/-rf ../.."]
)
def test_a_path_with_everything_in_it_is_one_word(folder: str, tmp_path: Path) -> None:
    script = render_script(job(), PLAIN, replace(TASKS, run_folder=Path(folder)))
    start = script.index("RUN=")
    line = script[start : script.index("\nROUND=")]
    shown = subprocess.run(
        ["bash", "-c", f'{line}\nprintf %s "$RUN"'], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert shown.stdout == folder
    assert not list(tmp_path.iterdir())
    assert not [line for line in script.splitlines() if line.startswith("#SBATCH") and "runs" in line]


def test_scratch_expands_variables_and_nothing_else(tmp_path: Path) -> None:
    site = Site(scratch="$BASE/a b/`touch x`/$(touch y)/${GONE:-z}")
    script = render_script(job(resources={"scratch": True}), site, TASKS)
    line = next(line for line in script.splitlines() if line.startswith("SCRATCH="))
    word = line.removeprefix("SCRATCH=$(mktemp -d -- ").removesuffix("/segbatch.XXXXXXXX)")
    shown = subprocess.run(
        ["bash", "-c", f"printf '%s|' {word}"], capture_output=True, text=True, cwd=tmp_path, env={"BASE": "/s p"}
    )
    assert shown.stdout == "/s p/a b/`touch x`/$(touch y)/z|"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("flavour", ["gres", "gpus-per-node", "gpus-per-task"])
def test_gpus_in_the_words_of_the_site(flavour: Any) -> None:
    script = render_script(job(resources={"gpus": 1}), Site(gpu_flavour=flavour), TASKS)
    option = "--gres=gpu:1" if flavour == "gres" else f"--{flavour}=1"
    assert f"#SBATCH {option}\n" in script
    assert f" {option} " in next(line for line in script.splitlines() if line.startswith("run_task srun"))


def test_options_are_passed_through(tmp_path: Path) -> None:
    script = render_script(
        job(slurm={"exclusive": True, "nice": 10, "comment-x": False, "licenses": "a b"}), PLAIN, TASKS
    )
    assert "#SBATCH --exclusive\n" in script
    assert "#SBATCH --nice=10\n" in script
    assert "#SBATCH --licenses='a b'\n" in script
    assert "comment-x" not in script


def test_a_template_of_the_sites_own(tmp_path: Path) -> None:
    own = tmp_path / "mine.j2"
    own.write_text(
        '#!/bin/bash\n{% import "macros.sh.j2" as part with context %}\n{{ part.directives(directives) }}\nmine\n'
    )
    site = Site.model_validate({"templates": {"predict": str(own)}})
    script = render_script(job(), site, TASKS)
    assert script.endswith("\nmine\n")
    assert "#SBATCH --array=0-9,12%4\n" in script
    assert "survive" not in script


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ nothing }}", "'nothing' is undefined"),
        ("a\n{% if %}", "line 2"),
        ('{% include "no.j2" %}', "no.j2"),
    ],
)
def test_a_template_that_cannot_be_used(text: str, message: str, tmp_path: Path) -> None:
    own = tmp_path / "mine.j2"
    own.write_text(text)
    with pytest.raises(InputError, match=message):
        render_script(job(), Site.model_validate({"templates": {"predict": str(own)}}), TASKS)


def test_a_template_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.j2"):
        render_script(job(), Site.model_validate({"templates": {"finish": str(tmp_path / "gone.j2")}}), FINISH)
