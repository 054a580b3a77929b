"""Batches computed side by side."""

from __future__ import annotations

import threading

import pytest

from segbatch.inference.lanes import Lanes
from tests.support.waiting import WAIT_S, until


def test_as_many_at_once_as_there_are_lanes() -> None:
    together = threading.Barrier(2)
    lanes = Lanes(2)
    waits = [lanes.start(lambda: together.wait(WAIT_S)) for _ in range(2)]
    assert sorted(wait() for wait in waits) == [0, 1]


def test_whoever_starts_more_than_can_wait_waits() -> None:
    lanes, go = Lanes(1), threading.Event()
    waits = [lanes.start(lambda: go.wait(WAIT_S)) for _ in range(2)]
    third = threading.Thread(target=lambda: waits.append(lanes.start(lambda: True)))
    third.start()
    third.join(0.05)
    assert third.is_alive()
    assert len(waits) == 2
    go.set()
    third.join(WAIT_S)
    assert all(wait() for wait in waits)
    assert len(waits) == 3


def test_what_went_wrong_is_raised_to_whoever_asks_and_the_next_is_computed() -> None:
    lanes = Lanes(1)
    bad = [lanes.start(lambda: 1 // 0) for _ in range(3)]
    for wait in bad:
        with pytest.raises(ZeroDivisionError):
            wait()
    assert lanes.start(lambda: 7)() == 7


def test_what_takes_no_time_is_not_handed_over() -> None:
    lanes = Lanes(2)
    assert lanes.start(threading.get_ident)() != threading.get_ident()
    until(lambda: lanes.start(threading.get_ident)() == threading.get_ident())


def test_without_lanes_nothing_is_handed_over() -> None:
    assert Lanes(0).start(threading.get_ident)() == threading.get_ident()
