"""The gate's decision: worked numbers, an independent bootstrap, and what no input may do."""

from __future__ import annotations

import random
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segbatch.errors import InputError
from segbatch.evaluation.bootstrap import resampled_gains
from segbatch.evaluation.gate import Contest, Decision, decide
from segbatch.evaluation.scores import score
from segbatch.evaluation.tally import figure, tally
from segbatch.spec.gate import Gate

NAMES = ["ground", "forest"]


def tile(found: int, missed: int = 0, wrong: int = 0, ground: int = 100) -> np.ndarray:
    """Counts of a tile with two classes, by the pixels of forest."""
    return np.array([[ground, wrong, 0], [missed, found, 0]], np.int64)


def contest(champion: Sequence[np.ndarray] | None, challenger: Sequence[np.ndarray], tiles: Any = None) -> Contest:
    names = tiles or [f"{number:03}.png" for number in range(len(challenger))]
    old = None if champion is None else tally(champion, 2)
    return Contest(NAMES, names, tally(challenger, 2), old)


def decided(champion: Sequence[np.ndarray] | None, challenger: Sequence[np.ndarray], **rules: Any) -> Decision:
    return decide(contest(champion, challenger), Gate.model_validate(rules))


def kept(decision: Decision) -> dict[str, bool]:
    return {rule.name: rule.kept for rule in decision.rules}


def test_worked_numbers() -> None:
    # Champion, all tiles: forest tp 6 * 50, fn 6 * 50; ground tp 600, fp 300.
    # IoU forest 300 / 600 = 0.5, ground 600 / 900 = 2/3; mean 7/12.
    # Challenger: forest tp 6 * 80, fn 6 * 20: 480 / 600 = 0.8; ground 600 / 720 = 5/6; mean 49/60.
    decision = decided([tile(50, 50)] * 6, [tile(80, 20)] * 6, min_gain=0.2)
    assert decision.champion == pytest.approx(7 / 12)
    assert decision.challenger == pytest.approx(49 / 60)
    assert decision.gain == pytest.approx(14 / 60)
    assert [change.gain for change in decision.classes] == pytest.approx([5 / 6 - 2 / 3, 0.3])
    # Equal tiles: every resample gains the same.
    assert decision.interval == pytest.approx((14 / 60, 14 / 60))
    assert (decision.share, decision.units, decision.unit) == (1.0, 6, "tiles")
    assert decision.promote
    assert decision.verdict == "promote: every rule is kept"


def test_a_gain_that_is_too_small_keeps_the_champion() -> None:
    decision = decided([tile(50, 50)] * 6, [tile(80, 20)] * 6, min_gain=0.25)
    assert kept(decision) == {"gain": False, "classes": True, "luck": True}
    assert decision.verdict == "keep the champion: gain in iou +0.2333, asked for at least 0.25"


def test_a_gain_of_exactly_the_least_is_enough() -> None:
    # IoU of forest 0.2 and 0.3, whose difference in binary is a little below 0.1.
    decision = decided([tile(20, 80)] * 6, [tile(30, 70)] * 6, metric="iou:forest", min_gain=0.1)
    assert kept(decision)["gain"]


def test_no_class_may_pay_for_the_others() -> None:
    # Ground: 1000 / 1010 to 900 / 1000; forest: 10 / 20 to 20 / 120: the accuracy falls, too.
    champion, challenger = [tile(10, 10, 0, 1000)] * 6, [tile(20, 0, 100, 900)] * 6
    decision = decided(champion, challenger, metric="iou", max_class_loss=0.05)
    assert not kept(decision)["classes"]
    assert "IoU of forest -0.3333, ground -0.0901, allowed is a fall of 0.05" in decision.verdict


def test_a_class_that_falls_keeps_the_champion_though_the_metric_gains() -> None:
    # Forest: 50 / 100 to 100 / 160. Ground: 500 / 550 to 440 / 500.
    champion, challenger = [tile(50, 50, 0, 500)] * 6, [tile(100, 0, 60, 440)] * 6
    strict = decided(champion, challenger, metric="iou:forest", max_class_loss=0.02)
    assert strict.gain == pytest.approx(0.125)
    assert kept(strict) == {"gain": True, "classes": False, "luck": True}
    assert strict.verdict == "keep the champion: IoU of ground -0.0291, allowed is a fall of 0.02"
    assert decided(champion, challenger, metric="iou:forest", max_class_loss=0.03).promote


