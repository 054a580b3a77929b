"""Predicting against a PyTorch pipeline of the same encoder and about as many weights, with its fastest settings.

PyTorch and segmentation_models.pytorch are installed in an environment of their own, `build/torch`, the first time.
Both ways take 256x256 JPEG tiles without truth to PNG masks. The processes take turns; each starts anew, and what is
compared leaves out their start.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.predict_stream import paint, stages_of
from segbatch.spec.engines import missing_packages

ENVIRONMENT = Path("build", "torch")
PACKAGES = ("torch==2.13.0", "segmentation-models-pytorch==0.6.0", "pillow")
ROUNDS = 3
NETWORK, TILES = "MobileNetV2", 320


def measure() -> Iterator[tuple[str, bool]]:
    """Compare by wall clock and by processor time."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    python = _environment()
    if python is None:
        yield f"a PyTorch pipeline: not run, {' '.join(PACKAGES)} could not be installed", False
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paint(folder, TILES)
        stages = stages_of(folder, NETWORK, truth=False, taught=False)
        engines = [engine for engine in ("tensorflow", "openvino") if not missing_packages(engine)]
        steps = {engine: stages.step_by(engine) for engine in engines}
        for step in steps.values():
            stages.results(stages.batches(step))
        ours: dict[str, list[tuple[float, float]]] = {engine: [] for engine in engines}
        theirs: dict[str, list[tuple[float, float]]] = {}
        for _ in range(ROUNDS):
            for engine, step in steps.items():
                whole = stages.whole(step)
                ours[engine].append((whole.seconds / whole.tiles, whole.cpu / whole.tiles))
            for setting, figures in _torch(python, folder / "images"):
                theirs.setdefault(setting, []).append(figures)
    # The fastest engine is what `engine: auto` takes once it was measured.
    fastest = min(ours, key=lambda engine: _median(ours[engine], 0))
    best = min(theirs, key=lambda setting: _median(theirs[setting], 0))
    for engine in engines:
        for figure, name in enumerate(("wall clock", "CPU")):
            one, two = _median(ours[engine], figure), _median(theirs[best], figure)
            line = f"{engine} {1 / one:.1f} tiles/s, PyTorch ({best}) {1 / two:.1f} by {name}: {two / one:.2f} times"
            judged = engine == fastest
            yield f"{line} (at least 1)" if judged else line, two >= one or not judged


def _median(rows: list[tuple[float, float]], figure: int) -> float:
    return statistics.median(row[figure] for row in rows)


def _torch(python: Path, images: Path) -> Iterator[tuple[str, tuple[float, float]]]:
    program = Path(__file__).with_name("torch_pipeline.py")
    command = [str(python), str(program), str(images), str(TILES)]
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environ).stdout
    for found in map(json.loads, said.splitlines()):
        if "seconds" in found:
            form, workers, reader = found["setting"]
            yield f"{form}, {workers} workers, {reader}", (found["seconds"] / TILES, found["cpu"] / TILES)


def _environment() -> Path | None:
    """Make the environment if it is not there; returns its Python."""
    python = ENVIRONMENT / "bin" / "python"
    ready = ENVIRONMENT / ".ready"
    if not ready.exists():
        try:
            subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
        except subprocess.CalledProcessError:
            return None
        ready.touch()
    return python.absolute()
