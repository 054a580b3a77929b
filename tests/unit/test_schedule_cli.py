"""`segbatch schedule` from the command line, with programs on PATH in place of cron's."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from segbatch.cli import main
from segbatch.cluster.cron.store import load
from segbatch.runs import ledger
from tests.support.fake_cron import FakeCron
from tests.support.slurm_runs import write_run

JOB = """\
kind: predict
model: model.keras
labels: forest
data: {images: images}
"""
MINE = "MAILTO=ana\n0 5 * * 1 backup --to 50\\%\n"
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cron(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeCron:
    found = FakeCron(tmp_path / "cron", "crontab", "scrontab", "sendmail")
    found.disable("scrontab")
    found.fill(MINE)
    monkeypatch.setenv("PATH", f"{found.bin}:/usr/bin:/bin")
    monkeypatch.setenv("TZ", "Europe/Madrid")
    monkeypatch.setenv("SEGBATCH_SCHEDULES", str(tmp_path / "schedules"))
    for name in ("SLURM_CONF", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "forest.yaml").write_text(JOB)
    return found


@pytest.fixture
def call(cron: FakeCron, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["segbatch", "schedule", *arguments])
        with pytest.raises(SystemExit) as done:
            main()
        said = capsys.readouterr()
        return int(done.value.code or 0), said.out, said.err

    return run


def add(call: Call, *more: str, cron: str = "0 2 * * *") -> tuple[int, str, str]:
    return call("add", "forest.yaml", "--cron", cron, "--no-try", *more)


def test_from_adding_to_removing(call: Call, cron: FakeCron, tmp_path: Path) -> None:
    code, out, _ = add(call)
    assert code == 0
    assert out.splitlines()[0] == "added: forest, 0 2 * * * in Europe/Madrid, overlap: skip"
    assert out.splitlines()[1].startswith("next    20")
    assert "02:00+0" in out
    script = tmp_path / "schedules" / "forest" / "entry.sh"
    entry = f"# >>> segbatch forest >>>\n0 2 * * * /bin/sh {script}\n# <<< segbatch forest <<<\n"
    assert cron.table() == MINE + entry
    installs = len([words for words in cron.calls() if words != "-l"])
    assert add(call)[1].startswith("there already: forest")
    assert len([words for words in cron.calls() if words != "-l"]) == installs
    assert add(call, "--overlap", "replace", cron="30 3 * * *")[1].startswith("added: forest, 30 3")
    assert cron.table() == MINE + entry.replace("0 2", "30 3")
    (row,) = json.loads(call("list", "--json")[1])
    assert (row["when"], row["zone"], row["last"], row["outcome"], row["entry"]) == (
        "30 3 * * *",
        "Europe/Madrid",
        None,
        "not started yet",
        "installed",
    )
    assert call("remove", "forest")[:2] == (0, "removed: forest\n")
    assert cron.table() == MINE
    assert not list((tmp_path / "schedules").iterdir())
    assert "no schedules in" in call("list")[1]


def test_show_prints_exactly_what_is_installed(call: Call, cron: FakeCron, tmp_path: Path) -> None:
    rules = ("forest.yaml", "--cron", "15 2 * * 1-5", "--jitter", "20min")
    _, out, err = call("show", *rules)
    assert "# crontab of " in err
    assert not (tmp_path / "schedules").exists(), "showing writes nothing"
    assert cron.table() == MINE
    call("add", *rules, "--no-try")
    script = (tmp_path / "schedules" / "forest" / "entry.sh").read_text()
    assert (cron.table() or "").removeprefix(MINE) + script == out
    assert call("show", "forest")[1] == out


def test_scrontab_where_the_site_has_it(call: Call, cron: FakeCron, tmp_path: Path) -> None:
    (cron.folder / "scrontab.disabled").unlink()
    (tmp_path / "site.yaml").write_text(
        "backend: local\npartition: gpu\nfinish_partition: cpu\naccount: forest\n"
        "cron: {profile: ['. /etc/profile'], slurm: {qos: cron, exclusive: false}}\n"
    )
    code, _, err = add(call)
    assert code == 2
    assert "Choose --via crontab, or --backend slurm" in err
    (cron.bin / "sbatch").write_text("#!/bin/sh\n")
    (cron.bin / "sbatch").chmod(0o755)
    assert add(call, "--backend", "slurm", "--jitter", "10min")[0] == 0
    assert (cron.table("scrontab") or "").splitlines()[1:-2] == [
        "#SCRON --job-name=segbatch-forest",
        "#SCRON --partition=cpu",
        "#SCRON --account=forest",
        "#SCRON --time=25",
        "#SCRON --mem=500M",
        f"#SCRON --output={tmp_path}/schedules/forest/scrontab.log",
        "#SCRON --open-mode=append",
        "#SCRON --qos=cron",
    ]
    assert cron.table() == MINE
    assert ". /etc/profile\n" in (tmp_path / "schedules" / "forest" / "entry.sh").read_text()
    assert add(call, "--backend", "slurm", "--via", "crontab")[0] == 0, "an entry moves to another table"
    assert cron.table("scrontab") is None
    assert (cron.table() or "").startswith(MINE + "# >>> segbatch forest")


def test_pause_and_resume(call: Call, cron: FakeCron, tmp_path: Path) -> None:
    add(call)
    installed = cron.table()
    assert call("pause", "forest")[0] == 0
    assert cron.table() == MINE
    assert json.loads(call("list", "--json")[1])[0]["next"] == "paused"
    assert "is paused" in add(call, "--overlap", "queue")[1], "adding again does not wake it"
    assert cron.table() == MINE
    before = datetime.now(UTC).replace(microsecond=0)
    assert call("resume", "forest")[0] == 0
    assert cron.table() == installed
    record = load(tmp_path / "schedules", "forest").record
    assert datetime.fromisoformat(record.since) >= before
    assert (record.paused, record.schedule.overlap) == (False, "queue")


def test_the_job_says_when(call: Call, cron: FakeCron, tmp_path: Path) -> None:
    (tmp_path / "forest.yaml").write_text(
        JOB + 'name: nightly\nschedule: {cron: "0 4 * * *", zone: Asia/Tokyo, catch_up: 8h, overlap: queue}\n'
    )
    assert call("add", "forest.yaml", "--no-try")[0] == 0
    record = load(tmp_path / "schedules", "nightly").record
    assert (record.zone, record.here, record.schedule.overlap) == ("Asia/Tokyo", "Europe/Madrid", "queue")
    assert "\n0 * * * * /bin/sh " in (cron.table() or "")
    assert call("add", "forest.yaml", "--no-try", "--cron", "0 5 * * *", "--name", "early")[0] == 0
    early = load(tmp_path / "schedules", "early").record
    assert (early.schedule.cron, early.schedule.catch_up, early.zone) == ("0 5 * * *", 480, "Asia/Tokyo")
    assert (cron.table() or "").count(">>> segbatch") == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "expected --cron"),
        (("--cron", "0 26 * * *"), "--cron: bad hour"),
        (("--cron", "0 2 * * *", "--zone", "Madrid"), "expected a time zone such as Europe/Madrid"),
        (("--cron", "0 2 * * *", "--catch-up", "long"), "--catch-up: expected a time such as"),
        (("--cron", "*/5 * * * *", "--jitter", "5min"), "the delay must be shorter"),
        (("--cron", "0 2 * * *", "--name", "a b"), "expected up to 100 letters"),
        (("--cron", "0 2 * * *", "--via", "scrontab", "--backend", "local"), "scrontab starts jobs of SLURM"),
        (("--cron", "0 2 * * *", "--set", "predict.tasks=0"), "predict.tasks"),
    ],
)
def test_what_is_refused_leaves_nothing(
    call: Call, cron: FakeCron, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    code, _, err = call("add", "forest.yaml", "--no-try", *arguments)
    assert code == 2
    assert words in err
    assert cron.table() == MINE
    assert not list(tmp_path.glob("schedules/*"))


def test_two_schedules_of_one_name(call: Call, cron: FakeCron, tmp_path: Path) -> None:
    add(call)
    (tmp_path / "other.yaml").write_text(JOB + "name: forest\n")
    code, _, err = call("add", "other.yaml", "--cron", "0 2 * * *", "--no-try")
    assert code == 2
    assert "there is a schedule 'forest' already" in err
    elsewhere = ("--home", str(tmp_path / "elsewhere"))
    code, _, err = add(call, *elsewhere)
    assert code == 1
    assert "of a schedule in another folder" in err
    assert not list(tmp_path.glob("elsewhere/*"))
    assert add(call, *elsewhere, "--name", "forest-2")[0] == 0


def test_adding_again_in_a_folder_with_an_odd_name(call: Call, cron: FakeCron, tmp_path: Path) -> None:
    odd = ("--home", str(tmp_path / """a 100% "b" it's"""))
    assert add(call, *odd)[0] == 0
    assert add(call, *odd)[1].startswith("there already")
    assert add(call, *odd, cron="5 5 * * *")[1].startswith("added")
    assert call("remove", "forest", *odd)[0] == 0
    assert cron.table() == MINE


