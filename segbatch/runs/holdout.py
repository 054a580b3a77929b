"""A model's figures on a holdout, tile by tile, and the digest that says which holdout that was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from segbatch.errors import InputError
from segbatch.runs import packs
from segbatch.runs.champions import standing
from segbatch.runs.files import write_json
from segbatch.runs.journal import NO_TRUTH, read_rejections
from segbatch.runs.masks import mask_path
from segbatch.runs.model_folder import ModelFolder
from segbatch.runs.outputs import checked_tiles
from segbatch.runs.run import Run
from segbatch.runs.sweep import Sweep
from segbatch.runs.tiles import Tile, read_tiles
from segbatch.spec.section import FileName, Section

SCHEMA_VERSION: Literal[1] = 1
_READERS = 8


class HoldoutScores(Section):
    """What a model got right and wrong on every tile of a holdout."""

    schema_version: Literal[1] = SCHEMA_VERSION
    holdout: str
    """SHA-256 of the holdout, by `holdout_digest`."""
    model: str
    """The version that predicted, as `name@version`; the bundle's path where it is not registered."""
    run: str
    """The run that predicted, as `job/run id`."""
    run_folder: str
    created: str
    """When that run was made: UTC, ISO 8601."""
    classes: tuple[str, ...]
    """Names of the classes, in the order of the counts."""
    tiles: tuple[tuple[FileName, str], ...]
    """Name of each tile and its counts by true and predicted class, packed as in a journal; sorted by name."""
    rejected: tuple[FileName, ...] = ()
    """Tiles that could not be read."""


def holdout_digest(run: Run) -> str:
    """SHA-256 over the classes, and over every tile's name, image and truth, as they are on disk now.

    Where the data lies does not count.

    Raises:
        InputError: the run has no ground truth, or a file cannot be read.
    """
    _refuse_without_truth(run)
    labels = run.record.labels
    hasher = hashlib.sha256(json.dumps(labels.names).encode() + labels.raw_to_index())
    tiles = [tile for tile in read_tiles(run.paths.tiles) if tile.mask]
    with ThreadPoolExecutor(_READERS) as pool:
        for tile, digests in zip(tiles, pool.map(lambda tile: _tile_digest(run, tile), tiles), strict=True):
            hasher.update(tile.name.encode("utf-8", "surrogateescape") + b"\0" + digests)
    return f"sha256:{hasher.hexdigest()}"


def _tile_digest(run: Run, tile: Tile) -> bytes:
    return b"".join(_digest(path) for path in _sources(run, tile))


def _sources(run: Run, tile: Tile) -> list[Path]:
    image = [Path(run.record.images_root, tile.image)] if run.record.images_root and tile.image else []
    return [*image, Path(run.record.masks_root, tile.mask)]


def _digest(path: Path) -> bytes:
    try:
        if packs.file_of(path) != path:
            return hashlib.sha256(packs.read_bytes(path)).digest()
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").digest()
    except FileNotFoundError:
        return b"missing"
    except OSError as error:
        raise InputError(f"{path}: a file of the holdout cannot be read: {error.strerror}.") from error


def _refuse_without_truth(run: Run) -> None:
    if run.record.kind != "predict" or not run.record.masks_root:
        what = "has no ground truth" if run.record.kind == "predict" else f"is of kind: {run.record.kind}"
        raise InputError(f"{run.label} {what}. Expected a predict run whose job names `data.masks`.")


def read_scores(run: Run) -> HoldoutScores:
    """Collect what a finished predict run counted.

    Raises:
        InputError: it is not finished, has no ground truth, or its tiles were changed after it had counted them.
    """
    digest = holdout_digest(run)
    rejections = Sweep(run, read_rejections)
    tiles, rejected, missing = [], [], []
    for index, tile, row in checked_tiles(run):
        if row is not None and row.counts != NO_TRUTH:
            _refuse_newer(run, index, tile)
            tiles.append((tile.name, row.counts))
        elif row is None and rejections.at(index):
            rejected.append(tile.name)
        elif row is None:
            missing.append(tile.name)
    if missing:
        raise InputError(
            f"{run.label}: {len(missing)} of {run.record.tiles} tiles are missing, such as {missing[0]!r}, so it "
            f"cannot be compared. Finish them with: segbatch resume {run.paths.folder}"
        )
    return HoldoutScores(
        holdout=digest,
        model=run.record.model or run.record.bundle,
        run=run.label,
        run_folder=str(run.paths.folder),
        created=run.record.created,
        classes=tuple(run.record.labels.names),
        tiles=tuple(tiles),
        rejected=tuple(rejected),
    )


def _refuse_newer(run: Run, index: int, tile: Tile) -> None:
    """Refuse counts of a truth or an image that was replaced later."""
    counted = packs.file_of(mask_path(run, index, tile)).stat().st_mtime_ns
    for path in _sources(run, tile):
        if packs.file_of(path).stat().st_mtime_ns > counted:
            raise InputError(
                f"{path} was changed after {run.label} had predicted and counted it. Predict the holdout again: "
                f"segbatch submit {run.record.job_file}"
            )


def keep_scores(model: ModelFolder, version: str, scores: HoldoutScores) -> None:
    """Keep a version's figures on a holdout in the registry, so that it need not predict that holdout again."""
    path = _path(model, version, scores.holdout)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, scores.model_dump())


def scored_on(model: ModelFolder, version: str, holdout: str) -> HoldoutScores | None:
    """Return a version's figures on a holdout, by its digest; None where it has not predicted it as it is now."""
    try:
        kept = HoldoutScores.model_validate(json.loads(_path(model, version, holdout).read_bytes()))
    except (OSError, ValueError):
        return None
    return kept if kept.holdout == holdout else None


def champion_scores(model: ModelFolder, holdout: str) -> tuple[str, HoldoutScores | None]:
    """Return the champion's version (empty: there is none) and its figures on a holdout (None: not scored on it)."""
    champion = standing(model).champion
    return champion, scored_on(model, champion, holdout) if champion else None


def unscored_champion(model: ModelFolder, run: Run) -> str:
    """Name the champion, as `name@version`, if it must predict a run's holdout before the gate can compare.

    Args:
        model: the model.
        run: a predict run of a challenger on the holdout; it need not be finished.

    Returns:
        Empty where there is no champion, where its figures are known, and where `run` is its own.
    """
    champion, known = champion_scores(model, holdout_digest(run))
    name = f"{model.name}@{champion}"
    return name if champion and known is None and run.record.model != name else ""


def _path(model: ModelFolder, version: str, holdout: str) -> Path:
    return model.scores(version) / f"{holdout.removeprefix('sha256:')[:16]}.json"


def differences(one: HoldoutScores, other: HoldoutScores) -> str:
    """Say why two models' figures cannot be compared; empty where they can."""
    if one.classes != other.classes:
        return f"their classes differ: {', '.join(one.classes)} against {', '.join(other.classes)}"
    mine, theirs = {name for name, _ in one.tiles}, {name for name, _ in other.tiles}
    if mine != theirs:
        apart = sorted(mine ^ theirs)
        rejected = sorted({*one.rejected, *other.rejected} & set(apart))
        why = f"; {_few(rejected)} could not be read by one of them" if rejected else ""
        return f"{len(apart)} tiles are in one of them alone, such as {_few(apart)}{why}"
    if one.holdout != other.holdout:
        return "the images or masks were changed between the two runs"
    return ""


def _few(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in list(names)[:3])
