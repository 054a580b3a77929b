"""The gate's decision: does a challenger take the champion's place? A pure function of both models' counts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from segbatch.errors import InputError
from segbatch.evaluation.bootstrap import resampled_gains
from segbatch.evaluation.tally import Tally, class_figures, figure
from segbatch.runs.splits import group_of
from segbatch.spec.gate import Gate, unknown_class
from segbatch.spec.metrics import kind_of
from segbatch.spec.section import Section

EPSILON = 1e-9
"""Differences below this are rounding."""


class ClassChange(Section):
    """One class under both models."""

    name: str
    champion: float | None
    """IoU (Dice, where the metric is a Dice); None where the class is neither in truth nor in prediction."""
    challenger: float | None

    @property
    def gain(self) -> float | None:
        """Challenger's figure minus champion's; None where one of them is undefined."""
        if self.champion is None or self.challenger is None:
            return None
        return self.challenger - self.champion


class Rule(Section):
    """One thing that promotion asks for, and whether it is so."""

    name: str
    kept: bool
    words: str
    """With its figures."""


class Decision(Section):
    """Whether a challenger is promoted, and why."""

    promote: bool
    rules: tuple[Rule, ...]
    metric: str
    champion: float | None
    """The metric on the whole holdout; None where there is no champion, or it is undefined."""
    challenger: float | None
    share: float | None = None
    """Share of the resamples in which the challenger is the better."""
    interval: tuple[float, float] | None = None
    """Between these the gain lies in a share `confidence` of the resamples, the rest halved on both sides."""
    classes: tuple[ClassChange, ...]
    units: int
    """Tiles, or groups, with a valid pixel: what is drawn in a resample."""
    unit: str
    """`tiles` or `groups`."""

    @property
    def gain(self) -> float | None:
        """Challenger's figure minus champion's."""
        if self.champion is None or self.challenger is None:
            return None
        return self.challenger - self.champion

    @property
    def verdict(self) -> str:
        """The decision in a line."""
        if self.promote:
            return "promote: " + ("every rule is kept" if len(self.rules) > 1 else self.rules[0].words)
        return "keep the champion: " + "; ".join(rule.words for rule in self.rules if not rule.kept)


@dataclass(frozen=True)
class Contest:
    """Both models' counts on one holdout, by tile, in the same order."""

    names: Sequence[str]
    """Of the classes."""
    tiles: Sequence[str]
    challenger: Tally
    """[N, C]."""
    champion: Tally | None
    """None where there is no champion yet."""


def decide(contest: Contest, gate: Gate, *, seed: int = 0) -> Decision:
    """Compare a challenger with the champion by the gate's rules.

    Promotion asks for all of: a gain in the metric of at least `min_gain`; no class that falls by more than
    `max_class_loss`; a share of at least `confidence` of the paired bootstrap's resamples in which the challenger is
    the better. Where there is no champion, the first challenger with a figure is promoted.

    Args:
        contest: counts of both.
        gate: the rules.
        seed: of the resamples; equal input and seed give an equal decision.

    Raises:
        InputError: the metric's class is none of the labels, or a tile belongs to no group.
    """
    wrong = unknown_class(gate, contest.names)
    if wrong is not None:
        raise InputError(f"gate.metric: {wrong.message}")
    units = _units(contest, gate)
    challenger = _value(units.challenger, gate.metric, contest.names)
    champion = None if units.champion is None else _value(units.champion, gate.metric, contest.names)
    share, interval = None, None
    if units.champion is not None and len(units.challenger):
        gains = resampled_gains(
            units.champion, units.challenger, gate.metric, contest.names, resamples=gate.resamples, seed=seed
        )
        share, interval = float((gains > EPSILON).mean()), _interval(gains, gate.confidence)
    decision = Decision(
        promote=False,
        rules=(),
        metric=gate.metric,
        champion=champion,
        challenger=challenger,
        share=share,
        interval=interval,
        classes=tuple(_changes(units, gate.metric)),
        units=len(units.challenger),
        unit="groups" if gate.group else "tiles",
    )
    rules = tuple(_rules(decision, gate) if units.champion is not None else _first(decision))
    return decision.model_copy(update={"rules": rules, "promote": all(rule.kept for rule in rules)})


