"""Promote, rollback, prune and register in any order, one within another, cut short anywhere: the champion is valid."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import patch

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from segbatch.errors import SegbatchError
from segbatch.runs.champions import promote, rollback, standing
from segbatch.runs.model_folder import Registry
from segbatch.runs.model_pruning import Keep, prune
from segbatch.runs.model_registry import register, resolve, verify, versions
from tests.support.broken_disk import CrashError, steps
from tests.support.fake_models import fake_bundle

START = datetime(2026, 11, 20, tzinfo=UTC)


@dataclass(frozen=True)
class Expected:
    """What a registry should hold, by the simplest bookkeeping there is."""

    known: tuple[str, ...] = ()
    line: tuple[str, ...] = ()
    """Champions from the first to the one of now."""

    @property
    def former(self) -> list[str]:
        return list(dict.fromkeys(name for name in self.line[::-1] if name in self.known and name != self.line[-1]))

    def view(self) -> tuple[tuple[str, ...], str, list[str]]:
        return self.known, self.line[-1] if self.line else "", self.former

    def registered(self, name: str) -> Expected:
        return replace(self, known=(*self.known, name))

    def promoted(self, name: str) -> Expected:
        if name not in self.known or self.line[-1:] == (name,):
            return self
        return replace(self, line=(*self.line, name))

    def rolled_back(self) -> Expected:
        if not self.former:
            return self
        line = list(self.line[:-1])
        while line[-1] != self.former[0]:
            line.pop()
        return replace(self, line=tuple(line))

    def pruned(self, newest: int, champions: int) -> Expected:
        stay = {*self.line[-1:], *self.former[:champions], *(self.known[-newest:] if newest else ())}
        return replace(self, known=tuple(name for name in self.known if name in stay))


@dataclass(frozen=True)
class Deed:
    """Something done to the registry, and what should come of it."""

    do: Callable[[], object]
    expect: Callable[[Expected], Expected]

    def __call__(self) -> None:
        # Refusals leave everything as it is.
        with suppress(SegbatchError):
            self.do()


class Champions(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.flushing = patch.object(os, "fsync", lambda descriptor: None)
        self.flushing.start()
        self.registry = Registry(Path(self.folder.name, "registry"))
        self.model = self.registry.model("forest")
        self.count = 0
        self.expected = Expected()

    def teardown(self) -> None:
        self.flushing.stop()
        self.folder.cleanup()

    def registering(self) -> Deed:
        self.count += 1
        name, bundle = f"v{self.count}", fake_bundle(Path(self.folder.name, f"bundle{self.count}"), str(self.count))
        moment = START + timedelta(hours=self.count)
        return Deed(lambda: register(self.model, bundle, version=name, now=moment), lambda was: was.registered(name))

    def promoting(self, number: int) -> Deed:
        name = f"v{1 + number % max(self.count, 1)}"
        return Deed(lambda: promote(self.model, name), lambda was: was.promoted(name))

    def back(self) -> Deed:
        return Deed(lambda: rollback(self.model), Expected.rolled_back)

    def pruning(self, newest: int, champions: int, moment: datetime = START) -> Deed:
        keep = Keep(newest=newest, champions=champions)
        return Deed(lambda: prune(self.model, keep, now=moment), lambda was: was.pruned(newest, champions))

    def deed(self, data: st.DataObject) -> Deed:
        kind = data.draw(st.sampled_from(["register", "promote", "promote", "rollback", "prune"]))
        if kind == "register":
            return self.registering()
        if kind == "promote":
            return self.promoting(data.draw(st.integers(0, 9)))
        if kind == "rollback":
            return self.back()
        return self.pruning(data.draw(st.integers(0, 3)), data.draw(st.integers(0, 2)))

    @initialize()
    def first(self) -> None:
        for deed in (self.registering(), self.promoting(0)):
            deed()
            self.expected = deed.expect(self.expected)

    @rule(data=st.data())
    def undisturbed(self, data: st.DataObject) -> None:
        deed = self.deed(data)
        deed()
        self.expected = deed.expect(self.expected)
        assert self.view() == self.expected.view()

    @rule(data=st.data(), at=st.integers(0, 14))
    def crashed(self, data: st.DataObject, at: int) -> None:
        deed = self.deed(data)
        with suppress(CrashError), steps(at, None):
            deed()
        # Done as a whole or not at all.
        done = deed.expect(self.expected)
        assert self.view() in (self.expected.view(), done.view())
        if self.view() == done.view():
            self.expected = done

    @rule(data=st.data(), at=st.integers(0, 14))
    def two_at_once(self, data: st.DataObject, at: int) -> None:
        outer, inner = self.deed(data), self.deed(data)
        began = False

        def begin() -> None:
            nonlocal began
            began = True
            inner()

        with steps(at, begin):
            outer()
        if not began:
            self.expected = outer.expect(self.expected)
        else:
            orders = [inner.expect(outer.expect(self.expected)), outer.expect(inner.expect(self.expected))]
            fitting = [order for order in orders if order.view() == self.view()]
            assert fitting, (self.view(), [order.view() for order in orders])
            self.expected = fitting[0]
        assert self.view() == self.expected.view()

    @rule()
    def cleaned(self) -> None:
        """A prune that ends leaves nothing of what it, or one before that was cut short, removed."""
        deed = self.pruning(3, 2, datetime.now(UTC) + timedelta(days=2))
        deed()
        self.expected = deed.expect(self.expected)
        assert not [name for name in standing(self.model).removed if self.model.version(name).exists()]
        assert not self.model.unfinished()

    def view(self) -> tuple[tuple[str, ...], str, list[str]]:
        now = standing(self.model)
        return tuple(info.version for info in versions(self.model)), now.champion, list(now.former)

    @invariant()
    def the_champion_can_be_used(self) -> None:
        if self.count:
            found = resolve(self.registry, "forest@champion")
            verify(found)
            assert found.info.version == standing(self.model).champion


Champions.TestCase.settings = settings(max_examples=60, stateful_step_count=12, deadline=None)
TestChampions = Champions.TestCase
