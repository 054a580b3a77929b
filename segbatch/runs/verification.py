"""Proving a finished run from its files: nothing is lost, nothing is changed, and the report says what was counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from segbatch.errors import InputError
from segbatch.runs.bundles import bundle_digest
from segbatch.runs.files import file_digest
from segbatch.runs.journal import JournalRow, read_rejections
from segbatch.runs.masks import mask_path
from segbatch.runs.outputs import fingerprint, proofs, proven
from segbatch.runs.proof import NAMED, Check, Proof
from segbatch.runs.report_proof import ReportProof
from segbatch.runs.run import Run
from segbatch.runs.status import run_status
from segbatch.runs.strays import find_strays
from segbatch.runs.sweep import Sweep
from segbatch.runs.tiles import Tile, read_tiles
from segbatch.runs.training_proof import training_checks

CHUNK = 4096
READERS = 8
PORTION = 32
"""Tiles that a reader takes at once: handing each over by itself would cost more than reading it."""

Progress = Callable[[int, int], None]


def verify(run: Run, progress: Progress = lambda done, total: None) -> Proof:
    """Prove a run; every tile's files are read once, and memory does not grow with their number.

    Args:
        run: the run.
        progress: told of tiles looked at, and of all.
    """
    began = time.monotonic()
    checks = list(_digests(run))
    if run.record.kind == "train":
        checks += training_checks(run)
        notes: list[str] = []
    else:
        walk = _Walk(run)
        walk.through(progress)
        checks += walk.checks()
        notes = walk.notes()
    if not run_status(run).over:
        notes.append("the run is at work: what it does meanwhile may look like a fault here")
    return Proof(run.label, str(run.paths.folder), tuple(checks), tuple(notes), time.monotonic() - began)


def _digests(run: Run) -> Iterator[Check]:
    """Compare what the run was made of with its record."""
    digests = run.record.digests
    for name, path in (("job", run.paths.job), ("tiles", run.paths.tiles), ("split", run.paths.split)):
        if name in digests:
            check = Check(f"{name} digest", f"{path.name} is as submitted")
            try:
                check.expect("SHA-256", digests[name], file_digest(path))
            except OSError as error:
                check.amiss(f"cannot be read: {error.strerror}")
            yield check
    if "bundle" in digests:
        yield _bundle(Path(run.record.bundle), digests["bundle"])


def _bundle(path: Path, digest: str) -> Check:
    check = Check("model digest", "the model is the one that the run was submitted with")
    try:
        check.expect("SHA-256", digest, bundle_digest(path))
    except (InputError, OSError):
        check.skipped = f"{path} is not there any more"
    return check


@dataclass(frozen=True)
class _Seen:
    """A tile's files as they are."""

    row: JournalRow | None
    """The journal row that proves them."""
    told: JournalRow | None
    """Else what the newest row says."""
    fault: str
    """Why no row proves them; empty if one does."""
    newer: bool
    """Its image was written after its mask."""


