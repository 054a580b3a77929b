"""Learning rates and dropout rates at every place of a phase, by worked numbers."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segbatch.spec.optimizer import Schedule
from segbatch.training.schedules import Place, held, rate_at


def rates(schedule: dict, base: float = 1.0, epochs: int = 2, steps: int = 4, factor: float = 1.0) -> list[float]:
    """Rates of all steps of a phase."""
    made = Schedule.model_validate(schedule)
    places = [Place(epoch, step, epochs, steps) for epoch in range(epochs) for step in range(steps)]
    return [rate_at(made, base, place, factor) for place in places]


def test_constant_and_step() -> None:
    assert rates({}) == [1.0] * 8
    # 1e-3, and 1e-4 once two epochs are done.
    stepped = rates({"name": "step", "rates": [[2, 1e-4]]}, 1e-3, epochs=4, steps=2)
    assert stepped == [1e-3] * 4 + [1e-4] * 4


def test_cosine() -> None:
    # Eighths of a half turn: (1 + cos(0)) / 2 = 1, (1 + cos(pi / 2)) / 2 = 0.5 in the middle.
    found = rates({"name": "cosine"})
    assert found[0] == 1.0
    assert found[4] == pytest.approx(0.5)
    assert found[2] == pytest.approx((1 + math.sqrt(0.5)) / 2)
    assert found[7] == pytest.approx((1 - math.cos(math.pi / 8)) / 2)
    assert rates({"name": "cosine", "final": 0.2})[4] == pytest.approx(0.6)


def test_polynomial() -> None:
    line = rates({"name": "polynomial", "power": 1.0})
    assert line == pytest.approx([1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125])
    # DeepLab's: (1 - 6 / 8) ^ 0.9 = 0.25 ^ 0.9 = 0.28717
    assert rates({"name": "polynomial"})[6] == pytest.approx(0.28717, abs=1e-5)


def test_warm_up_by_steps_and_by_epochs() -> None:
    # Three steps of warm-up: a quarter, a half, three quarters, then the whole.
    assert rates({"warmup_steps": 3}) == [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]
    # One epoch of four steps; the cosine goes over the four steps that are left.
    found = rates({"name": "cosine", "warmup_epochs": 1})
    assert found[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert found[6] == pytest.approx(0.5)


def test_plateau_falls_to_its_bound() -> None:
    schedule = {"name": "plateau", "min_rate": 0.3}
    assert rates(schedule, factor=0.5)[0] == 0.5
    assert rates(schedule, factor=0.25)[0] == 0.3
    assert rates(schedule, base=0.1, factor=0.25)[0] == 0.1


def test_held_values() -> None:
    dropout = ((0, 0.3), (13, 0.4), (23, 0.5))
    assert [held(dropout, epoch, 0.0) for epoch in (0, 12, 13, 22, 23, 99)] == [0.3, 0.3, 0.4, 0.4, 0.5, 0.5]


@given(
    name=st.sampled_from(["constant", "cosine", "polynomial"]),
    warmup=st.integers(0, 12),
    epochs=st.integers(1, 6),
    steps=st.integers(1, 9),
    final=st.floats(0, 0.5),
)
def test_rates_grow_in_the_warm_up_then_never_and_stay_within(
    name: str, warmup: int, epochs: int, steps: int, final: float
) -> None:
    schedule = {"name": name, "warmup_steps": warmup} | ({} if name == "constant" else {"final": final})
    found = rates(schedule, 1.0, epochs, steps)
    low = min(final, 1 / (warmup + 1))
    assert all(low - 1e-12 <= rate <= 1 + 1e-12 for rate in found)
    growing, falling = found[:warmup], found[warmup:]
    assert growing == sorted(growing)
    assert falling == sorted(falling, reverse=True)
