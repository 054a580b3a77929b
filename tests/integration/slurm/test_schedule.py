"""A schedule on a real SLURM: the entry runs as scrontab would run it, inside a job, and submits; its end is told."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from segbatch.cluster.cron.store import iso, load
from tests.integration.slurm.world import User
from tests.support.fake_cron import FakeCron
from tests.support.slurm_cluster import SlurmCluster
from tests.support.worlds import make_tiles


def test_an_entry_of_scrontab_submits_from_inside_its_job(
    slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """scrontab itself is a program of the test's, since packaged SLURMs lack it; its #SCRON lines go to sbatch."""
    cron = FakeCron(tmp_path / "cron", "scrontab")
    schedules = tmp_path / "schedules"
    monkeypatch.setenv("PATH", f"{cron.bin}:{os.environ['PATH']}")
    monkeypatch.setenv("SEGBATCH_SCHEDULES", str(schedules))
    tiles = make_tiles(tmp_path / "tiles", 4, size=(16, 16))
    (tiles / "predicted").symlink_to("masks")
    user = User(slurm, tmp_path / "work")
    notify = [
        {"on": "success", "command": ["sh", "-c", f"cat >>{tmp_path}/told"]},
        {"on": "failure", "mail": "ana@example.org", "through": "slurm"},
    ]
    user.evaluate(tiles, schedule={"cron": "0 * * * *", "zone": "UTC", "catch_up": "2h"}, notify=notify)
    user.type("schedule", "add", "score.yaml")
    stored = load(schedules, "score")
    assert stored.record.via == "scrontab"
    stored.with_record(since=iso(datetime.now(UTC) - timedelta(hours=1, minutes=30)))

    lines = (cron.table("scrontab") or "").splitlines()[1:-1]
    script = tmp_path / "as scrontab.sh"
    options = [line.replace("#SCRON", "#SBATCH") for line in lines if line.startswith("#SCRON")]
    command = next(line for line in lines if not line.startswith("#")).split(" ", 5)[5]
    script.write_text("\n".join(["#!/bin/sh", *options, command, ""]))
    environ = {name: value for name, value in os.environ.items() if name in ("PATH", "SLURM_CONF", "HOME")}
    done = subprocess.run(
        ["sbatch", "--wait", str(script)], env=environ, cwd="/", capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, f"{done.stderr}\n{stored.log.read_text() if stored.log.exists() else 'no log'}"
    assert "as job array" in stored.log.read_text()
    assert user.over("score")["state"] == "done"
    slurm.wait_for((tmp_path / "told").exists, 60, "the notification")
    assert "outcome  done, exit code 0" in (tmp_path / "told").read_text()
    (row,) = json.loads(user.type("schedule", "list", "--json"))
    assert row["outcome"].endswith(": done")
    assert row["entry"] == "installed"
    finish = (user.folder / "runs" / "score" / "latest" / "script-2.sbatch").read_text()
    assert "#SBATCH --mail-type=FAIL,INVALID_DEPEND\n" in finish, "which this SLURM has taken"
