"""Whole batch scripts against golden ones; nothing in a job can break out of its place."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from segbatch.cluster.render import render_scripts
from segbatch.errors import InputError
from segbatch.runs.plan import Plan
from segbatch.runs.tiles import Tile
from segbatch.spec.job import KINDS
from segbatch.spec.site import Site
from tests.support.labels import TWO_CLASSES

GOLDEN = Path(__file__).parent / "golden"
SITE = Site(account="forest", partition="gpu", modules=("cuda/12.4",), environment={"TF_XLA_FLAGS": "a b"})


def plan(runs_root: str = "/scratch/runs", **sections: Any) -> Plan:
    job = KINDS["predict"].model_validate(
        {"kind": "predict", "name": "night", "data": {"images": "images"}, "model": "m", **sections}
    )
    return Plan(
        job=job,
        job_file=Path("/home/ann/night.yaml"),
        labels=TWO_CLASSES,
        tiles=[Tile(f"{number}.jpg") for number in range(100)],
        split=None,
        shard_size=48,
        images_root="/data/images",
        masks_root="",
        predictions_root="",
        bundle=Path("/models/m"),
        runs_root=Path(runs_root),
        site={},
    )


@pytest.mark.parametrize("name", ["task", "finish"])
def test_whole_scripts(name: str) -> None:
    resources = {"gpus": 2, "gpu_type": "a100", "cpus": 8, "memory": "32G", "time": "4h", "scratch": True}
    scripts = render_scripts(plan(resources=resources), SITE, Path("/scratch/runs/night/20261121-080000-abcd"))
    assert scripts[name] == (GOLDEN / f"predict-{name}.sh").read_text()


def test_a_path_with_everything_in_it_is_one_word(tmp_path: Path) -> None:
    root = """/runs/it's "$(touch pwned)" `x`, a;b"""
    script = render_scripts(plan(runs_root=root), SITE)["task"]
    line = next(line for line in script.splitlines() if line.startswith("RUN="))
    shown = subprocess.run(
        ["bash", "-c", f'{line}\nprintf %s "$RUN"'], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert shown.stdout == f"{root}/night/RUN"
    assert not list(tmp_path.iterdir())


def test_a_line_break_in_a_path_is_refused() -> None:
    with pytest.raises(InputError, match="expected no line breaks"):
        render_scripts(plan(runs_root="/runs/a\n#SBATCH --uid=0"), SITE)


@pytest.mark.parametrize("flavour", ["gres", "gpus-per-node", "gpus-per-task"])
def test_gpus_in_the_words_of_the_site(flavour: Any) -> None:
    script = render_scripts(plan(resources={"gpus": 1}), Site(gpu_flavour=flavour))["task"]
    assert ("#SBATCH --gres=gpu:1" if flavour == "gres" else f"#SBATCH --{flavour}=1") in script


def test_scripts_are_valid_bash(tmp_path: Path) -> None:
    for name, text in render_scripts(plan(), SITE).items():
        path = tmp_path / f"{name}.sh"
        path.write_text(text)
        subprocess.run(["bash", "-n", path], check=True)
        if shutil.which("shellcheck"):
            subprocess.run(["shellcheck", path], check=True)
