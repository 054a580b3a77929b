"""`segbatch verify`: a finished run is proven, and whatever is done to it afterwards is found and named."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from segbatch.cli.verify import verify as command
from segbatch.errors import Exit
from segbatch.evaluation.finish import finish
from segbatch.runs import strays
from segbatch.runs.files import temporary_name
from segbatch.runs.proof import Check, Proof
from segbatch.runs.run import Run, open_run
from segbatch.runs.verification import verify
from segbatch.spec.bundle import BundleInfo
from tests.support.labels import TWO_CLASSES
from tests.support.proven_runs import finished_run, predict, quiet
from tests.support.worlds import make_run, make_tiles


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run with two rejected tiles."""
    return finished_run(tmp_path_factory.mktemp("whole"), bad=(3, 11))


@pytest.fixture
def run(whole: Run, tmp_path: Path) -> Run:
    """A copy of it that may be damaged; its images stay where they are."""
    return open_run(Path(shutil.copytree(whole.paths.folder, tmp_path / "run")))


def faults(proof: Proof) -> dict[str, Check]:
    return {check.name: check for check in proof.checks if check.state == "failed"}


def rewrite(path: Path, change: Callable[[str], str]) -> None:
    before = path.read_text()
    assert change(before) != before
    path.write_text(change(before))


def first_mask(run: Run) -> Path:
    return sorted(run.paths.masks.rglob("*.png"))[0]


@pytest.mark.parametrize("truth", [True, False])
def test_a_finished_run_is_proven(tmp_path: Path, truth: bool) -> None:
    run = finished_run(tmp_path, truth=truth, bad=(0,))
    seen: list[tuple[int, int]] = []
    proof = verify(run, lambda done, total: seen.append((done, total)))
    assert proof.holds, faults(proof)
    assert proof.notes == ()
    checked = {check.name: check.checked for check in proof.checks}
    assert (checked["tiles"], checked["masks"], checked["strays"], checked["rejected.csv"]) == (20, 19, 19, 1)
    assert checked["tiles.csv"] == 19
    assert ("confusion.csv" in checked) == truth
    assert seen[-1] == (20, 20)


def lost(run: Run) -> None:
    first_mask(run).unlink()


def flipped(run: Run) -> None:
    path = first_mask(run)
    path.write_bytes(path.read_bytes()[:-1] + b"\0")


def unjournalled(run: Run) -> None:
    rewrite(run.paths.task(0).journal(1), lambda text: text[text.index("\n") + 1 :])


