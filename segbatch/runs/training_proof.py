"""Whether what a training left is whole: its bundle, its history and its checkpoints."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segbatch.errors import InputError
from segbatch.runs.proof import Check
from segbatch.runs.run import Run
from segbatch.spec.bundle import MODEL_FILE, read_info


def training_checks(run: Run) -> list[Check]:
    """Prove a finished train run; arrays are checked by their checksums, not loaded."""
    return [_bundle(run), *_history(run), _checkpoints(run)]


def _bundle(run: Run) -> Check:
    check = Check("bundle", "is whole by the checksums within, and made by this run")
    try:
        info = read_info(run.paths.model)
    except InputError as error:
        check.amiss(str(error))
        return check
    for name in info.files:
        if not (run.paths.model / name).is_file():
            check.amiss(f"{name}: no such file")
    _whole(run.paths.model / MODEL_FILE, check)
    check.expect("its run", run.label, info.provenance.get("run"))
    check.expect("digests", run.record.digests, info.provenance.get("digests"))
    return check


def _history(run: Run) -> list[Check]:
    history = Check("history.csv", "has one line for each epoch")
    summary = Check("summary.json", "the best epoch and its scores are those of history.csv")
    try:
        with (run.paths.training / "history.csv").open(encoding="utf-8", newline="") as handle:
            lines = list(csv.DictReader(handle))
        found: dict[str, Any] = json.loads((run.paths.training / "summary.json").read_bytes())
    except (OSError, ValueError, csv.Error) as error:
        history.amiss(f"cannot be read: {error}")
        return [history]
    for epoch, line in enumerate(lines, 1):
        history.expect(f"line {epoch}, epoch", str(epoch), line.get("epoch"))
    history.expect("epochs", found.get("epochs"), len(lines))
    _compare(summary, lines, found)
    return [history, summary]


def _compare(check: Check, lines: Sequence[dict[str, str]], found: dict[str, Any]) -> None:
    best, scores = found.get("best_epoch"), found.get("scores", {})
    if best is None:
        return
    if not 1 <= best <= len(lines):
        check.amiss(f"best epoch: expected one of {len(lines)}, found {best}")
        return
    prefix = "val_" if str(found.get("best_by", "")).startswith("val") else ""
    for name in ("loss", "accuracy", "iou", "dice"):
        text = lines[best - 1].get(prefix + name)
        check.expect(f"{name} of epoch {best}", float(text) if text else None, scores.get(name))


def _checkpoints(run: Run) -> Check:
    check = Check("checkpoints", "are whole by the checksums within")
    for path in sorted(run.paths.training.rglob("*.npz")):
        # What a training found damaged it has put aside.
        if not path.name.startswith(("damaged-", ".")):
            _whole(path, check)
    if not check.checked:
        check.skipped = "there are none"
    return check


def _whole(path: Path, check: Check) -> None:
    """Read an archive to its end; each member has its CRC-32."""
    check.checked += 1
    try:
        with zipfile.ZipFile(path) as members:
            damaged = members.testzip()
    # A changed byte can make the archive's reader fail in a dozen ways, and each means the same.
    except Exception as error:
        check.amiss(f"{path.name}: {error or type(error).__name__}")
        return
    if damaged is not None:
        check.amiss(f"{path.name}: {damaged} is damaged")
