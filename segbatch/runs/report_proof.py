"""Whether a report's files say what follows from the journals, tile by tile and in all."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from segbatch.runs.journal import NO_TRUTH, JournalRow
from segbatch.runs.proof import Check
from segbatch.runs.run import Run
from segbatch.runs.tally import ClassPixels, Tally, confusion_entries, mean, pixel_entries, share, six
from segbatch.runs.tiles import Tile

NO_CLASS = "no class"


class _Table:
    """A CSV file's rows by column, one at a time; a missing or damaged file has none."""

    def __init__(self, path: Path, check: Check) -> None:
        self._path, self._check = path, check
        self._rows = self._read()
        self.row: Mapping[str, str] | None = None
        self.take()

    def take(self) -> None:
        """Go on to the next row; after the last there is None."""
        self.row = next(self._rows, None)

    def rest(self) -> Iterator[Mapping[str, str]]:
        """Yield this row and all after it."""
        while self.row is not None:
            row = self.row
            self.take()
            yield row

    def _read(self) -> Iterator[Mapping[str, str]]:
        try:
            with self._path.open(encoding="utf-8", errors="surrogateescape", newline="") as handle:
                lines = csv.reader(handle, strict=True)
                header = next(lines, [])
                for line in lines:
                    yield dict(zip(header, line, strict=False))
        except FileNotFoundError:
            self._check.amiss("no such file")
        except (OSError, csv.Error) as error:
            self._check.amiss(f"cannot be read: {error}")