DAMAGE = {
    "a mask is gone": (lost, {"tiles", "masks"}, "no such file"),
    "a mask holds other bytes": (flipped, {"tiles", "masks"}, "expected"),
    "a journal row is gone": (unjournalled, {"tiles", "classes.csv", "confusion.csv", "summary.json"}, ""),
    "a stray mask": (lambda run: (run.paths.masks / "x.png").write_bytes(b""), {"strays"}, "x.png"),
    "the job was edited": (lambda run: rewrite(run.paths.job, lambda text: text + "\n"), {"job digest"}, "sha256"),
    "a class sum is off by one": (
        lambda run: rewrite(run.paths.report / "classes.csv", lambda text: text.replace("1,forest,", "1,forest,9")),
        {"classes.csv"},
        "forest, tp",
    ),
    "a score of a tile was edited": (
        lambda run: rewrite(run.paths.report / "tiles.csv", lambda text: text.replace("0.5", "0.6", 1)),
        {"tiles.csv"},
        "expected 0.5",
    ),
    "a line of a tile is gone": (
        lambda run: rewrite(run.paths.report / "tiles.csv", lambda text: "".join(text.splitlines(True)[:-1])),
        {"tiles.csv"},
        "no line of it",
    ),
    "a line too many": (
        lambda run: rewrite(run.paths.report / "tiles.csv", lambda text: text + text.splitlines(True)[-1]),
        {"tiles.csv"},
        "a line too many",
    ),
    "a rejection was forgotten": (
        lambda run: rewrite(run.paths.report / "rejected.csv", lambda text: "".join(text.splitlines(True)[:-1])),
        {"rejected.csv"},
        "no line of it",
    ),
    "another reason": (
        lambda run: rewrite(run.paths.report / "rejected.csv", lambda text: text.replace("empty", "full")),
        {"rejected.csv"},
        "expected the reason",
    ),
    "a cell of the matrix": (
        lambda run: rewrite(run.paths.report / "confusion.csv", lambda text: text.replace("forest,", "forest,1", 2)),
        {"confusion.csv"},
        "forest taken for ground",
    ),
    "a score of the summary": (
        lambda run: rewrite(
            run.paths.report / "summary.json", lambda text: text.replace('"mean_iou": 0.', '"mean_iou": 1.')
        ),
        {"summary.json"},
        "mean_iou",
    ),
    "no report": (
        lambda run: shutil.rmtree(run.paths.report),
        {"tiles.csv", "rejected.csv", "classes.csv", "confusion.csv", "summary.json"},
        "no such file",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_was_damaged_is_named(run: Run, damage: str) -> None:
    harm, where, words = DAMAGE[damage]
    harm(run)
    found = faults(verify(run))
    assert set(found) == where
    assert any(words in example for check in found.values() for example in check.examples)


def test_the_mask_of_a_rejected_tile_is_a_stray(run: Run) -> None:
    tile = next(csv.DictReader((run.paths.report / "rejected.csv").open()))["tile"]
    (run.paths.masks / tile).write_bytes(b"from an earlier attempt")
    found = faults(verify(run))
    assert set(found) == {"strays"}
    assert found["strays"].examples == [tile]
    finish(run, quiet)
    assert verify(run).holds
    assert not (run.paths.masks / tile).exists()


def test_strays_are_found_in_pieces_as_well(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strays, "AT_ONCE", 3)
    names = [f"a/odd {number}.png" for number in range(25)]
    for name in names:
        (run.paths.masks / name).write_bytes(b"")
    check = faults(verify(run))["strays"]
    assert (check.checked, check.problems) == (18 + 25, 25)
    assert set(check.examples) < set(names)


def test_what_killed_attempts_leave_is_no_stray(run: Run) -> None:
    temporary_name(first_mask(run)).write_bytes(b"half")
    proof = verify(run)
    assert proof.holds
    assert "1 unfinished" in proof.notes[0]


def test_images_that_changed_after_their_mask_was_made_are_named(tmp_path: Path) -> None:
    run = finished_run(tmp_path, tiles=4, tasks=1)
    image = sorted((tmp_path / "images").rglob("*.png"))[1]
    later = image.stat().st_mtime + 1000
    os.utime(image, (later, later))
    proof = verify(run)
    assert proof.holds
    assert image.name in proof.notes[0]


def test_a_model_that_is_gone_is_not_checked_and_a_changed_one_fails(tmp_path: Path) -> None:
    run = finished_run(tmp_path, tiles=4, tasks=1)
    (tmp_path / "model" / "model.keras").write_bytes(b"other weights")
    assert set(faults(verify(run))) == {"model digest"}
    shutil.rmtree(tmp_path / "model")
    proof = verify(run)
    assert proof.holds
    assert [check.name for check in proof.checks if check.state == "not checked"] == ["model digest"]


def test_attempts_that_overlap_are_proven_by_whichever_row_fits(run: Run, whole: Run) -> None:
    predict(run, 0, bad=(3,))
    assert verify(run).holds


def test_the_command_prints_a_table_and_tells_by_its_exit_code(run: Run) -> None:
    folder = str(run.paths.folder)
    proven = CliRunner().invoke(command, [folder], standalone_mode=False)
    assert proven.return_value == Exit.OK
    assert "18 have a proven mask, 2 a rejection" in proven.output
    assert ": proven" in proven.output
    for path in list(run.paths.masks.rglob("*.png"))[:5]:
        path.write_bytes(b"")
    failed = CliRunner().invoke(command, [folder], standalone_mode=False)
    assert failed.return_value == Exit.FAILED
    assert "NOT proven" in failed.output
    assert "masks: and 2 more" in failed.output
    told = CliRunner().invoke(command, [folder, "--json"], standalone_mode=False)
    values = json.loads(told.stdout)
    assert values["proven"] is False
    masks = next(check for check in values["checks"] if check["name"] == "masks")
    assert (masks["state"], masks["checked"], masks["problems"], len(masks["examples"])) == ("failed", 18, 5, 5)


def test_it_loads_no_numpy(run: Run) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom segbatch.runs.run import open_run\n"
        "from segbatch.runs.verification import verify\n"
        f"print(verify(open_run(Path({str(run.paths.folder)!r}))).holds, 'numpy' in sys.modules)"
    )
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert outcome.stdout == "True False\n"


def trained(root: Path) -> Run:
    """A train run with what a training leaves, made by hand."""
    make_tiles(root, 6)
    data = {"root": str(root), "images": "images", "masks": "masks"}
    run = make_run(root, "train", data, labels=TWO_CLASSES.model_dump())
    run.paths.model.mkdir()
    checkpoints = run.paths.training / "checkpoints"
    checkpoints.mkdir(parents=True)
    with zipfile.ZipFile(run.paths.model / "model.keras", "w") as archive:
        archive.writestr("weights", bytes(range(256)) * 40)
    provenance = {"run": run.label, "digests": run.record.digests}
    info = BundleInfo(name="net", labels=TWO_CLASSES, head="binary", input=(32, 32), provenance=provenance)
    (run.paths.model / "bundle.json").write_text(info.model_dump_json())
    lines = ["epoch,phase,loss,accuracy,iou,dice,val_loss,val_accuracy,val_iou,val_dice"]
    lines += [f"{epoch},1,0.5,0.5,0.5,0.5,{1 / epoch!r},0.7,0.6,0.75" for epoch in (1, 2, 3)]
    (run.paths.training / "history.csv").write_text("\n".join(lines) + "\n")
    scores = {"loss": 1 / 3, "accuracy": 0.7, "iou": 0.6, "dice": 0.75}
    summary = {"epochs": 3, "best_epoch": 3, "best_by": "val loss", "scores": scores}
    (run.paths.training / "summary.json").write_text(json.dumps(summary))
    np.savez(checkpoints / "checkpoint-000003-000000000.npz", state=np.arange(3000))
    return run


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


TRAINING_DAMAGE: dict[str, tuple[Callable[[Run], Any], str]] = {
    "weights cut short": (lambda run: cut_short(run.paths.model / "model.keras"), "bundle"),
    "a bit of the weights": (lambda run: flip(run.paths.model / "model.keras"), "bundle"),
    "no bundle": (lambda run: shutil.rmtree(run.paths.model), "bundle"),
    "an epoch is gone": (
        lambda run: rewrite(run.paths.training / "history.csv", lambda text: text.replace("2,1,", "4,1,", 1)),
        "history.csv",
    ),
    "no history": (lambda run: (run.paths.training / "history.csv").unlink(), "history.csv"),
    "another score": (
        lambda run: rewrite(run.paths.training / "history.csv", lambda text: text.replace("0.6,0.75\n", "0.5,0.75\n")),
        "summary.json",
    ),
    "a bit of a checkpoint": (lambda run: flip(next(run.paths.training.rglob("*.npz"))), "checkpoints"),
    "the split": (lambda run: rewrite(run.paths.split, lambda text: text + "x,y,train\n"), "split digest"),
}


def test_a_training_is_proven(tmp_path: Path) -> None:
    proof = verify(trained(tmp_path))
    assert proof.holds, faults(proof)
    assert {check.name for check in proof.checks} >= {"bundle", "history.csv", "summary.json", "checkpoints"}


@pytest.mark.parametrize("damage", TRAINING_DAMAGE)
def test_what_was_damaged_of_a_training_is_named(tmp_path: Path, damage: str) -> None:
    run = trained(tmp_path)
    harm, where = TRAINING_DAMAGE[damage]
    harm(run)
    assert set(faults(verify(run))) == {where}