def test_a_fall_of_exactly_the_most_is_allowed() -> None:
    # IoU of forest 0.3 and 0.2.
    decision = decided([tile(30, 70)] * 6, [tile(20, 80)] * 6, max_class_loss=0.1)
    assert kept(decision)["classes"]


def test_one_lucky_tile_is_not_enough() -> None:
    # Ten tiles lose a little, one gains much: better in sum, but a third of the resamples draw without it.
    champion = [tile(50, 50)] * 10 + [tile(0, 1000)]
    challenger = [tile(49, 51)] * 10 + [tile(900, 100)]
    decision = decided(champion, challenger, metric="iou:forest", max_class_loss=1)
    assert decision.gain is not None
    assert decision.gain > 0.3
    # All eleven draws miss the tile with probability (10 / 11) ** 11 = 0.3505.
    assert decision.share == pytest.approx(1 - (10 / 11) ** 11, abs=0.04)
    assert kept(decision) == {"gain": True, "classes": True, "luck": False}


def test_few_tiles_cannot_rule_out_luck() -> None:
    # If both were equally good, all of 4 tiles would favour one of them once in 16: more often than 0.05.
    assert kept(decided([tile(50, 50)] * 4, [tile(80, 20)] * 4))["luck"] is False
    assert kept(decided([tile(50, 50)] * 5, [tile(80, 20)] * 5))["luck"] is True
    assert kept(decided([tile(50, 50)] * 3, [tile(80, 20)] * 3, confidence=0.875))["luck"] is True


def test_groups_are_drawn_as_one() -> None:
    # Forty tiles, but one scene that gains and four that lose a little.
    tiles = [f"scene{number % 5}/{number}.png" for number in range(40)]
    champion = [tile(50, 50)] * 40
    challenger = [tile(100, 0) if name.startswith("scene0") else tile(49, 51) for name in tiles]
    alone = decide(contest(champion, challenger, tiles), Gate.model_validate({"metric": "iou:forest"}))
    scenes = Gate.model_validate({"metric": "iou:forest", "group": {"folder": 1}})
    grouped = decide(contest(champion, challenger, tiles), scenes)
    assert (alone.units, grouped.units, grouped.unit) == (40, 5, "groups")
    assert grouped.gain == alone.gain
    assert kept(alone)["luck"]
    # All five draws miss the scene with probability 0.8 ** 5 = 0.328.
    assert grouped.share == pytest.approx(1 - 0.8**5, abs=0.04)
    assert not grouped.promote
    by_name = Gate.model_validate({"metric": "iou:forest", "group": {"pattern": "scene([0-9])"}})
    assert decide(contest(champion, challenger, tiles), by_name) == grouped


def test_the_first_model_needs_no_champion() -> None:
    decision = decided(None, [tile(50, 50)] * 2)
    assert decision.promote
    assert (decision.champion, decision.gain, decision.share) == (None, None, None)
    assert decision.verdict == "promote: there is no champion yet"
    assert not decided(None, [np.zeros((2, 3), np.int64)]).promote


def test_the_same_model_does_not_win() -> None:
    same = [tile(50, 50), tile(70, 30)] * 5
    decision = decided(same, same)
    assert (decision.gain, decision.share) == (0.0, 0.0)
    assert kept(decision) == {"gain": True, "classes": True, "luck": False}


def test_a_class_that_is_nowhere_has_no_figure() -> None:
    empty = [tile(0, 0)] * 6
    decision = decided(empty, empty, metric="iou:forest")
    assert (decision.champion, decision.challenger) == (None, None)
    assert decision.classes[1].gain is None
    assert "iou:forest is undefined for one of the two" in decision.verdict
    # A challenger that no longer sees forest where there is none: from IoU 0 to undefined, which is no fall.
    better = decided([tile(0, 0, 10, 90)] * 6, empty, metric="accuracy")
    assert kept(better) == {"gain": True, "classes": True, "luck": True}


def test_an_unknown_class_is_named_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"no class 'forst' in the labels\. Did you mean 'forest'"):
        decided([tile(1)], [tile(1)], metric="iou:forst")


def test_a_tile_without_group_is_named() -> None:
    with pytest.raises(InputError, match=r"^gate\.group\.folder: 000\.png lies in 0 folders, expected 1"):
        decided([tile(1)], [tile(1)], group={"folder": 1})


def tables(classes: int) -> st.SearchStrategy[np.ndarray]:
    cell = st.integers(0, 30) | st.just(0)
    return st.lists(cell, min_size=classes * (classes + 1), max_size=classes * (classes + 1)).map(
        lambda cells: np.array(cells, np.int64).reshape(classes, classes + 1)
    )