def test_a_table_that_cron_refuses_leaves_no_schedule(call: Call, cron: FakeCron, tmp_path: Path) -> None:
    cron.fill("refuse me\n")
    code, _, err = add(call)
    assert code == 1
    assert "the table of crontab could not be changed" in err
    assert not list(tmp_path.glob("schedules/*"))


def test_an_entry_of_another_machine(call: Call, cron: FakeCron, tmp_path: Path) -> None:
    """A home folder is shared by many machines, a crontab is not."""
    add(call)
    load(tmp_path / "schedules", "forest").with_record(host="login7")
    assert json.loads(call("list", "--json")[1])[0]["entry"] == "on login7"
    assert "in the crontab of login7: do this there" in call("remove", "forest")[2]
    code, out, err = call("pause", "forest")
    assert (code, "paused: forest" in out, "its entry stays, and starts nothing" in err) == (0, True, True)
    assert load(tmp_path / "schedules", "forest").record.paused
    assert call("resume", "forest")[0] == 1
    assert call("remove", "forest", "--force")[0] == 0


def test_the_list_tells_what_became_of_the_last_start(call: Call, cron: FakeCron, tmp_path: Path) -> None:
    add(call)
    stored = load(tmp_path / "schedules", "forest")
    run = write_run(tmp_path, tasks=1)
    ledger.record(run.paths, "a", "submitted", backend="local", host="x", pid=1)
    ledger.record(run.paths, "a", "ended", code=1)
    stored.note("2026-11-20T01:00:00+00:00", "started", run=run.label, folder=str(run.paths.folder))
    (row,) = json.loads(call("list", "--json")[1])
    assert (row["last"], row["outcome"]) == ("2026-11-20 02:00+01:00", f"{run.label}: failed")
    stored.note("2026-11-21T01:00:00+00:00", "skipped", why="job/x is still running")
    assert json.loads(call("list", "--json")[1])[0]["outcome"] == "skipped: job/x is still running"
    assert "skipped: job/x is still running" in call("list")[1]
    cron.fill((cron.table() or "").replace("0 2 * * *", "0 3 * * *"))
    assert json.loads(call("list", "--json")[1])[0]["entry"] == "changed by hand"
    cron.fill(MINE)
    assert json.loads(call("list", "--json")[1])[0]["entry"] == "missing"


def test_a_start_that_fails_in_the_night_is_told(call: Call, cron: FakeCron, tmp_path: Path) -> None:
    (tmp_path / "forest.yaml").write_text(JOB + "notify: [{on: failure, mail: ana@example.org}]\n")
    add(call, "--zone", "UTC", cron="0 0 * * *")
    due = (datetime.now(UTC) + timedelta(days=2)).replace(hour=0, minute=0, second=0)
    code, out, _ = call("fire", "forest", "--now", due.isoformat())
    assert code == 1
    assert "failed: " in out
    assert "told: mail ana@example.org" in out
    mail = (cron.folder / "mail.txt").read_text()
    assert "Subject: segbatch: forest could not be started" in mail
    assert "run-now forest" in mail


def test_help_names_the_commands(call: Call) -> None:
    out = call("--help")[1]
    for name in ("add", "show", "list", "remove", "pause", "resume", "run-now", "fire"):
        assert f"\n  {name} " in out
