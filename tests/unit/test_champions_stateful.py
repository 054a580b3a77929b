"""Promote, rollback, prune and register in any order, one within another, cut short anywhere: the champion is valid."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import patch

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from segbatch.errors import SegbatchError
from segbatch.runs.champions import promote, rollback, standing
from segbatch.runs.model_folder import ModelFolder, Registry
from segbatch.runs.model_pruning import Keep, prune
from segbatch.runs.model_registry import register, resolve, verify, versions
from tests.support.broken_disk import CrashError, steps
from tests.support.fake_models import fake_bundle

PLACES = 60
"""More than any deed has changes on disk."""
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
    """Something done to a registry, and what should come of it."""

    do: Callable[[ModelFolder], object]
    expect: Callable[[Expected], Expected]

    def __call__(self, model: ModelFolder) -> None:
        # Refusals leave everything as it is.
        with suppress(SegbatchError):
            self.do(model)


def view(model: ModelFolder) -> tuple[tuple[str, ...], str, list[str]]:
    """What the registry holds, in the words of `Expected.view`; the champion's bundle is whole."""
    now = standing(model)
    if now.champion:
        found = resolve(Registry(model.folder.parent), "forest@champion")
        verify(found)
        assert found.info.version == now.champion
    return tuple(info.version for info in versions(model)), now.champion, list(now.former)


class Champions(RuleBasedStateMachine):
    """Each deed is cut short, and another begun within it, at every place in turn, on copies of the registry."""

    def __init__(self) -> None:
        super().__init__()
        self.flushing = patch.object(os, "fsync", lambda descriptor: None)
        self.flushing.start()
        self.folder = Path(tempfile.mkdtemp())
        self.model = Registry(self.folder / "registry").model("forest")
        self.count, self.expected = 0, Expected()

    def teardown(self) -> None:
        self.flushing.stop()
        delete(self.folder)

    def registering(self) -> Deed:
        self.count += 1
        name, bundle = f"v{self.count}", fake_bundle(self.folder / f"bundle{self.count}", str(self.count))
        moment = START + timedelta(hours=self.count)
        return Deed(lambda model: register(model, bundle, version=name, now=moment), lambda was: was.registered(name))

    def promoting(self, number: int) -> Deed:
        name = f"v{1 + number % max(self.count, 1)}"
        return Deed(lambda model: promote(model, name), lambda was: was.promoted(name))

    def pruning(self, newest: int, champions: int, moment: datetime = START) -> Deed:
        keep = Keep(newest=newest, champions=champions)
        return Deed(lambda model: prune(model, keep, now=moment), lambda was: was.pruned(newest, champions))

    def deed(self, data: st.DataObject) -> Deed:
        kind = data.draw(st.sampled_from(["promote", "rollback", "prune", "register"]))
        if kind == "register":
            return self.registering()
        if kind == "promote":
            return self.promoting(data.draw(st.integers(0, 9)))
        if kind == "rollback":
            return Deed(rollback, Expected.rolled_back)
        return self.pruning(data.draw(st.integers(0, 2)), data.draw(st.integers(0, 2)))

    @contextmanager
    def copy(self) -> Iterator[ModelFolder]:
        root = self.folder / "copy"
        shutil.copytree(self.model.folder.parent, root, symlinks=True)
        yield Registry(root).model("forest")
        delete(root)

    @initialize()
    def first(self) -> None:
        for deed in (*(self.registering() for _ in range(3)), self.promoting(0)):
            deed(self.model)
            self.expected = deed.expect(self.expected)

    @rule(data=st.data())
    def undisturbed(self, data: st.DataObject) -> None:
        deed = self.deed(data)
        deed(self.model)
        self.expected = deed.expect(self.expected)
        assert view(self.model) == self.expected.view()
        assert self.model.link.resolve() == self.model.version(standing(self.model).champion).resolve()

    @rule(data=st.data())
    def cut_short(self, data: st.DataObject) -> None:
        """Done as a whole or not at all; and afterwards everything goes on."""
        deed, after = self.deed(data), self.deed(data)
        for at in range(PLACES):
            with self.copy() as model:
                try:
                    with steps(at, None):
                        deed(model)
                    break
                except CrashError:
                    outcomes = [self.expected, deed.expect(self.expected)]
                    fitting = [outcome for outcome in outcomes if outcome.view() == view(model)]
                    assert fitting
                    after(model)
                    assert view(model) in [after.expect(outcome).view() for outcome in fitting]
                    self.cleaned(model)
        else:
            raise AssertionError("more places than were looked at")

    @rule(data=st.data())
    def one_within_another(self, data: st.DataObject) -> None:
        """As if one had come after the other, in one order or the other."""
        outer, inner = self.deed(data), self.deed(data)
        orders = [inner.expect(outer.expect(self.expected)), outer.expect(inner.expect(self.expected))]
        for at in range(PLACES):
            began = []
            with self.copy() as model:

                def begin(model: ModelFolder = model, began: list[bool] = began) -> None:
                    began.append(True)
                    inner(model)

                with steps(at, begin):
                    outer(model)
                if not began:
                    break
                assert view(model) in [order.view() for order in orders]
                self.cleaned(model)
        else:
            raise AssertionError("more places than were looked at")

    def cleaned(self, model: ModelFolder) -> None:
        """A prune that ends leaves nothing of what it, or one before that was cut short, removed."""
        self.pruning(3, 2, datetime.now(UTC) + timedelta(days=2))(model)
        assert not [name for name in standing(model).removed if model.version(name).exists()]
        assert not model.unfinished()
        assert model.link.resolve() == model.version(standing(model).champion).resolve()


def delete(folder: Path) -> None:
    """Delete a folder with read-only ones in it."""
    for path in folder.rglob("*"):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    shutil.rmtree(folder)


# Not shrunk: a failure names its steps anyway, and shrinking would take minutes.
Champions.TestCase.settings = settings(
    max_examples=20, stateful_step_count=6, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate]
)
TestChampions = Champions.TestCase