@given(st.lists(tables(3), min_size=1, max_size=6))
def test_figures_are_those_of_the_reports(counts: list[np.ndarray]) -> None:
    names = ["a", "b", "c"]
    sums = tally(counts, 3).total()
    expected = score(sum(counts, np.zeros((3, 4), np.int64)))
    pairs = {"iou": expected.mean_iou, "dice": expected.mean_dice, "accuracy": expected.accuracy}
    pairs |= {f"iou:{name}": value for name, value in zip(names, expected.iou, strict=True)}
    pairs |= {f"dice:{name}": value for name, value in zip(names, expected.dice, strict=True)}
    for metric, value in pairs.items():
        found = float(figure(sums, metric, names))
        assert np.isnan(found) if value is None else found == pytest.approx(value, abs=1e-12)


def slow_bootstrap(
    champion: list[np.ndarray], challenger: list[np.ndarray], draws: int, source: random.Random
) -> list[float]:
    """Mean IoU by fractions and loops, tiles drawn by another generator."""

    def mean_iou(tables: list[np.ndarray]) -> Fraction:
        values = []
        for place in range(2):
            both = sum(int(table[place, place]) for table in tables)
            true = sum(int(table[place].sum()) for table in tables)
            said = sum(int(table[:, place].sum()) for table in tables)
            if true + said - both:
                values.append(Fraction(both, true + said - both))
        return sum(values, Fraction(0)) / len(values)

    gains = []
    for _ in range(draws):
        chosen = [source.randrange(len(champion)) for _ in champion]
        gains.append(float(mean_iou([challenger[at] for at in chosen]) - mean_iou([champion[at] for at in chosen])))
    return gains


def test_the_bootstrap_agrees_with_a_slow_one() -> None:
    rng = np.random.default_rng(3)
    champion = [tile(int(found), 100 - int(found), 5) for found in rng.integers(30, 90, 25)]
    challenger = [
        tile(int(found), 100 - int(found), 5)
        for found in np.clip([table[1, 1] for table in champion] + rng.integers(-12, 15, 25), 0, 100)
    ]
    old, new = tally(champion, 2), tally(challenger, 2)
    gains = resampled_gains(old, new, "iou", NAMES, resamples=4000, seed=1)
    slow = np.array(slow_bootstrap(champion, challenger, 2000, random.Random(5)))
    # Both estimate the same distribution: mean, spread, tails.
    assert gains.mean() == pytest.approx(slow.mean(), abs=0.1 * slow.std())
    assert gains.std() == pytest.approx(slow.std(), rel=0.08)
    assert np.quantile(gains, [0.05, 0.5, 0.95]) == pytest.approx(np.quantile(slow, [0.05, 0.5, 0.95]), abs=2e-3)
    assert (gains > 0).mean() == pytest.approx((slow > 0).mean(), abs=0.04)


def test_draws_in_pieces_are_paired_and_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    champion, challenger = tally([tile(50, 50), tile(10, 90)] * 4, 2), tally([tile(60, 40), tile(20, 80)] * 4, 2)
    monkeypatch.setattr("segbatch.evaluation.bootstrap._CELLS", 50)
    gains = resampled_gains(champion, challenger, "iou:forest", NAMES, resamples=101, seed=0)
    # Every tile gains ten pixels of a hundred of forest, so every pair of draws does.
    assert gains == pytest.approx(np.full(101, 0.1))


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(tables(2), tables(2)), min_size=1, max_size=8), st.integers(0, 5), st.booleans())
def test_decisions_are_reproducible_and_kept_to_the_rules(
    pairs: list[tuple[np.ndarray, np.ndarray]], seed: int, accuracy: bool
) -> None:
    champion, challenger = [old for old, _ in pairs], [new for _, new in pairs]
    gate = Gate.model_validate({"metric": "accuracy" if accuracy else "iou", "resamples": 200})
    decision = decide(contest(champion, challenger), gate, seed=seed)
    assert decide(contest(champion, challenger), gate, seed=seed) == decision
    assert decision.promote == all(rule.kept for rule in decision.rules)
    if decision.promote:
        assert decision.gain is not None
        assert decision.gain >= 0
        assert decision.share is not None
        assert decision.share >= 0.95
        # What wins cannot lose to what it beat.
        assert not decide(contest(challenger, champion), gate, seed=seed).promote
