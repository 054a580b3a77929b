"""The writers' queue: in order, bounded, and further threads only where work piles up."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from segbatch.inference.backlog import Backlog
from tests.support.waiting import until


@pytest.mark.parametrize("ranks", [1, 3])
def test_everything_is_taken_once_and_in_order(ranks: int) -> None:
    backlog: Backlog[int] = Backlog(2, ranks)
    taken: list[int] = []

    def take(rank: int) -> list[int]:
        own = []
        while (thing := backlog.get(rank)) is not None:
            own.append(thing)
            taken.append(thing)
        return own

    with ThreadPoolExecutor(ranks) as threads:
        found = [threads.submit(take, rank) for rank in range(ranks)]
        for number in range(200):
            backlog.put(number)
        backlog.close()
    assert all(own.result() == sorted(own.result()) for own in found)
    assert sorted(taken) == list(range(200))


def test_a_further_thread_waits_until_work_piles_up() -> None:
    backlog: Backlog[str] = Backlog(4, 2)
    taken: list[str] = []

    def second() -> None:
        while (thing := backlog.get(1)) is not None:
            taken.append(thing)

    thread = threading.Thread(target=second)
    thread.start()
    backlog.put("first")
    assert backlog.get(0) == "first"
    backlog.put("second")
    backlog.put("third")
    until(lambda: taken == ["second"])
    backlog.close()
    thread.join()
    assert taken == ["second", "third"]


def test_put_waits_for_room() -> None:
    backlog: Backlog[int] = Backlog(1, 1)
    backlog.put(1)
    done = threading.Event()
    thread = threading.Thread(target=lambda: (backlog.put(2), done.set()))
    thread.start()
    assert not done.is_set()
    assert [backlog.get(0), backlog.get(0)] == [1, 2]
    thread.join()
    assert done.is_set()
