"""Learning rates and dropout rates as pure functions of the place in a phase."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from segbatch.spec.optimizer import Schedule


@dataclass(frozen=True)
class Place:
    """Where in a phase a step is."""

    epoch: int
    """Epochs of the phase that are done."""
    step: int
    """Steps of the running epoch that are done."""
    epochs: int
    """Epochs of the phase."""
    steps: int
    """Steps of an epoch."""

    @property
    def done(self) -> int:
        """Steps of the phase that are done."""
        return self.epoch * self.steps + self.step

    @property
    def whole(self) -> int:
        """Steps of the phase."""
        return self.epochs * self.steps


def rate_at(schedule: Schedule, base: float, place: Place, factor: float = 1.0) -> float:
    """Learning rate of the step that comes next.

    During a warm-up of w steps, step s (from 0) has (s + 1) / (w + 1) of the rate after it. With x the share of the
    remaining steps that is done: cosine is final + (base - final) (1 + cos(pi x)) / 2 (Loshchilov and Hutter 2017,
    arXiv:1608.03983, without restarts), polynomial final + (base - final) (1 - x) ^ power (Liu et al. 2015,
    arXiv:1506.04579).

    Args:
        schedule: the job's.
        base: the optimiser's own rate.
        place: where the step is.
        factor: what `plateau` has come to; 1 before its first fall.
    """
    warm = schedule.warmup_steps or round(schedule.warmup_epochs * place.steps)
    if place.done < warm:
        after = Place(0, warm, place.epochs, place.steps)
        return _warm(schedule, base, after, warm, factor) * (place.done + 1) / (warm + 1)
    return _warm(schedule, base, place, warm, factor)


def _warm(schedule: Schedule, base: float, place: Place, warm: int, factor: float) -> float:
    """Rate of a step after the warm-up."""
    if schedule.name == "step":
        return held(schedule.rates, place.epoch, base)
    if schedule.name == "plateau":
        return max(base * factor, min(schedule.min_rate, base))
    if schedule.name == "constant":
        return base
    share = min((place.done - warm) / max(place.whole - warm, 1), 1.0)
    left = (1 + math.cos(math.pi * share)) / 2 if schedule.name == "cosine" else (1 - share) ** schedule.power
    return schedule.final + (base - schedule.final) * left


def held(pairs: Sequence[tuple[int, float]], epoch: int, before: float) -> float:
    """Value of the last pair whose epochs are done, or `before` if there is none."""
    value = before
    for start, rate in pairs:
        if start <= epoch:
            value = rate
    return value