class _Walk:
    """One pass through the tile list beside the journals, the masks and the report."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._total = run.record.tiles
        self._predicts = run.record.kind == "predict"
        self._tiles = Check("tiles", "every tile of the list has a proven mask or a rejection")
        claim = "files have the size and CRC-32 that were journalled"
        self._files = Check("masks" if self._predicts else "predictions", claim)
        self._report = ReportProof(run)
        self._rejected = bytearray((self._total + 7) // 8)
        self._rejections = self._done = self._bytes = 0
        self._newer: list[str] = []
        self._newer_in_all = 0
        self._unfinished = 0

    def through(self, progress: Progress) -> None:
        """Look at every tile, in the order of the list."""
        rejections = Sweep(self._run, read_rejections)
        seen = 0
        for index, tile, found in self._look():
            told = rejections.at(index)
            self._judge(index, tile, found, told[0][1] if told else None)
            seen += 1
            if not seen % PORTION or seen == self._total:
                progress(seen, self._total)
        self._tiles.checked = seen
        if seen != self._total:
            self._tiles.amiss(f"the list has {seen} tiles, the run {self._total}")

    def _look(self) -> Iterator[tuple[int, Tile, _Seen]]:
        rows = proofs(self._run)
        tiles = enumerate(read_tiles(self._run.paths.tiles))

        def look(told: Sequence[tuple[int, Tile, Sequence[JournalRow]]]) -> list[_Seen]:
            return [self._see(index, tile, found) for index, tile, found in told]

        with ThreadPoolExecutor(READERS) as pool:
            while chunk := list(islice(tiles, CHUNK)):
                told = [(index, tile, rows.at(index)) for index, tile in chunk]
                looked = pool.map(look, (told[start : start + PORTION] for start in range(0, len(told), PORTION)))
                for (index, tile), seen in zip(chunk, chain.from_iterable(looked), strict=True):
                    yield index, tile, seen

    def _see(self, index: int, tile: Tile, rows: Sequence[JournalRow]) -> _Seen:
        """Read a tile's files, whoever vouches for them."""
        if not rows:
            return _Seen(None, None, "no task has finished it", False)
        row = proven(self._run, index, tile, rows)
        if row is None:
            return _Seen(None, rows[0], self._fault(index, tile, rows[0]), False)
        return _Seen(row, row, "", self._predicts and self._changed(index, tile))

    def _fault(self, index: int, tile: Tile, row: JournalRow) -> str:
        try:
            size, crc = fingerprint(self._run, index, tile, row)
        except FileNotFoundError as error:
            return f"no such file: {error.filename}"
        except OSError as error:
            return f"cannot be read: {error.strerror}"
        return f"expected {row.size} bytes with CRC-32 {row.crc32:08x}, found {size} bytes with {crc:08x}"

    def _changed(self, index: int, tile: Tile) -> bool:
        """Tell whether the image was written after the mask was; one that is gone was not."""
        try:
            image = Path(self._run.record.images_root, tile.image).stat()
            mask = mask_path(self._run, index, tile).stat()
            return image.st_mtime_ns > mask.st_mtime_ns
        except OSError:
            return False

    def _judge(self, index: int, tile: Tile, seen: _Seen, reason: str | None) -> None:
        if seen.told is not None and seen.row is None and reason is None:
            self._files.checked += 1
            self._files.amiss(f"{tile.name}: {seen.fault}")
        if seen.row is not None:
            self._done += 1
            self._bytes += seen.row.size
            self._files.checked += 1
            self._report.done(tile, seen.row)
            if seen.newer:
                self._newer_in_all += 1
                self._newer += [tile.name] if len(self._newer) < NAMED else []
        elif reason is not None:
            self._rejections += 1
            self._rejected[index >> 3] |= 1 << (index & 7)
            self._report.rejected(tile, reason)
        else:
            self._tiles.amiss(f"{tile.name}: {seen.fault}")
            self._report.absent(tile, seen.told)

    def checks(self) -> Iterator[Check]:
        """Give all checks, after the walk."""
        self._tiles.claim = f"{self._done:,} have a proven mask, {self._rejections:,} a rejection with its reason"
        yield self._tiles
        self._files.claim += f" ({self._bytes / 1e6:,.1f} MB)"
        yield self._files
        if self._predicts:
            yield self._strays("strays", self._run.paths.masks)
        if self._run.paths.probabilities.is_dir():
            check = self._strays("probabilities", self._run.paths.probabilities)
            if check.checked - check.problems != self._done:
                check.amiss(f"expected {self._done:,} files, one a mask, found {check.checked - check.problems:,}")
            yield check
        yield from self._report.checks()

    def _strays(self, name: str, folder: Path) -> Check:
        """Look for files that belong to no tile, or to one that was rejected."""
        check = Check(name, f"every file in {folder.name} belongs to a tile that was not rejected")
        found = find_strays(self._run, folder, self._has_mask, most=NAMED)
        check.checked = found.masks + found.strays_in_all
        check.problems, check.examples = found.strays_in_all, found.strays
        self._unfinished += found.unfinished
        return check

    def _has_mask(self, index: int) -> bool:
        return not self._rejected[index >> 3] >> (index & 7) & 1

    def notes(self) -> list[str]:
        """What is no fault, but worth knowing."""
        notes = []
        if self._newer_in_all:
            named = ", ".join(map(repr, self._newer[:3]))
            notes.append(
                f"{self._newer_in_all} images were written after their masks, such as {named}: their masks are of what "
                "the files held before"
            )
        if self._unfinished:
            notes.append(
                f"{self._unfinished} unfinished files of killed attempts lie in {self._run.paths.masks}; "
                f"removed by: segbatch report {self._run.paths.folder} --rebuild"
            )
        return notes
