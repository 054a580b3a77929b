"""Small data sets and models that tests make."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from segbatch.errors import Exit
from segbatch.runs.creation import create_run
from segbatch.runs.plan import make_plan
from segbatch.runs.run import Run
from segbatch.spec.job import KINDS
from segbatch.spec.labels import Labels
from segbatch.worker import STOP_SIGNALS, run_task
from tests.support.labels import TWO_CLASSES

GREEN_FROM = 128


def paint_tile(rng: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a smooth random picture, uint8 [H, W, 3], and its truth: ids, 1 where its green is above the middle."""
    coarse = rng.integers(0, 256, (max(height // 8, 1) + 1, max(width // 8, 1) + 1, 3), dtype=np.uint8)
    picture = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BILINEAR))
    return picture, (picture[..., 1] >= GREEN_FROM).astype(np.uint8)


def make_tiles(
    folder: Path, count: int, *, size: tuple[int, int] | Sequence[tuple[int, int]] = (32, 32), seed: int = 0
) -> Path:
    """Write `images/` (PNG, so that pixels are exact) and `masks/` with ids 0 and 1."""
    rng = np.random.default_rng(seed)
    sizes = [size] * count if isinstance(size, tuple) else [size[n % len(size)] for n in range(count)]
    for number, (height, width) in enumerate(sizes):  # type: ignore[misc]
        picture, truth = paint_tile(rng, height, width)
        name = f"{'abc'[number % 3]}/tile {number:04}"
        for kind, pixels in (("images", picture), ("masks", truth)):
            path = folder / kind / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    return folder


def green_model(side: int = 32) -> Any:
    """A network that says class 1 where green is at least half: a 1x1 convolution with given weights."""
    import keras

    inputs = keras.Input((side, side, 3))
    layer = keras.layers.Conv2D(1, 1)
    model = keras.Model(inputs, layer(inputs))
    weights = np.zeros((1, 1, 3, 1), np.float32)
    weights[0, 0, 1, 0] = 255.0
    layer.set_weights([weights, np.array([-(GREEN_FROM - 0.5)], np.float32)])
    return model


def mixing_model(side: int = 32, classes: int = 2, seed: int = 7) -> Any:
    """A small random network whose every output pixel depends on many input pixels."""
    import keras

    keras.utils.set_random_seed(seed)
    x = inputs = keras.Input((side, side, 3))
    x = keras.layers.Conv2D(8, 5, padding="same", activation="relu")(x)
    x = keras.layers.Conv2D(8, 5, strides=2, padding="same", activation="relu")(x)
    x = keras.layers.Conv2DTranspose(8, 3, strides=2, padding="same", activation="relu")(x)
    return keras.Model(inputs, keras.layers.Conv2D(1 if classes == 2 else classes, 1)(x))


def make_bundle(folder: Path, model: Any, labels: Labels = TWO_CLASSES, **info: Any) -> Path:
    """Save a network as a bundle."""
    from segbatch.models.bundle import save_bundle
    from segbatch.spec.bundle import BundleInfo

    height, width = model.input_shape[1:3]
    head = "binary" if model.output_shape[-1] == 1 else "multiclass"
    settings = {"name": "test", "labels": labels, "head": head, "input": (height, width)} | info
    save_bundle(folder, model, BundleInfo.model_validate(settings))
    return folder


def make_run(root: Path, kind: str, data: dict[str, Any], **sections: Any) -> Run:
    """Plan and write a run; nothing is started."""
    job = KINDS[kind].model_validate({"kind": kind, "name": f"test-{kind}", "data": data, **sections})
    return create_run(make_plan(job, root / "job.yaml", runs_root=root / "runs"))


def complete(run: Run) -> int:
    """Run all tasks and the finishing one in this process; return the last exit code."""
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    try:
        for task in run.tasks:
            assert run_task(run.paths.folder, task) == Exit.OK
        return run_task(run.paths.folder, None)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def write_job(path: Path, **sections: Any) -> Path:
    """Write a job file."""
    path.write_text(yaml.safe_dump(sections, sort_keys=False))
    return path


def outputs(run: Run) -> dict[str, bytes]:
    """Return all masks and the report's CSV files of a run, by their path."""
    folder = run.paths.folder
    files = [*folder.glob("masks/**/*.png"), *folder.glob("probabilities/**/*.png"), *folder.glob("report/*.csv")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
