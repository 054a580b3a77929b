"""What `segbatch bench` measures, and what follows from it."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from segbatch.inference.bench import Stages, Timed, differing
from segbatch.inference.costs import PLAIN, options_of
from segbatch.runs.measured import Measured, MeasuredEngine
from segbatch.runs.node import gpus, node_kind
from segbatch.runs.plan import Plan
from segbatch.spec.engines import NEEDS, engine_version, missing_packages

ROOM = 1.25
"""Readers and writers are to be faster than the step by this much, so that they seldom hold it up."""
ENOUGH = 0.97
"""Share of the best batch size's rate at which a smaller one will do."""


@dataclass(frozen=True)
class Bench:
    """Everything that was measured."""

    stages: dict[str, Timed]
    """By name, in the order of the work; the steps are called `step, <engine>`."""
    batch_sizes: dict[int, float]
    """Tiles a second of the fastest engine's step."""
    failed: dict[str, str]
    """Engines that cannot be used here, and why."""
    cold: dict[str, float]
    """Seconds by part from a task's start to its first mask."""
    megapixels: float
    """Of one tile."""
    costs: dict[str, tuple[float, float]]
    """Of each way to better masks, alone: times the step's and times the encoding's cost without any."""
    measured: Measured

    @property
    def whole(self) -> Timed:
        """All stages together, with the fastest engine."""
        return self.stages["whole"]

    @property
    def bottleneck(self) -> str:
        """The stage that takes the most processor time, or, of those that a GPU does, the most time."""
        costs = {name: stage.cpu / stage.tiles for name, stage in self.stages.items() if name in self._own}
        step = f"step, {self.measured.fastest.engine}"
        if self.measured.gpus:
            costs[step] = max(costs[step], self.stages[step].seconds / self.stages[step].tiles)
        return max(costs, key=lambda name: costs[name])

    @property
    def own_cpu(self) -> float:
        """Processor seconds a tile, summed over the stages alone."""
        return sum(self.stages[name].cpu / self.stages[name].tiles for name in self._own)

    @property
    def _own(self) -> tuple[str, ...]:
        return ("read and decode", f"step, {self.measured.fastest.engine}", "encode", "write")


def measure(plan: Plan, listing: Timed, tiles: int, folder: Path, say: Callable[[str], None]) -> Bench:
    """Measure a predict job.

    Args:
        plan: the job's.
        listing: the time that listing its tiles took.
        tiles: number of tiles to measure with.
        folder: for what is written.
        say: is told what comes next.

    Raises:
        InputError: none of the tiles can be read.
    """
    say("loading the model")
    stages = Stages(plan, tiles, folder)
    found = {"list": listing}
    say("reading and decoding")
    stages.data()
    found |= {"read": stages.read(), "read and decode": stages.data()}
    engines, failed = _engines(stages, found, say)
    step = stages.step_by("tensorflow")
    batches = stages.batches(step)
    say("encoding and writing")
    found |= {"encode": stages.encode(batches), "write": stages.write(batches)}
    fastest = Measured.best(engines)
    say(f"the whole, with {fastest.engine}")
    chosen = step if fastest.engine == "tensorflow" else stages.step_by(fastest.engine)
    stages.batches(chosen)
    found["whole"] = stages.whole(chosen)
    sizes = _batch_sizes(stages, fastest.engine, say)
    costs = _costs(stages, fastest.engine, by_gpu=bool(plan.job.resources.gpus), say=say)
    say("a task's start")
    cold = stages.cold_start()
    readers, writers = _threads(found, found[f"step, {fastest.engine}"].rate, stages.writers)
    measured = Measured(
        node=node_kind(),
        gpus=len(gpus()) if plan.job.resources.gpus else 0,
        bundle=stages.digest,
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        rate=found["whole"].rate,
        start=sum(cold.values()),
        batch_size=min(size for size, rate in sizes.items() if rate >= ENOUGH * max(sizes.values())),
        readers=readers,
        writers=writers,
        engines=engines,
    )
    return Bench(found, sizes, failed, cold, stages.megapixels, costs, measured)


def _engines(
    stages: Stages, found: dict[str, Timed], say: Callable[[str], None]
) -> tuple[tuple[MeasuredEngine, ...], dict[str, str]]:
    """Time every engine that is here, and compare its masks with TensorFlow's."""
    measured: list[MeasuredEngine] = []
    failed: dict[str, str] = {}
    reference = None
    for engine in NEEDS:
        if missing := missing_packages(engine):
            failed[engine] = f"no {', '.join(missing)}"
            continue
        say(f"the step, with {engine}")
        try:
            step = stages.step_by(engine)
            results = stages.results(stages.batches(step))
            timed = stages.step(step)
        except Exception as error:
            # What an exporter or engine raises for a layer that it does not know differs from one to the next.
            if engine == "tensorflow":
                raise
            failed[engine] = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            continue
        reference = reference or results
        found[f"step, {engine}"] = timed
        share = differing(reference, results)
        version = engine_version(engine)
        entry = {"engine": engine, "version": version, "rate": timed.rate, "differing": share}
        measured.append(MeasuredEngine.model_validate(entry))
    return tuple(measured), failed


def _batch_sizes(stages: Stages, engine: str, say: Callable[[str], None]) -> dict[int, float]:
    now = stages.settings.batch_size
    if stages.settings.fit == "window":
        return {now: 1.0}
    rates = {}
    for size in sorted({max(now // 2, 1), now, now * 2}):
        say(f"batches of {size}")
        at = stages.with_batch(size)
        step = at.step_by(engine)
        at.results(at.batches(step))
        rates[size] = at.step(step).rate
    return rates


def _costs(stages: Stages, engine: str, *, by_gpu: bool, say: Callable[[str], None]) -> dict[str, tuple[float, float]]:
    """Time step and encoding with each way to better masks alone: processor time, or the clock where a GPU works."""
    taken: dict[str, tuple[float, float]] = {}
    for name, settings in options_of(stages.bundle, stages.settings).items():
        say(f"the cost of {name}")
        at = stages.with_settings(settings)
        step = at.step_by(engine)
        batches = at.batches(step)
        both = (at.step(step), at.encode(batches))
        taken[name] = (both[0].seconds if by_gpu else both[0].cpu, both[1].cpu)
    step_s, encode_s = taken.pop(PLAIN)
    return {name: (one / step_s, two / encode_s) for name, (one, two) in taken.items()}


def _threads(found: dict[str, Timed], step: float, threads: int) -> tuple[int, int]:
    """Readers and writers that keep up with the step; `threads` wrote in the measurement."""
    processors = len(os.sched_getaffinity(0))
    write = 1 / (1 / found["encode"].cpu_rate + threads / found["write"].rate)
    readers = math.ceil(ROOM * step / found["read and decode"].cpu_rate)
    writers = math.ceil(ROOM * step / write)
    return min(max(readers, 1), processors), min(max(writers, 1), 2 * processors)
