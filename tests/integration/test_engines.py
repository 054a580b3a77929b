"""Networks run by other engines than TensorFlow: the same masks, exported once, one engine a run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from segbatch.errors import Exit
from segbatch.runs.bundles import bundle_digest
from segbatch.runs.measured import read_measured
from segbatch.runs.pipelines import find_pipeline
from segbatch.runs.run import Run, open_run
from segbatch.spec.engines import missing_packages
from segbatch.worker import STOP_SIGNALS, run_task
from tests.support.needs import lacking
from tests.support.worlds import make_bundle, make_run, make_tiles, mixing_model, write_job

pytestmark = pytest.mark.tensorflow
SIDE = 32


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("engines")
    # The last batch is not full, and one holds tiles of two sizes.
    make_tiles(folder, 10, size=[(SIDE, SIDE)] * 9 + [(40, 48)])
    make_bundle(folder / "model", mixing_model(SIDE, classes=2))
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def predicted(world: Path, root: Path, **settings: object) -> Run:
    folders = {"root": str(world), "images": "images", "masks": "masks"}
    settings = {"batch_size": 4} | settings
    run = make_run(root, "predict", folders, model=str(world / "model"), predict=settings)
    assert run_task(run.paths.folder, 0) == Exit.OK
    return run


def masks(run: Run) -> dict[str, np.ndarray]:
    found = {}
    for path in sorted(run.paths.masks.rglob("*.png")):
        found[str(path.relative_to(run.paths.masks))] = np.asarray(Image.open(path))
    return found


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_an_engine_gives_tensorflows_masks_and_exports_once(world: Path, tmp_path: Path, engine: str) -> None:
    if missing := missing_packages(engine):
        lacking(f"no {', '.join(missing)}: pip install -e '.[dev]'")
    expected = masks(predicted(world, tmp_path / "tf", engine="tensorflow"))
    run = predicted(world, tmp_path / "one", engine=engine)
    found = masks(run)
    assert found.keys() == expected.keys()
    wrong = sum(int((found[name] != expected[name]).sum()) for name in expected)
    assert wrong <= 1e-4 * sum(mask.size for mask in expected.values())
    record = json.loads((run.paths.folder / "engine.json").read_bytes())
    assert record["engine"] == engine
    exports = [path for path in (world / "model" / "engines").iterdir() if engine in path.name]
    made = [(path, path.stat().st_mtime_ns) for path in exports[0].iterdir()]
    again = predicted(world, tmp_path / "two", engine=engine, probabilities=True)
    assert {name: mask.tobytes() for name, mask in masks(again).items()} == {
        name: mask.tobytes() for name, mask in found.items()
    }
    assert [(path, path.stat().st_mtime_ns) for path in exports[0].iterdir()] == made
    assert not list((world / "model" / "engines").glob(".*"))


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_windows_and_views_by_another_engine(world: Path, tmp_path: Path, engine: str) -> None:
    if missing := missing_packages(engine):
        lacking(f"no {', '.join(missing)}: pip install -e '.[dev]'")
    settings = {"fit": "window", "overlap": 8, "test_time_augmentation": ["flips"]}
    expected = masks(predicted(world, tmp_path / "tf", engine="tensorflow", **settings))
    found = masks(predicted(world, tmp_path / "other", engine=engine, **settings))
    wrong = sum(int((found[name] != expected[name]).sum()) for name in expected)
    assert wrong <= 1e-4 * sum(mask.size for mask in expected.values())


def test_a_run_keeps_its_engine_and_takes_what_was_measured_fastest(world: Path, tmp_path: Path) -> None:
    run = predicted(world, tmp_path, engine="auto")
    assert json.loads((run.paths.folder / "engine.json").read_bytes())["engine"] == "tensorflow"
    log = json.loads((run.paths.task(0).progress).read_bytes())
    assert set(log["start"]) == {"imports", "tiles", "model", "engine", "wait for tiles", "first batch"}


def test_a_bundle_that_cannot_be_written_is_exported_to_the_users_cache(world: Path, tmp_path: Path) -> None:
    from segbatch.inference.engines.exported import exported
    from segbatch.models.bundle import Bundle
    from segbatch.spec.bundle import read_info

    blocked = tmp_path / "model"
    blocked.mkdir()
    # A file where the folder would be: also root cannot make one there.
    (blocked / "engines").write_bytes(b"")
    bundle = Bundle(read_info(world / "model"), None, blocked)  # type: ignore[arg-type]
    calls: list[Path] = []

    def export(folder: Path) -> None:
        calls.append(folder)
        (folder / "network").write_bytes(b"1")

    first = exported(bundle, "sha256:" + "ab" * 32, "engine-1", export)
    assert first == Path(os.environ["XDG_CACHE_HOME"], "segbatch", "engines", "abababababababab-engine-1-32x32")
    assert exported(bundle, "sha256:" + "ab" * 32, "engine-1", export) == first
    assert len(calls) == 1
    assert (first / "network").read_bytes() == b"1"


def test_bench_saves_what_a_run_then_takes(world: Path, tmp_path: Path) -> None:
    folders = {"root": str(world), "images": "images", "masks": "masks"}
    job = {"kind": "predict", "name": "night", "data": folders, "model": str(world / "model")}
    write_job(tmp_path / "night.yaml", **job, predict={"batch_size": 4, "tasks": "auto"})
    (tmp_path / "site.yaml").write_text("# The user's own.\nparallel: 1\n")

    def segbatch(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "segbatch", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    unknown = segbatch("plan", "night.yaml", "--backend", "local")
    assert "by the model's speed, which a pilot measures first" in unknown.stdout
    said = segbatch("bench", "night.yaml", "--tiles", "8", "--save")
    assert said.returncode == 0, said.stderr
    for word in ("list", "read and decode", "step, tensorflow", "encode", "write", "whole", "bottleneck", "first mask"):
        assert word in said.stdout
    measured = read_measured(tmp_path / "bench.json")
    assert [entry.bundle for entry in measured] == [bundle_digest(world / "model")]
    assert measured[0].engines[0].differing == 0
    assert not list((tmp_path / "runs").iterdir())
    planned = segbatch("plan", "night.yaml", "--backend", "local")
    assert planned.returncode == 0, planned.stderr
    assert "1 of 12 tiles" in planned.stdout
    assert "5 min" in planned.stdout


def test_what_was_not_measured_is_measured_by_a_pilot(world: Path, tmp_path: Path) -> None:
    folders = {"root": str(world), "images": "images", "masks": "masks"}
    job = {"kind": "predict", "name": "night", "data": folders, "model": str(world / "model")}
    write_job(tmp_path / "night.yaml", **job, predict={"batch_size": 1, "tasks": "auto"})
    stage = {"job": "night.yaml", "set": {"name": "masks"}}
    (tmp_path / "both.yaml").write_text(yaml.safe_dump({"kind": "pipeline", "stages": {"masks": stage}}))

    def segbatch(*arguments: str) -> str:
        command = [sys.executable, "-m", "segbatch", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == Exit.OK, done.stdout + done.stderr
        return done.stdout

    said = segbatch("submit", "night.yaml", "--backend", "local", "--wait")
    assert "pilot   8 tiles, to see how fast the model is where tasks run" in said
    assert "1 tasks of 10 tiles, 5 min each at most" in said
    (run,) = [path for path in (tmp_path / "runs" / "night").iterdir() if not path.is_symlink()]
    (entry,) = open_run(run).record.measured
    assert entry.bundle == bundle_digest(world / "model")
    assert len(masks(open_run(run))) == 10
    segbatch("submit", "both.yaml", "--backend", "local", "--wait")
    pipeline = find_pipeline("both", tmp_path / "runs")
    assert pipeline is not None
    stage_run = pipeline.stage("masks")
    assert stage_run is not None
    assert len(stage_run.record.measured) == 1
    assert len(masks(stage_run)) == 10
