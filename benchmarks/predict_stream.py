"""Predicting from files to masks, against its own stages and against a notebook's loop.

256x256 JPEG tiles with PNG truth, scored. Two networks, both at 128x128: the MobileNetV2 U-Net with pix2pix decoder,
where the network rules, and one of a few weights, where everything else does. The large one learns for a moment first:
at random weights its masks are noise, which takes four times as long to encode as a mask that somebody wants. Stages,
whole and notebook take turns; half of the step comes before the whole and half after it, since what else a machine does
changes within seconds. Where other processes have their share of the processors, the wall clock is held against what is
left: before and after each whole, as many threads as there are processors hash for a moment, and tell.
"""

from __future__ import annotations

import hashlib
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segbatch.inference.bench import Stages, Timed

LEAST_OF_STEP = 0.95
MOST_CPU = 1.10
LEAST_OF_BOUND = 0.9
LEAST_TIMES = {"few weights": 3.0, "MobileNetV2": 1.0}
TILES = {"few weights": 6144, "MobileNetV2": 640}
"""As many as take ten to twenty seconds, since a task's start is no part of its speed."""
NOTEBOOK_TILES = 96
"""Tiles of the notebook's loop, whose speed does not depend on their number."""
SCENES, SCENE, TILE, SIDE = 12, 512, 256, 128
PAINTED = SCENES * (SCENE // TILE) ** 2
LESSONS = 10
BATCH, ROUNDS = 16, 5
NAMES = ("ground", "forest", "water", "road")
LABELS = {
    "name": "bench",
    "classes": [{"id": number, "name": name, "color": [60 * number, 99, 0]} for number, name in enumerate(NAMES)],
}


def measure() -> Iterator[tuple[str, bool]]:
    """Compare in this process."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paint(folder, max(TILES.values()))
        for network in TILES:
            yield from _compare(network, stages_of(folder, network))


def paint(folder: Path, count: int) -> None:
    """Paint tiles into `images` and `masks`: `PAINTED` pictures, under as many names as are wanted."""
    from PIL import Image

    from segbatch.demo.landscape import paint_scene

    for kind in ("images", "masks"):
        (folder / kind).mkdir()
    number = 0
    for scene_number in range(SCENES):
        scene = paint_scene(7, scene_number, SCENE)
        for top in range(0, SCENE, TILE):
            for left in range(0, SCENE, TILE):
                part = (slice(top, top + TILE), slice(left, left + TILE))
                Image.fromarray(scene.image[part]).save(folder / "images" / f"{number:05}.jpg", quality=90)
                Image.fromarray(scene.mask[part]).save(folder / "masks" / f"{number:05}.png")
                number += 1
    for copy in range(number, count):
        for place in ("images/{:05}.jpg", "masks/{:05}.png"):
            os.link(folder / place.format(copy % number), folder / place.format(copy))


def stages_of(folder: Path, network: str, *, truth: bool = True, taught: bool = True) -> Stages:
    """Make a bundle and a job over painted tiles, ready to be timed."""
    from segbatch.inference.bench import Stages
    from segbatch.models.bundle import save_bundle
    from segbatch.runs.plan import make_plan
    from segbatch.spec.bundle import BundleInfo
    from segbatch.spec.job import PredictJob
    from segbatch.spec.labels import Labels

    labels = Labels.model_validate(LABELS)
    info = BundleInfo(name="bench", labels=labels, head="multiclass", input=(SIDE, SIDE))
    bundle = folder / network.replace(" ", "-")
    save_bundle(bundle, _network(network, folder if taught else None), info)
    job = PredictJob.model_validate(
        {
            "kind": "predict",
            "name": "bench",
            "data": {"root": str(folder), "images": "images"} | ({"masks": "masks"} if truth else {}),
            "model": str(bundle),
            "predict": {"batch_size": BATCH},
        }
    )
    return Stages(
        make_plan(job, folder / "bench.yaml", runs_root=folder / "runs"), TILES[network], folder / f"out {network}"
    )


def _network(network: str, folder: Path | None) -> Any:
    import keras

    from segbatch.models.build import build
    from segbatch.spec.network import Model

    if network == "MobileNetV2":
        model = Model.model_validate({"encoder": "mobilenet_v2", "input": [SIDE, SIDE]})
        built = build(model, bands=3, channels=len(NAMES), seed=0)
        if folder is not None:
            _teach(built, folder)
        return built
    x = inputs = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Conv2D(4, 3, strides=4, padding="same", activation="relu")(x)
    x = keras.layers.Conv2D(len(NAMES), 1)(x)
    return keras.Model(inputs, keras.layers.UpSampling2D(4)(x))


def _teach(model: Any, folder: Path) -> None:
    """Let a network see the painted tiles often enough for masks with areas and edges, like those of real use."""
    import keras
    import numpy as np
    from PIL import Image

    keras.utils.set_random_seed(0)
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            # So few steps must be enough for its averages.
            layer.momentum = 0.8
    images, masks = (sorted((folder / kind).iterdir())[:PAINTED] for kind in ("images", "masks"))
    seen = np.stack([np.asarray(Image.open(path).resize((SIDE, SIDE))) for path in images]).astype(np.float32) / 255
    truth = np.stack([np.asarray(Image.open(path).resize((SIDE, SIDE), Image.Resampling.NEAREST)) for path in masks])
    model.compile(keras.optimizers.Adam(3e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(seen, truth, batch_size=BATCH, epochs=LESSONS, verbose=0)


def _compare(network: str, stages: Stages) -> Iterator[tuple[str, bool]]:
    from segbatch.inference.lanes import Lanes
    from segbatch.inference.step import Step

    step = stages.step_by("tensorflow")
    alone = stages.step_by("tensorflow")
    assert isinstance(alone, Step)
    alone.lanes = Lanes(0)
    batches = stages.batches(step)
    stages.batches(alone)
    notebook = Notebook(stages)
    count = TILES[network] // BATCH
    rounds: list[dict[str, Timed]] = []
    free: list[float] = []
    for number in range(ROUNDS + 1):
        one_by_one = stages.step(alone, count // 4)
        first = stages.step(step, count // 2)
        before = available()
        whole = stages.whole(step)
        free.append((before + available()) / 2)
        rounds.append(
            {
                "whole": whole,
                "step": first + stages.step(step, count // 2),
                "step, batch after batch": one_by_one + stages.step(alone, count // 4),
                "data": stages.data(),
                "encode": stages.encode(batches),
                "write": stages.write(batches),
                "notebook": notebook.run(),
            }
        )
        if number == 0:
            rounds.clear(), free.clear()
    yield from _judged(network, rounds, free)


def _judged(network: str, rounds: list[dict[str, Timed]], free: list[float]) -> Iterator[tuple[str, bool]]:
    def median(stage: str, figure: str) -> float:
        return statistics.median(getattr(found[stage], figure) / found[stage].tiles for found in rounds)

    own = sum(median(stage, "cpu") for stage in ("data", "step", "encode", "write"))
    rates = ", ".join(f"{stage} {1 / median(stage, 'cpu'):.0f}" for stage in rounds[0])
    cores = statistics.median(free)
    yield f"{network}, tiles a CPU second: {rates}; {cores:.2f} processors were free", True
    if network == "MobileNetV2":
        shares = {
            kind: statistics.median(
                found[kind].seconds / found[kind].tiles / found["whole"].seconds * found["whole"].tiles
                for found in rounds
            )
            for kind in ("step, batch after batch", "step")
        }
        share, of_two = shares.values()
        said = f"whole {share:.3f} of the step alone, batch after batch (at least {LEAST_OF_STEP})"
        yield (
            f"{network}: {said}; {of_two:.3f} of the step on several at a time, as tasks have it",
            share >= LEAST_OF_STEP,
        )
    else:
        times = median("whole", "cpu") / own
        yield f"{network}: CPU of the whole {times:.3f} times its stages' (at most {MOST_CPU})", times <= MOST_CPU
        bounds = [
            max(own / found_free, found["step"].seconds / found["step"].tiles)
            / (found["whole"].seconds / found["whole"].tiles)
            for found, found_free in zip(rounds, free, strict=True)
        ]
        share = statistics.median(bounds)
        yield (
            f"{network}: {share:.3f} of the speed that the free processors or the step allow (at least "
            f"{LEAST_OF_BOUND})",
            share >= LEAST_OF_BOUND,
        )
    least = LEAST_TIMES[network]
    for figure, name in (("seconds", "wall clock"), ("cpu", "CPU")):
        times = median("notebook", figure) / median("whole", figure)
        yield f"{network}: {times:.2f} times a notebook's loop by {name} (at least {least})", times >= least


class Notebook:
    """A notebook's way: load a batch with Pillow, `model.predict`, argmax, save one by one; nothing is scored."""

    def __init__(self, stages: Stages) -> None:
        self._stages = stages
        self._root = Path(stages.job.data.root, "images")
        self._images = sorted(self._root.iterdir())[:NOTEBOOK_TILES]
        self._folder = Path(tempfile.mkdtemp(dir=self._root.parent))

    def run(self) -> Timed:
        """Predict and save."""
        from segbatch.inference.bench import timed

        return timed(len(self._images), self._loop)

    def _loop(self) -> None:
        import numpy as np
        from PIL import Image

        model = self._stages.bundle.model
        for start in range(0, len(self._images), BATCH):
            paths = self._images[start : start + BATCH]
            pictures = [np.asarray(Image.open(path).convert("RGB").resize((SIDE, SIDE))) for path in paths]
            scores = model.predict(np.stack(pictures).astype(np.float32) / 255, verbose=0)
            for path, score in zip(paths, scores, strict=True):
                mask = Image.fromarray(score.argmax(axis=-1).astype(np.uint8))
                mask.resize((TILE, TILE), Image.Resampling.NEAREST).save(self._folder / f"{path.stem}.png")


def available(seconds: float = 0.3) -> float:
    """Processors that are free for this process just now, by letting as many threads hash as there are."""
    block = bytes(1 << 20)
    stop = time.perf_counter() + seconds

    def busy() -> None:
        while time.perf_counter() < stop:
            hashlib.sha256(block)

    threads = [threading.Thread(target=busy) for _ in range(len(os.sched_getaffinity(0)))]
    cpu, begun = time.process_time(), time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (time.process_time() - cpu) / (time.perf_counter() - begun)
