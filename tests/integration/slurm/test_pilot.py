"""`predict.tasks: auto` on a real SLURM where nothing was measured: a pilot goes first, where tasks run."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from segbatch.runs.pipelines import find_pipeline
from tests.integration.slurm.world import TILES, User
from tests.support.slurm_cluster import SlurmCluster
from tests.support.worlds import make_bundle, make_tiles, mixing_model

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    make_tiles(folder, TILES)
    make_bundle(folder / "bundle", mixing_model())
    return folder


@pytest.fixture
def user(slurm: SlurmCluster, tmp_path: Path, repo: Path) -> User:
    made = User(slurm, tmp_path)
    made.checkout(repo)
    return made


def test_a_pilot_cuts_the_work_up(user: User, archive: Path, repo: Path) -> None:
    # What its batch script still writes must not bring the pilot's folder back.
    user.checkout(repo, linger=2)
    user.predict(archive, predict={"tasks": "auto"}, resources={"time": 10})
    said = user.type("submit", "night.yaml", "--backend", "slurm", "--wait")
    assert "pilot   16 tiles" in said
    assert "tiles/s on " in said
    assert f"{TILES} done, 0 rejected, 0 missing" in said
    run = user.run("night")
    assert [entry.gpus for entry in run.record.measured] == [0]
    assert [path.name for path in (user.folder / "runs" / "night").iterdir() if not path.is_symlink()] == [
        run.record.id
    ]


def test_a_stage_has_a_pilot_of_its_own(user: User, archive: Path) -> None:
    job = yaml.safe_load(user.predict(archive, predict={"tasks": "auto"}).read_text())
    stages = {"kind": "pipeline", "stages": {"masks": {"job": job | {"name": "masks"}}}}
    (user.folder / "nightly.yaml").write_text(yaml.safe_dump(stages))
    user.type("submit", "nightly.yaml", "--backend", "slurm")
    found = user.over("nightly", timeout=300)
    assert (found["state"], found["code"]) == ("done", 0), user.type("logs", "nightly")
    pipeline = find_pipeline("nightly", user.folder / "runs")
    assert pipeline is not None
    run, pilot = pipeline.stage("masks"), pipeline.pilot("masks")
    assert run is not None
    assert pilot is not None
    assert len(run.record.measured) == 1
    assert pilot.record.tiles == 16
