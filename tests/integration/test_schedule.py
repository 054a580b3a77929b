"""A job that starts by itself, as cron would start it: no environment, a real run, its end told, old runs gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from segbatch.runs.pipelines import find_pipeline
from segbatch.runs.run import find_run
from segbatch.runs.status import run_status
from tests.support.fake_cron import FakeCron
from tests.support.pipelines import evaluate, make_scored, write_pipeline
from tests.support.waiting import WAIT_S, until
from tests.support.worlds import make_tiles, write_job

CLASSES = [{"id": 0, "name": "ground", "color": "#102030"}, {"id": 1, "name": "forest", "color": "#203040"}]


def test_from_the_job_file_to_a_nightly_run(tmp_path: Path) -> None:
    cron = FakeCron(tmp_path / "cron", "crontab")
    make_tiles(tmp_path / "data", 6, size=(16, 16))
    (tmp_path / "data" / "predicted").symlink_to("masks")
    write_job(
        tmp_path / "score.yaml",
        kind="evaluate",
        labels={"name": "two", "classes": CLASSES},
        data={"root": "${TILES}", "images": "images", "masks": "masks", "predictions": {"folder": "predicted"}},
        schedule={"cron": "0 2 * * *", "zone": "UTC"},
        keep={"runs": 1},
        notify=[{"on": "success", "command": ["sh", "-c", f"cat >>{tmp_path}/told"]}],
    )
    environ = {
        **os.environ,
        "PATH": f"{cron.bin}:{os.environ['PATH']}",
        "SEGBATCH_SCHEDULES": str(tmp_path / "schedules"),
        "TILES": str(tmp_path / "data"),
        "TZ": "UTC",
    }

    def segbatch(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "segbatch", "schedule", *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=WAIT_S)

    refused = segbatch("add", "score.yaml")
    assert refused.returncode == 2
    assert "in the environment that cron gives it, the entry fails (exit 2)" in refused.stderr
    assert "TILES" in refused.stderr
    assert cron.table() is None
    (tmp_path / "site.yaml").write_text(f"backend: local\ncron: {{profile: ['export TILES={tmp_path}/data']}}\n")
    added = segbatch("add", "score.yaml")
    assert added.returncode == 0, added.stderr

    script = tmp_path / "schedules" / "score" / "entry.sh"
    assert f"0 2 * * * /bin/sh {script}\n" in (cron.table() or "")

    def night(number: int) -> str:
        now = (datetime.now(UTC) + timedelta(days=number)).replace(hour=2, minute=0, second=0)
        bare = {"HOME": str(tmp_path), "SHELL": "/bin/sh", "PATH": "/usr/bin:/bin", "LOGNAME": "ana"}
        command = ["/bin/sh", str(script), "--now", now.isoformat()]
        done = subprocess.run(command, cwd="/", env=bare, capture_output=True, text=True, timeout=WAIT_S)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    names = []
    for number in (1, 2):
        assert "run     score/" in (said := night(number))
        run = find_run("score", tmp_path / "runs")
        names.append(run.label)
        until(lambda: run_status(run).state == "done")  # noqa: B023 - called at once
        until(lambda: (tmp_path / "told").exists() and run.label in (tmp_path / "told").read_text())  # noqa: B023
    assert names[0] != names[1]
    told = (tmp_path / "told").read_text()
    assert told.count("outcome  done, exit code 0") == 2
    assert told.count("scores   mean IoU 1.0000, mean Dice 1.0000, accuracy 1.0000") == 2
    assert "run     " not in night(2), "each night starts once"
    assert "the newest good run" in said, "while the new run is under way, the last good one stays"
    (row,) = json.loads(segbatch("list", "--json").stdout)
    assert (row["outcome"], row["entry"]) == (f"{names[1]}: done", "installed")
    until(lambda: run_status(find_run("score", tmp_path / "runs")).state == "done")
    assert f"gone    {names[0]}" in night(3)
    until(lambda: run_status(find_run("score", tmp_path / "runs")).state == "done")
    assert segbatch("remove", "score").returncode == 0
    assert cron.table() is None


def test_a_pipeline_starts_by_itself_is_told_of_and_goes_as_a_whole(tmp_path: Path) -> None:
    cron = FakeCron(tmp_path / "cron", "crontab")
    make_scored(tmp_path)
    write_pipeline(
        tmp_path / "nightly.yaml",
        {"first": {"job": evaluate(tmp_path)}, "second": {"job": evaluate(tmp_path), "needs": "first"}},
        schedule={"cron": "0 2 * * *", "zone": "UTC"},
        keep={"runs": 1},
        notify=[{"on": "end", "command": ["sh", "-c", f"cat >>{tmp_path}/told"]}],
    )
    (tmp_path / "site.yaml").write_text("backend: local\n")
    home = tmp_path / "schedules"
    environ = {**os.environ, "PATH": f"{cron.bin}:{os.environ['PATH']}", "SEGBATCH_SCHEDULES": str(home)}

    def segbatch(*arguments: str) -> str:
        command = [sys.executable, "-m", "segbatch", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=WAIT_S)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def night(number: int) -> str:
        now = (datetime.now(UTC) + timedelta(days=number)).replace(hour=2, minute=0, second=0)
        said = segbatch("schedule", "fire", "nightly", "--now", now.isoformat())
        pipeline = find_pipeline("nightly", tmp_path / "runs")
        assert pipeline is not None
        until(lambda: (tmp_path / "told").exists() and pipeline.label in (tmp_path / "told").read_text())
        labels.append(pipeline.label)
        return said

    labels: list[str] = []
    assert "added: nightly, 0 2 * * * in UTC" in segbatch("schedule", "add", "nightly.yaml")
    assert f"0 2 * * * /bin/sh {home}/nightly/entry.sh\n" in (cron.table() or "")
    night(1)
    assert "the newest good run" in night(2), "while the new one is under way, the last good one stays"
    (row,) = json.loads(segbatch("schedule", "list", "--json"))
    assert (row["outcome"], row["entry"]) == (f"{labels[1]}: done", "installed")
    assert (tmp_path / "told").read_text().count("stages   first done, second done\n") == 2
    report = segbatch("report", "nightly")
    assert report.count("mean IoU 1.0000") == 2
    assert [
        line
        for line in report.splitlines()
        if not line.startswith((" ", "tiles", "speed", "scores", "masks", "report"))
    ] == [
        "first",
        "second",
    ]
    assert "run      nightly/" in segbatch("notify", "nightly", "--print")
