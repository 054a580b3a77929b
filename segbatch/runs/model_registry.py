"""Registering versions of models, finding them by name, and checking that they are still what was registered."""

from __future__ import annotations

import errno
import itertools
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from segbatch.errors import InputError, SegbatchError
from segbatch.runs.bundles import bundle_digest
from segbatch.runs.champions import Standing, require, standing
from segbatch.runs.files import digest, flush_tree, temporary_name, write_json
from segbatch.runs.model_folder import RESERVED, VERSION_FILE, ModelFolder, ModelVersion, Registry
from segbatch.spec.bundle import read_info
from segbatch.spec.model_name import CHAMPION, ModelName, is_plain_name, parse_model_name
from segbatch.spec.problems import did_you_mean


@dataclass(frozen=True)
class Found:
    """A registered version that a name stands for."""

    info: ModelVersion
    path: Path
    """Its bundle, absolute, without links."""
    folder: ModelFolder


def register(
    model: ModelFolder,
    bundle: Path,
    *,
    version: str = "",
    run: str = "",
    run_folder: str = "",
    data_digest: str = "",
    parent: str = "",
    scores: Mapping[str, Any] | None = None,
    now: datetime | None = None,
) -> ModelVersion:
    """Copy a bundle into the registry as a new version; it appears whole, read-only, and stays as it is.

    The same bundle of the same run is registered once: a second call returns the version that is there.

    Args:
        model: the model it is a version of.
        bundle: a bundle folder.
        version: name of the version; `.2` and so on follows where it is taken. Defaults to today's date, UTC.
        run: the train run that made it, as `job/run id`; by default the one that the bundle names.
        run_folder: where that run lies.
        data_digest: SHA-256 of what it was trained on; by default one over the tile list and split of the run that
            the bundle names.
        parent: the version that its training started from.
        scores: figures of its training, by name; by default those in the bundle.
        now: the time; by default that of the clock.

    Raises:
        InputError: `bundle` is no bundle, or no version can have this name.
    """
    info, moment = read_info(bundle), now or datetime.now(UTC)
    wanted = version or f"{moment.astimezone(UTC):%Y-%m-%d}"
    if not is_plain_name(wanted) or wanted in RESERVED:
        raise InputError(f"{wanted!r} cannot name a version. Expected letters and digits such as 2026-11-20 or v3.")
    model.folder.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(model.version(wanted))
    temporary.mkdir()
    try:
        for name in info.files:
            shutil.copyfile(bundle / name, temporary / name)
        made = ModelVersion(
            model=model.name,
            version=wanted,
            created=moment.isoformat(timespec="seconds"),
            digest=bundle_digest(temporary),
            data_digest=data_digest or _data_digest(info.provenance.get("digests")),
            parent=parent,
            run=run or str(info.provenance.get("run", "")),
            run_folder=run_folder,
            scores=dict(scores or info.provenance.get("scores") or {}),
        )
        there = _registered(model, made)
        return there or _settle(model, temporary, made)
    finally:
        remove_tree(temporary)


def _data_digest(digests: object) -> str:
    if not isinstance(digests, dict) or not {"tiles", "split"} <= digests.keys():
        return ""
    return digest(*(f"{name} {digests[name]}\n".encode() for name in ("tiles", "split")))


def _registered(model: ModelFolder, made: ModelVersion) -> ModelVersion | None:
    known = versions(model)
    return next((old for old in known if (old.digest, old.run) == (made.digest, made.run)), None)


def _settle(model: ModelFolder, temporary: Path, made: ModelVersion) -> ModelVersion:
    """Give a finished folder the first name that is free and was never another version's."""
    for number in itertools.count(1):
        name = made.version if number == 1 else f"{made.version}.{number}"
        place = model.version(name)
        # The folder first: one that prune has deleted was named as removed before.
        if place.exists() or name in standing(model).removed:
            continue
        named = made.model_copy(update={"version": name})
        write_json(temporary / VERSION_FILE, named.model_dump(mode="json"))
        for path in temporary.iterdir():
            path.chmod(0o444)
        flush_tree(temporary)
        try:
            temporary.rename(place)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            continue
        # A prune at the same time that keeps nothing may have deleted it already.
        with suppress(FileNotFoundError):
            place.chmod(0o555)
        return named
    raise AssertionError("numbers do not end")


def remove_tree(folder: Path) -> None:
    """Delete a folder that may be read-only, perhaps together with another that does so; there may be none."""
    while folder.is_dir() and not folder.is_symlink():
        with suppress(FileNotFoundError):
            folder.chmod(0o755)
            shutil.rmtree(folder)


def versions(model: ModelFolder, now: Standing | None = None) -> list[ModelVersion]:
    """Return a model's versions, oldest first, those that prune removed left out.

    Raises:
        InputError: one is damaged.
    """
    removed = (now or standing(model)).removed
    found = (_read_if_there(model, name) for name in model.stored() if name not in removed)
    return sorted((info for info in found if info is not None), key=lambda info: (info.created, info.version))


def _read_if_there(model: ModelFolder, version: str) -> ModelVersion | None:
    """Read a version that a prune at the same time may just have deleted."""
    try:
        return model.read(version)
    except InputError:
        if (model.version(version) / VERSION_FILE).is_file():
            raise
        return None


def models(registry: Registry) -> Iterator[ModelFolder]:
    """Yield the models that have a version, sorted by name."""
    for name in registry.models():
        if versions(registry.model(name)):
            yield registry.model(name)


def resolve(registry: Registry, text: str) -> Found:
    """Find the version that `model@version` or `model@champion` stands for.

    Raises:
        InputError: there is no such model or version, or no champion yet; the nearest names are told.
    """
    name = parse_model_name(text)
    if name is None:
        raise InputError(
            f"{text!r}: expected a model and its version, such as forest@champion or forest@2026-11-20 "
            "(or a path: ./ goes before a folder whose name has an @)."
        )
    model = _known_model(registry, name)
    now = standing(model)
    version = name.version
    if version == CHAMPION:
        if not now.champion:
            newest = versions(model, now)[-1].version
            raise InputError(
                f"{name}: {name.model} has no champion yet. Name a version, such as {name.model}@{newest}, or make one "
                f"the champion: segbatch models promote {name.model}@{newest}"
            )
        version = now.champion
        if not (model.version(version) / VERSION_FILE).is_file():
            raise InputError(f"{name}: the champion's folder {model.version(version)} is gone. Put it back.")
    else:
        require(model, version, now)
    return Found(model.read(version), model.version(version).resolve(), model)


def _known_model(registry: Registry, name: ModelName) -> ModelFolder:
    model = registry.model(name.model)
    if versions(model):
        return model
    known = [other.name for other in models(registry)]
    hint = f"Models: {', '.join(known[:10])}." if known else "It holds none: `segbatch models register` adds one."
    raise InputError(
        f"{name}: no model {name.model!r} in the registry {registry.root}.{did_you_mean(name.model, known)} {hint}"
    )


def verify(found: Found) -> None:
    """Check that a version's files are those that were registered.

    Raises:
        SegbatchError: they were changed.
    """
    if bundle_digest(found.path) != found.info.digest:
        raise changed(found)


def changed(found: Found) -> SegbatchError:
    """Say that a version's files are no longer those that were registered."""
    return SegbatchError(
        f"{found.path}: the files of {found.info.name} are not those that were registered (its {VERSION_FILE} has "
        "another digest). Put them back from a copy, or register the model anew under another version."
    )
