"""Checkpoints: everything a training is, in one file that is whole or noticed not to be.

A checkpoint is an uncompressed `.npz`: the variables in order and a JSON state. Each member has its CRC-32, so that a
torn or damaged file is found out on reading and the one before it is used.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segbatch.errors import InputError
from segbatch.runs.files import replacing
from segbatch.training.identity import Identity

Arrays = Sequence[NDArray[np.generic]]


class DamagedCheckpointError(Exception):
    """A checkpoint that cannot be read back as it was written."""


def write_arrays(path: Path, arrays: Arrays, state: Mapping[str, Any]) -> None:
    """Write arrays and a JSON state as one file, by way of a temporary file."""
    members = {_member(number): array for number, array in enumerate(arrays)}
    text = json.dumps({**state, "variables": len(arrays)}, allow_nan=False).encode()
    with replacing(path) as handle:
        np.savez(handle, allow_pickle=False, state=np.frombuffer(text, np.uint8), **members)  # type: ignore[arg-type]


def read_arrays(path: Path) -> tuple[list[NDArray[np.generic]], dict[str, Any]]:
    """Read what `write_arrays` wrote.

    Raises:
        DamagedCheckpointError: the file is missing, cut short or changed.
    """
    try:
        with zipfile.ZipFile(path) as members:
            state = _read_state(members)
            arrays = [_read_member(members, _member(number)) for number in range(state["variables"])]
    # A changed byte can make the archive's reader fail in a dozen ways, and each means the same.
    except Exception as error:
        raise DamagedCheckpointError(f"{path}: {error or type(error).__name__}") from error
    return arrays, state


def _member(number: int) -> str:
    return f"variable-{number:05d}"


def _read_member(members: zipfile.ZipFile, name: str) -> NDArray[np.generic]:
    # Through `read`, which checks the CRC-32 of the whole member; `np.load` stops where the array seems to end.
    array: NDArray[np.generic] = np.lib.format.read_array(io.BytesIO(members.read(f"{name}.npy")), allow_pickle=False)
    return array


def _read_state(members: zipfile.ZipFile) -> dict[str, Any]:
    state: dict[str, Any] = json.loads(_read_member(members, "state").tobytes())
    return state


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint, read and found whole."""

    path: Path
    arrays: list[NDArray[np.generic]]
    """All variables, in order."""
    state: dict[str, Any]
    """The training's state, as it was given."""
    changed: tuple[str, ...] = ()
    """What has been changed since in the job or its data, in words."""


class Checkpoints:
    """The checkpoints of one training: the last few, and the weights of the best epoch.

    Args:
        folder: where they lie; made when the first is written.
        identity: the training they must belong to.
        log: told of damaged files, and of changes.
        keep: how many are kept.
        force: go on from a checkpoint of another identity.
        tidy: whether damaged and unfinished files are put away; only one process of a training may.
    """

    def __init__(
        self,
        folder: Path,
        identity: Identity,
        log: Callable[[str], None] = print,
        *,
        keep: int = 2,
        force: bool = False,
        tidy: bool = True,
    ) -> None:
        self._folder, self._identity, self._log = folder, identity, log
        self._keep, self._force, self._tidy = keep, force, tidy

    @property
    def folder(self) -> Path:
        """Where they lie."""
        return self._folder

    def latest(self) -> Checkpoint | None:
        """Read the newest checkpoint that is whole, with its best epoch's weights whole too.

        What a killed attempt left half written is removed, and damaged checkpoints are renamed.

        Raises:
            InputError: it belongs to another job or other data; the message names what differs.
        """
        if self._tidy:
            for path in self._folder.glob(".*.npz.*.tmp"):
                path.unlink(missing_ok=True)
        for path in reversed(self._all()):
            try:
                arrays, state = read_arrays(path)
                if state["best_epoch"] is not None:
                    self.best(state["best_epoch"])
            except DamagedCheckpointError as error:
                self._log(f"damaged checkpoint left aside, the one before it is used: {error}")
                if self._tidy:
                    path.replace(path.with_name(f"damaged-{path.name}"))
                continue
            changed = self._check(path, state["identity"])
            return Checkpoint(path, arrays, state["training"], changed)
        return None

    def _check(self, path: Path, saved: Mapping[str, Any]) -> tuple[str, ...]:
        different = self._identity.differences(saved)
        if not different:
            return ()
        shown = "; ".join(different[:5]) + (f"; and {len(different) - 5} more" if len(different) > 5 else "")
        if not self._force:
            raise InputError(
                f"{path}: this checkpoint belongs to another training: {shown}. Put the settings back as they were, "
                "submit the job as a new run, or go on all the same with `segbatch resume --force`."
            )
        self._log(f"going on although the job was changed: {shown}")
        return tuple(different)

    def write(self, epoch: int, position: int, arrays: Arrays, training: Mapping[str, Any], best: int | None) -> Path:
        """Write a checkpoint and remove what it makes superfluous.

        Args:
            epoch: epochs finished.
            position: samples done in the running epoch.
            arrays: all variables, in order.
            training: state, as plain JSON values.
            best: epoch whose weights `write_best` has written before, if any.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"checkpoint-{epoch:06d}-{position:09d}.npz"
        state = {
            "identity": self._identity.to_json(),
            "training": dict(training),
            "best_epoch": best,
        }
        write_arrays(path, arrays, state)
        self._prune()
        return path

    def write_best(self, epoch: int, arrays: Arrays) -> None:
        """Write the model's variables as those of the best epoch; the checkpoint that names it comes after."""
        self._folder.mkdir(parents=True, exist_ok=True)
        write_arrays(self._best_path(epoch), arrays, {"epoch": epoch})

    def best(self, epoch: int) -> list[NDArray[np.generic]]:
        """Read the model's variables of the best epoch.

        Raises:
            DamagedCheckpointError: the file is missing or damaged.
        """
        return read_arrays(self._best_path(epoch))[0]

    def _best_path(self, epoch: int) -> Path:
        return self._folder / f"best-{epoch:06d}.npz"

    def _all(self) -> list[Path]:
        """Checkpoints, oldest first."""
        return sorted(self._folder.glob("checkpoint-*.npz"))

    def _prune(self) -> None:
        """Keep the last checkpoints, and the best weights that one of them names."""
        found = self._all()
        for path in found[: -self._keep]:
            path.unlink(missing_ok=True)
        named = {self._best_path(epoch) for path in found[-self._keep :] for epoch in _best_named(path)}
        for path in self._folder.glob("best-*.npz"):
            if path not in named:
                path.unlink(missing_ok=True)


def _best_named(path: Path) -> list[int]:
    try:
        with zipfile.ZipFile(path) as members:
            epoch = _read_state(members)["best_epoch"]
    except (OSError, zipfile.BadZipFile):
        return []
    return [] if epoch is None else [epoch]
