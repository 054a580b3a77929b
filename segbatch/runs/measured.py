"""What `segbatch bench --save` measured: one entry for each kind of node and bundle, in `bench.json`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from segbatch.errors import InputError
from segbatch.runs.bundles import bundle_digest
from segbatch.runs.files import write_json
from segbatch.runs.node import node_kind
from segbatch.spec.engines import LARGEST_DIFFERENCE, EngineName
from segbatch.spec.section import Section

SCHEMA_VERSION = 1


class MeasuredEngine(Section):
    """One engine."""

    engine: EngineName
    version: str
    rate: float
    """Tiles a second of its step alone."""
    differing: float
    """Share of pixels whose class is another than TensorFlow's."""


class Measured(Section):
    """One bundle on one kind of node."""

    node: str
    """As `node_kind` names it."""
    gpus: int
    """GPUs that were used."""
    bundle: str
    """Its digest."""
    time: str
    """When; UTC, ISO 8601."""
    rate: float
    """Tiles a second of the whole, with the fastest engine."""
    start: float
    """Seconds from the start of a task to its first mask."""
    batch_size: int
    readers: int
    writers: int
    engines: tuple[MeasuredEngine, ...]

    @property
    def fastest(self) -> MeasuredEngine:
        """The fastest engine whose masks agree with TensorFlow's."""
        return self.best(self.engines)

    @staticmethod
    def best(engines: Sequence[MeasuredEngine]) -> MeasuredEngine:
        """Return the fastest of those whose masks agree with TensorFlow's; TensorFlow's own do."""
        return max((one for one in engines if one.differing <= LARGEST_DIFFERENCE), key=lambda one: one.rate)


def read_measured(path: Path) -> tuple[Measured, ...]:
    """Read all measurements; none if there is no file.

    Raises:
        InputError: the file is damaged.
    """
    try:
        return tuple(Measured.model_validate(entry) for entry in json.loads(path.read_bytes())["entries"])
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: not the measurements of `segbatch bench --save`: {error}. Remove the file and measure again."
        ) from error


def save_measured(path: Path, entry: Measured) -> None:
    """Add an entry, in place of an older one of its node and bundle."""
    others = [old for old in read_measured(path) if (old.node, old.bundle) != (entry.node, entry.bundle)]
    path.parent.mkdir(parents=True, exist_ok=True)
    entries = [one.model_dump(mode="json") for one in (*others, entry)]
    write_json(path, {"schema_version": SCHEMA_VERSION, "entries": entries})


def of_bundle(entries: Sequence[Measured], bundle: Path) -> tuple[Measured, ...]:
    """Entries about a bundle, which is only read if there are entries at all."""
    if not entries:
        return ()
    digest = bundle_digest(bundle)
    return tuple(entry for entry in entries if entry.bundle == digest)


def of_this_node(entries: Iterable[Measured]) -> Measured | None:
    """Return the entry of this kind of node."""
    kind = node_kind()
    return next((entry for entry in entries if entry.node == kind), None)


def fastest_engine(entries: Iterable[Measured]) -> EngineName | None:
    """Name the engine measured fastest on this kind of node, among those whose masks agree; None without figures."""
    entry = of_this_node(entries)
    return entry.fastest.engine if entry else None