class ReportProof:
    """Reads the report along with the tiles, in the order of the tile list; nothing but sums is kept."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._labels = run.record.labels
        self._truth = bool(run.record.masks_root)
        self._tally = Tally(len(self._labels.scored))
        self._rejected_tiles = 0
        self._missing_tiles = 0
        self._tiles_check = Check("tiles.csv", "every figure of a tile follows from its counts")
        self._rejected_check = Check("rejected.csv", "names every rejected tile with its reason, and no other")
        self._tiles = _Table(run.paths.report / "tiles.csv", self._tiles_check)
        self._rejected = _Table(run.paths.report / "rejected.csv", self._rejected_check)

    def done(self, tile: Tile, row: JournalRow) -> None:
        """Take in a tile that is proven."""
        listed = self._listed(tile)
        if listed is None:
            self._tiles_check.amiss(f"{tile.name}: no line of it where one is due")
        self._count(tile, row, listed)

    def rejected(self, tile: Tile, reason: str) -> None:
        """Take in a tile that was rejected."""
        self._rejected_tiles += 1
        if self._listed(tile) is not None:
            self._tiles_check.amiss(f"{tile.name}: has a line although it was rejected")
        self._rejected_check.checked += 1
        line = self._rejected.row
        if line is None or line.get("tile") != tile.name:
            self._rejected_check.amiss(f"{tile.name}: no line of it where one is due")
            return
        if line.get("reason") != reason:
            self._rejected_check.amiss(f"{tile.name}: expected the reason {reason!r}, found {line.get('reason')!r}")
        self._rejected.take()

    def absent(self, tile: Tile, row: JournalRow | None) -> None:
        """Take in a tile of which there is neither a proven mask nor a rejection.

        Args:
            tile: the tile.
            row: what a journal says of it; a report that was written when its mask was still whole counts it.
        """
        listed = self._listed(tile)
        if listed is None or row is None:
            self._missing_tiles += 1
        if listed is not None and row is not None:
            self._count(tile, row, listed)

    def checks(self) -> Iterator[Check]:
        """Compare what is left and the sums, after the last tile."""
        for name, table, check in (
            ("tile", self._tiles, self._tiles_check),
            ("tile", self._rejected, self._rejected_check),
        ):
            for line in table.rest():
                check.amiss(f"{line.get(name, '?')}: a line too many, or out of order")
        yield self._tiles_check
        yield self._rejected_check
        sums = self._tally.by_class()
        yield self._classes(sums)
        if self._truth:
            yield self._confusion()
        yield self._summary(sums)

    def _listed(self, tile: Tile) -> Mapping[str, str] | None:
        """The tile's line of tiles.csv, if it is the next; it is taken."""
        line = self._tiles.row
        if line is None or line.get("tile") != tile.name:
            return None
        self._tiles.take()
        return line

    def _count(self, tile: Tile, row: JournalRow, listed: Mapping[str, str] | None) -> None:
        classes = self._tally.classes
        try:
            entries = [] if row.counts == NO_TRUTH else confusion_entries(row.counts, classes)
            predicted = pixel_entries(row.predicted, classes)
        except ValueError as error:
            self._tiles_check.amiss(f"{tile.name}: its journal row makes no sense: {error}")
            return
        self._tally.add(entries, predicted, row.height * row.width)
        self._tiles_check.checked += 1
        if listed is None:
            return
        due = {"height": str(row.height), "width": str(row.width)}
        if self._truth:
            due |= self._scored(ClassPixels.of(entries, classes))
        else:
            pixels = dict(predicted)
            for index, name in enumerate(self._labels.names):
                due[f"share {name}"] = six(share(pixels.get(index, 0), row.height * row.width))
        wrong = next((key for key, value in due.items() if listed.get(key) != value), None)
        if wrong is not None:
            found = listed.get(wrong, "no such column")
            self._tiles_check.amiss(f"{tile.name}, {wrong}: expected {due[wrong]}, found {found}")

    def _scored(self, counts: ClassPixels) -> dict[str, str]:
        iou, dice = counts.iou, counts.dice
        due = {
            "valid pixels": str(counts.valid),
            "accuracy": six(counts.accuracy),
            "mean IoU": six(mean(iou)),
            "mean Dice": six(mean(dice)),
        }
        for name, one, two in zip(self._labels.names, iou, dice, strict=True):
            due[f"IoU {name}"], due[f"Dice {name}"] = six(one), six(two)
        return due

    def _classes(self, sums: ClassPixels) -> Check:
        check = Check("classes.csv", "sums and scores of every class follow from the counts of all tiles")
        lines = list(_Table(self._run.paths.report / "classes.csv", check).rest())
        if check.problems:
            return check
        due = [_text(row) for row in self._by_class(sums)]
        check.expect("lines", len(due), len(lines))
        for wanted, found in zip(due, lines, strict=False):
            for key, value in wanted.items():
                check.expect(f"{wanted['name']}, {key}", value, found.get(key))
        return check

    def _by_class(self, sums: ClassPixels) -> Iterator[dict[str, Any]]:
        """What is due of every class, by column of classes.csv."""
        for index, item in enumerate(self._labels.scored):
            row: dict[str, Any] = {"id": item.id, "name": item.name}
            if self._truth:
                tp, fp, fn = sums.tp[index], sums.fp[index], sums.fn[index]
                row |= {"tp": tp, "fp": fp, "fn": fn, "IoU": sums.iou[index], "Dice": sums.dice[index]}
                row |= {"precision": share(tp, tp + fp), "recall": share(tp, tp + fn)}
                row |= {"share of truth": share(tp + fn, sums.valid), "share of prediction": share(tp + fp, sums.valid)}
            else:
                row["share of prediction"] = share(self._tally.predicted[index], self._tally.pixels)
            yield row

    def _confusion(self) -> Check:
        check = Check("confusion.csv", "is the sum of the counts of all tiles")
        lines = list(_Table(self._run.paths.report / "confusion.csv", check).rest())
        if check.problems:
            return check
        names = self._labels.names
        check.expect("lines", len(names), len(lines))
        columns = {**dict(enumerate(names)), len(names): NO_CLASS}
        for true, (name, line) in enumerate(zip(names, lines, strict=False)):
            check.expect("true class", name, line.get("true class"))
            for chosen, column in columns.items():
                # The last column is left out where it is all zero.
                found = line.get(column, "0" if column == NO_CLASS else None)
                check.expect(f"{name} taken for {column}", str(self._tally.confusion[true, chosen]), found)
        return check

    def _summary(self, sums: ClassPixels) -> Check:
        check = Check("summary.json", "tiles, sums and scores follow from the counts of all tiles")
        try:
            found: dict[str, Any] = json.loads((self._run.paths.report / "summary.json").read_bytes())
            tiles, scores, classes = found["tiles"], found["scores"], found["classes"]
        except FileNotFoundError:
            check.amiss("no such file")
            return check
        except (OSError, ValueError, KeyError, TypeError) as error:
            check.amiss(f"cannot be read: {error}")
            return check
        scored = self._tally.scored if self._truth else 0
        parts = {"done": self._tally.tiles, "scored": scored, "rejected": self._rejected_tiles}
        for key, value in {**parts, "total": self._run.record.tiles, "missing": self._missing_tiles}.items():
            check.expect(f"tiles, {key}", value, tiles.get(key))
        for key, value in (self._overall(sums) if self._truth else {}).items():
            _close(check, key, value, (scores or {}).get(key))
        for wanted, item in zip(self._by_class(sums), classes, strict=False):
            for key, value in wanted.items():
                _close(check, f"{wanted['name']}, {key}", value, item.get(key.lower().replace(" ", "_")))
        check.expect("digests", self._run.record.digests, found.get("digests"))
        return check

    def _overall(self, sums: ClassPixels) -> dict[str, Any]:
        iou = sums.iou
        weighted = sum(truth * (one or 0.0) for truth, one in zip(sums.truth, iou, strict=True))
        return {
            "valid_pixels": sums.valid,
            "accuracy": sums.accuracy,
            "mean_iou": mean(iou),
            "mean_dice": mean(sums.dice),
            "frequency_weighted_iou": weighted / sums.valid if sums.valid else None,
        }


def _text(row: Mapping[str, Any]) -> dict[str, str]:
    """As the CSV files write it."""
    return {key: six(value) if value is None or isinstance(value, float) else str(value) for key, value in row.items()}


def _close(check: Check, what: str, expected: Any, found: Any) -> None:
    """Look at a number that must be there, floats but for the last bits."""
    both = isinstance(expected, float) and isinstance(found, float | int)
    same = math.isclose(expected, found, rel_tol=1e-12) if both else expected == found
    check.checked += 1
    if not same:
        check.amiss(f"{what}: expected {expected}, found {found}")