def _units(contest: Contest, gate: Gate) -> Contest:
    """Put the tiles of a group together, and leave out what has no valid pixel."""
    names = _group_names(contest.tiles, gate)
    known = {name: number for number, name in enumerate(sorted(set(names)))}
    places = np.array([known[name] for name in names], np.intp)
    challenger = contest.challenger.grouped(places, len(known))
    valid = challenger.truth() > 0

    def some(tally: Tally) -> Tally:
        return Tally(tally.tp[valid], tally.fp[valid], tally.fn[valid])

    champion = None if contest.champion is None else some(contest.champion.grouped(places, len(known)))
    kept = [name for name, number in known.items() if valid[number]]
    return Contest(contest.names, kept, some(challenger), champion)


def _group_names(tiles: Sequence[str], gate: Gate) -> list[str]:
    try:
        return [group_of(tile, None, gate.group) for tile in tiles]
    except InputError as error:
        raise InputError(str(error).replace("data.split.group", "gate.group")) from None


def _value(tally: Tally, metric: str, names: Sequence[str]) -> float | None:
    return _plain(float(figure(tally.total(), metric, names)))


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value


def _interval(gains: np.ndarray, confidence: float) -> tuple[float, float] | None:
    defined = gains[~np.isnan(gains)]
    if not len(defined):
        return None
    low, high = np.quantile(defined, ((1 - confidence) / 2, (1 + confidence) / 2))
    return float(low), float(high)


def _changes(units: Contest, metric: str) -> Iterator[ClassChange]:
    new = class_figures(units.challenger.total(), kind_of(metric))
    old = (
        np.full_like(new, np.nan) if units.champion is None else class_figures(units.champion.total(), kind_of(metric))
    )
    for name, before, after in zip(units.names, old.tolist(), new.tolist(), strict=True):
        yield ClassChange(name=name, champion=_plain(before), challenger=_plain(after))


def _first(decision: Decision) -> Iterator[Rule]:
    known = decision.challenger is not None
    words = "there is no champion yet" if known else f"{decision.metric} is undefined on this holdout"
    yield Rule(name="first", kept=known, words=words)


def _rules(decision: Decision, gate: Gate) -> Iterator[Rule]:
    yield _gain_rule(decision, gate)
    yield _class_rule(decision, gate)
    yield _luck_rule(decision, gate)


def _gain_rule(decision: Decision, gate: Gate) -> Rule:
    gain = decision.gain
    if gain is None:
        return Rule(name="gain", kept=False, words=f"{gate.metric} is undefined for one of the two")
    words = f"gain in {gate.metric} {gain:+.4f}, asked for at least {gate.min_gain:g}"
    return Rule(name="gain", kept=gain >= gate.min_gain - EPSILON, words=words)


def _class_rule(decision: Decision, gate: Gate) -> Rule:
    what = "Dice" if kind_of(gate.metric) == "dice" else "IoU"
    falls = sorted((change.gain, change.name) for change in decision.classes if change.gain is not None)
    over = [(gain, name) for gain, name in falls if gain < -gate.max_class_loss - EPSILON]
    if over:
        words = ", ".join(f"{name} {gain:+.4f}" for gain, name in over)
        words = f"{what} of {words}, allowed is a fall of {gate.max_class_loss:g}"
    elif falls and falls[0][0] < 0:
        words = f"largest fall in {what}: {falls[0][1]} {falls[0][0]:+.4f}, allowed is {gate.max_class_loss:g}"
    else:
        words = "no class falls"
    return Rule(name="classes", kept=not over, words=words)


def _luck_rule(decision: Decision, gate: Gate) -> Rule:
    share = decision.share or 0.0
    # Were both equally good, each unit would still favour one by chance: all of n do so once in 2^n.
    needed = math.ceil(-math.log2(1 - gate.confidence) - EPSILON)
    if decision.units < needed:
        words = (
            f"{decision.units} {decision.unit} are too few to tell gain from luck at a confidence of "
            f"{gate.confidence:g}, which takes {needed}"
        )
        return Rule(name="luck", kept=False, words=words)
    words = (
        f"better in {100 * share:.1f} % of {gate.resamples} resamples of {decision.units} {decision.unit}, asked for "
        f"{100 * gate.confidence:g} %"
    )
    return Rule(name="luck", kept=share >= gate.confidence, words=words)
