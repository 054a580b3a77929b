"""What goes and what stays: never what is at work, newest, or in use."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segbatch.cli import main
from segbatch.cluster.prune import Pruning, prune
from segbatch.runs import ledger
from segbatch.runs.files import write_json
from segbatch.runs.layout import run_folders
from segbatch.runs.process import process_identity
from segbatch.runs.retention import AT_WORK, Candidate, choose
from segbatch.runs.run import Run
from segbatch.runs.trash import discard
from segbatch.runs.words import duration, size
from segbatch.spec.job import PredictJob
from segbatch.spec.keep import Keep
from segbatch.spec.site import Site
from tests.support.job_files import PREDICT, load, problems
from tests.support.slurm_runs import write_run

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
STATES = ("done", "done", "failed", "killed", "interrupted", "cancelled", "pending", "running", "queued", "unknown")


def run_of(name: str, day: int, state: str = "done", **more: Any) -> Candidate:
    folder = Path(f"/runs/{name}/{day:03}")
    return Candidate(folder, name, state, NOW - timedelta(days=day), **more)


def fate(candidates: Sequence[Candidate], keep: dict[str, Keep], protected: dict[Path, str] | None = None) -> str:
    """What becomes of the runs, in a line: `-label` goes, `~label` loses its checkpoints, `=label` is held."""
    marks = {"run": "-", "checkpoints": "~", "nothing": "="}
    found = choose(candidates, keep, protected or {}, NOW)
    return " ".join(f"{marks[choice.what]}{choice.candidate.label}" for choice in found)


def test_by_count_and_by_age() -> None:
    runs = [run_of("a", day) for day in (1, 2, 3, 40)]
    assert fate(runs, {"a": Keep(runs=3)}) == "-a/040"
    assert fate(runs, {"a": Keep(runs=1)}) == "-a/040 -a/003 -a/002"
    assert fate(runs, {"a": Keep(days=2)}) == "-a/040 -a/003"
    assert fate(runs, {"a": Keep(runs=2, days=30)}) == "-a/040 -a/003", "a run goes as soon as one rule says so"
    assert fate(runs, {}) == fate(runs, {"a": Keep()}) == fate(runs, {"b": Keep(runs=1)}) == ""


def test_what_is_at_work_newest_or_good_stays() -> None:
    runs = [run_of("a", 9), run_of("a", 8, "failed"), run_of("a", 7, "running"), run_of("a", 6, "unknown")]
    runs += [run_of("a", 5, "queued"), run_of("a", 4, "failed"), run_of("a", 3, "cancelled")]
    assert fate(runs, {"a": Keep(days=1)}) == "=a/009 -a/008 =a/007 =a/006 =a/005 -a/004 =a/003"
    held = {choice.candidate.label: choice.stays for choice in choose(runs, {"a": Keep(days=1)}, {}, NOW)}
    assert held["a/009"] == "it is the newest good run"
    assert held["a/007"] == "it is running"
    assert held["a/006"] == "nobody can tell whether it is at work"
    assert held["a/003"] == "it is the newest run"


def test_a_run_that_others_use_stays_until_they_are_gone() -> None:
    model, masks = Path("/runs/train/020/model"), Path("/runs/predict/010/masks/a")
    runs = [run_of("train", 20, train=True), run_of("train", 1), run_of("predict", 10, uses=(model,))]
    runs += [run_of("predict", 2), run_of("score", 5, uses=(masks,)), run_of("score", 1)]
    rules = {"train": Keep(runs=1), "predict": Keep(runs=1)}
    assert fate(runs, rules) == "=train/020 =predict/010", "a run of a job without a rule counts as well"
    assert fate(runs, {**rules, "score": Keep(runs=1)}) == "-train/020 -predict/010 -score/005"
    assert fate(runs, {"train": Keep(runs=1)}, {Path("/else"): "x"}) == "=train/020"


def test_what_somebody_protects_stays() -> None:
    runs = [run_of("a", 9), run_of("a", 8), run_of("a", 1)]
    champion = {Path("/runs/a/008/model"): "it is the champion of forest"}
    assert fate(runs, {"a": Keep(runs=1)}, champion) == "-a/009 =a/008"
    assert fate(runs, {"a": Keep(runs=1)}, {Path("/runs/a/009"): "x", Path("/runs/a/0080"): "y"}) == "=a/009 -a/008"


def test_checkpoints_of_finished_trainings() -> None:
    runs = [run_of("t", day, state, train=True, checkpoints=day != 8) for day, state in
            ((9, "done"), (8, "done"), (7, "failed"), (6, "done"), (1, "done"))]  # fmt: skip
    assert fate(runs, {"t": Keep(checkpoints=2)}) == "~t/009", "what has none, failed or is among the newest is left"
    assert fate(runs, {"t": Keep(checkpoints=0)}) == "~t/009 ~t/006 ~t/001"
    assert fate(runs, {"t": Keep(checkpoints=0, days=8)}) == "-t/009 ~t/006 ~t/001"
    assert fate(runs, {"t": Keep(days=1, checkpoints=1)}, {Path("/runs/t/006"): "x"}) == (
        "-t/009 -t/008 -t/007 =t/006 ~t/006"
    )


@st.composite
def folders(draw: st.DrawFn) -> list[Candidate]:
    found: list[Candidate] = []
    for day in range(draw(st.integers(1, 12)), 0, -1):
        used = draw(st.lists(st.sampled_from(found), max_size=2)) if found else []
        uses = tuple(one.folder / "model" for one in used)
        state = draw(st.sampled_from(STATES))
        found.append(run_of(draw(st.sampled_from("ab")), day, state, uses=uses, train=draw(st.booleans())))
    return found


@given(folders(), st.one_of(st.none(), st.integers(1, 4)), st.one_of(st.none(), st.integers(1, 9)), st.integers(1, 12))
def test_whatever_the_rules_nothing_needed_goes(
    runs: list[Candidate], count: int | None, days: int | None, kept: int
) -> None:
    protected = {runs[kept % len(runs)].folder / "model": "x"}
    choices = choose(runs, {"a": Keep(runs=count, days=days)}, protected, NOW)
    gone = {choice.candidate.folder for choice in choices if choice.what == "run"}
    stay = [one for one in runs if one.folder not in gone]
    assert not any(one.folder in gone for one in runs if one.state in AT_WORK or one.name == "b")
    assert all(path.parent not in gone for one in stay for path in one.uses)
    assert runs[kept % len(runs)].folder not in gone
    for name in "ab":
        own = [one for one in runs if one.name == name]
        assert not own or own[-1] in stay
        assert [one for one in stay if one.state == "done" and one.name == name] or not [
            one for one in own if one.state == "done"
        ]
    rest = choose(stay, {"a": Keep(runs=count, days=days)}, protected, NOW)
    assert not [choice for choice in rest if choice.what == "run"] or gone, "a second look finds less and less"


def made(root: Path, day: int, code: int | None = 0, *, name: str = "job", **record: Any) -> Run:
    """A run that ended on this machine so many days ago; without a code it runs in this process."""
    created = NOW - timedelta(days=day)
    stamp = f"{created:%Y%m%d-%H%M%S}-0000"
    run = write_run(root, tasks=1, run_id=stamp, created=created.isoformat(), **record)
    job = {"kind": "predict", "name": name, "model": {"bundle": "/m"}, "data": {"images": "/i"}, "keep": {"runs": 2}}
    write_json(run.paths.job, job)
    ledger.record(run.paths, "a", "submitted", backend="local", **process_identity(os.getpid()))
    if code is not None:
        ledger.record(run.paths, "a", "ended", code=code)
    (run.paths.folder / "masks").mkdir()
    (run.paths.folder / "masks" / "a.png").write_bytes(bytes(1000))
    return run


def went(done: Pruning) -> list[str]:
    return [going.choice.candidate.folder.name[:8] for going in done.going]


def test_runs_are_removed_whole_and_links_lead_on(tmp_path: Path) -> None:
    for day in (5, 4, 3, 1):
        run = made(tmp_path, day)
    made(tmp_path, 2, None)
    root = tmp_path / "runs"
    (root / "job" / "latest").symlink_to(run.paths.folder.name)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    (next(run_folders(root)) / "masks" / "link").symlink_to(outside)
    dry = prune(root, Site(), dry=True, now=NOW)
    assert went(dry) == ["20261116", "20261117", "20261118"]
    assert dry.going[0].size > 1000
    assert len(list(run_folders(root))) == 5, "a dry run removes nothing"
    real = prune(root, Site(), now=NOW)
    assert went(real) == went(dry)
    assert [folder.name[:8] for folder in run_folders(root)] == ["20261119", "20261120"]
    assert (outside / "precious").exists()
    assert {path.name for path in root.iterdir()} == {"job"}
    assert went(prune(root, Site(), now=NOW)) == []


def test_the_rule_is_the_newest_runs_or_the_sites(tmp_path: Path) -> None:
    runs = [made(tmp_path, day) for day in (4, 3, 2, 1)]
    changed = json.loads(runs[-1].paths.job.read_text())
    write_json(runs[-1].paths.job, {key: value for key, value in changed.items() if key != "keep"})
    root = tmp_path / "runs"
    assert prune(root, Site(), dry=True, now=NOW).looked == 0
    assert went(prune(root, Site(keep=Keep(runs=1)), dry=True, now=NOW)) == ["20261117", "20261118", "20261119"]
    assert went(prune(root, Site(), keep=Keep(runs=3), dry=True, now=NOW)) == ["20261117"]
    assert prune(root, Site(), keep=Keep(runs=1), job="other", dry=True, now=NOW).looked == 0


def test_what_a_killed_command_left_is_removed_later_and_is_no_run(tmp_path: Path, monkeypatch: Any) -> None:
    run = made(tmp_path, 4)
    root = tmp_path / "runs"
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: None)
    discard(run.paths.folder, root)
    assert (root / ".trash").is_dir()
    assert list(run_folders(root)) == []
    monkeypatch.undo()
    prune(root, Site(), now=NOW)
    assert not (root / ".trash").exists()


def test_a_run_that_cannot_be_read_stays_and_is_named(tmp_path: Path) -> None:
    runs = [made(tmp_path, day) for day in (9, 8, 7, 6)]
    runs[0].paths.record.write_text("{}")
    done = prune(tmp_path / "runs", Site(), now=NOW)
    assert went(done) == ["20261113"]
    assert runs[0].label.split("/")[1] in done.unreadable[0]


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["segbatch", "prune", *arguments])
    with pytest.raises(SystemExit) as done:
        main()
    return int(done.value.code or 0)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    home = ["--home", str(tmp_path / "schedules")]
    for day in (40, 30, 20):
        made(tmp_path, day)
    assert call(monkeypatch, "--dry-run", *home) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("goes    job/20261012-120000-0000, ")
    assert out[0].endswith(" kB: 2 newer runs")
    assert out[1].startswith("runs 3, to go 1, checkpoints to go 0, ")
    assert call(monkeypatch, "--keep-days", "1", "--json", *home) == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["why"] for one in told["going"]] == ["older than 1 day"] * 2
    assert told["staying"] == [
        {"run": "job/20261101-120000-0000", "rule": "older than 1 day", "why": "it is the newest run"}
    ]
    assert len(list(run_folders(tmp_path / "runs"))) == 1
    assert call(monkeypatch, "nowhere") == 2
    assert "Expected a folder of runs, or a job file" in capsys.readouterr().err


def test_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    job = load(PREDICT + "keep: {runs: 14, days: 90, checkpoints: 2}\n").job
    assert isinstance(job, PredictJob)
    assert job.keep == Keep(runs=14, days=90, checkpoints=2)
    assert "a whole number of at least 1" in problems(PREDICT + "keep: {runs: 0}\n")[0]
    assert "unknown key 'run'" in problems(PREDICT + "keep: {run: 3}\n")[0]


def test_figures_in_words() -> None:
    assert [size(number) for number in (0, 999, 1500, 12_345, 3_000_000, 4.2e9, 7e12)] == [
        "0 B", "999 B", "1.5 kB", "12 kB", "3.0 MB", "4.2 GB", "7.0 TB",
    ]  # fmt: skip
    assert [duration(seconds) for seconds in (None, 42, 200, 18720, 273600)] == [
        "-", "42 s", "3 min 20 s", "5 h 12 min", "3 d 4 h",
    ]  # fmt: skip
