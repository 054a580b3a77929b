"""`segbatch doctor` on a real cluster."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.slurm_cluster import SlurmCluster

QUICK = "backend: slurm\nmin_poll_seconds: 0.5\n"


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "segbatch", "doctor", "--json", *words]


def doctor(
    slurm: SlurmCluster, folder: Path, *words: str, site: str = QUICK, code: int = 0, **environ: str
) -> dict[tuple[str, str], Any]:
    """Run the command in `folder`; returns its rows by area and what they are about."""
    (folder / "site.yaml").write_text(site)
    done = subprocess.run(
        command(*words),
        cwd=folder,
        env={**slurm.environ, "XDG_CACHE_HOME": str(folder / "cache"), **environ},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return {(row["area"], row["what"]): row for row in json.loads(done.stdout)}


def states(rows: dict[tuple[str, str], Any], area: str) -> dict[str, str]:
    return {what: row["state"] for (where, what), row in rows.items() if where == area}


def tidy(slurm: SlurmCluster, folder: Path) -> bool:
    """Tell whether no file of the doctor is left, and no job once SLURM has let it go."""
    slurm.wait_for(lambda: not slurm.run("squeue", "--noheader").strip(), 60, "the end of its job")
    return not list((folder / "runs").iterdir())


def test_the_cluster_is_described(slurm: SlurmCluster, tmp_path: Path) -> None:
    rows = doctor(slurm, tmp_path)
    assert rows["SLURM", "controller"]["words"] == "cluster lab answers"
    assert rows["SLURM", "accounting"]["words"] == "off"
    assert rows["SLURM", "job arrays"]["words"].startswith("up to 1001 tasks")
    assert "gpu:2" in rows["partitions", "main"]["words"]
    assert rows["partitions", "main"]["consequence"] == "sends tasks there, as SLURM's default"
    assert "to start at" in rows["site", "trial job"]["words"]
    assert rows["SLURM", "schedules"]["words"].startswith("scrontab is on")
    assert slurm.jobs() == {}, "nothing is queued"


def test_the_accounting_answers_and_fails(slurm_database: SlurmCluster, tmp_path: Path) -> None:
    site = f"{QUICK}account: nobody\nqos: nroaml\n"
    rows = doctor(slurm_database, tmp_path, site=site, code=1)
    assert rows["SLURM", "accounting"]["words"] == "on (sacct answers)"
    assert "Did you mean 'normal'?" in rows["site", "qos"]["words"]
    slurm_database.kill_database()
    rows = doctor(slurm_database, tmp_path)
    assert rows["SLURM", "accounting"]["state"] == "warn"
    assert "run folder" in rows["SLURM", "accounting"]["consequence"]


def test_wrong_keys_are_named_and_slurm_refuses_too(slurm: SlurmCluster, tmp_path: Path) -> None:
    rows = doctor(slurm, tmp_path, site=f"{QUICK}partition: mian\n", code=1)
    assert "Did you mean 'main'?" in rows["site", "partition"]["words"]
    assert "nvalid partition" in rows["site", "trial job"]["words"]
    rows = doctor(slurm, tmp_path, site=f"{QUICK}constraint: fast\n", code=1)
    assert "feature" in rows["site", "trial job"]["words"]


def test_without_a_controller(slurm: SlurmCluster, tmp_path: Path) -> None:
    slurm.stop_slurmctld()
    rows = doctor(slurm, tmp_path, "--deep", code=1)
    assert rows["SLURM", "controller"]["state"] == "bad"
    assert "not sent" in rows["node", "tiny job"]["words"]
    slurm.start_slurmctld()


@pytest.mark.tensorflow
def test_a_node_is_looked_at(slurm: SlurmCluster, tmp_path: Path) -> None:
    rows = doctor(slurm, tmp_path, "--deep", site=f"{QUICK}prolog: ['export TF_CPP_MIN_LOG_LEVEL=3']\n")
    found = states(rows, "node")
    # The cluster's GPUs are none.
    assert found.pop("GPUs") == "warn"
    assert set(found.values()) == {"ok"}, found
    assert found.keys() >= {"tiny job", "shared files", "clock", "scontrol", "srun", "scratch", "Python"}
    assert "given to the job: 0" in rows["node", "GPUs"]["words"]
    assert "imported in" in rows["node", "Python"]["words"]
    assert ("this machine", "shared?") not in rows, "seen, and no longer guessed"
    assert tidy(slurm, tmp_path)


def test_what_ends_on_the_way_is_told(slurm: SlurmCluster, tmp_path: Path) -> None:
    site = f"{QUICK}prolog: ['echo no such licence; exit 9']\n"
    row = doctor(slurm, tmp_path, "--deep", site=site, code=1)["node", "environment"]
    assert "code 9" in row["words"]
    assert "no such licence" in row["words"]
    assert tidy(slurm, tmp_path)


def test_a_python_and_a_scratch_folder_that_the_node_lacks(slurm: SlurmCluster, tmp_path: Path) -> None:
    site = f"{QUICK}python: /nodes/only/python\nscratch: /no/local/disk\n"
    rows = doctor(slurm, tmp_path, "--deep", "--gpus", "0", site=site, code=1)
    assert states(rows, "segbatch")["tasks' Python"] == "warn"
    found = states(rows, "node")
    assert (found["Python"], found["scratch"], found["srun"]) == ("bad", "bad", "ok")
    assert tidy(slurm, tmp_path)


def test_a_queue_that_does_not_move(slurm: SlurmCluster, tmp_path: Path) -> None:
    for node in slurm.nodes:
        slurm.node_drain(node)
    row = doctor(slurm, tmp_path, "--deep", "--timeout", "3")["node", "tiny job"]
    assert row["state"] == "warn"
    assert "still waited" in row["words"]
    assert tidy(slurm, tmp_path)


def test_a_folder_that_nodes_do_not_have(slurm: SlurmCluster, tmp_path: Path) -> None:
    """The node's view of the folder is taken away before the job starts."""
    for node in slurm.nodes:
        slurm.node_drain(node)
    (tmp_path / "site.yaml").write_text(QUICK)
    environ = {**slurm.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    process = subprocess.Popen(command("--deep"), cwd=tmp_path, env=environ, stdout=subprocess.PIPE, text=True)
    folder = slurm.wait_for(lambda: next(iter((tmp_path / "runs").glob(".doctor-*")), None), 30, "its folder")
    slurm.wait_for(slurm.jobs, 30, "its job")
    slurm.wait_for(lambda: (folder / "here").exists(), 30, "its files")
    # Another folder of that name, as on a disk of the node's own.
    shutil.move(folder / "here", tmp_path / "here")
    (folder / "here").write_text("of another")
    for node in slurm.nodes:
        slurm.node_up(node)
    out, _ = process.communicate(timeout=120)
    rows = {(row["area"], row["what"]): row for row in json.loads(out)}
    assert process.returncode == 1
    assert "not what is written into it here" in rows["node", "tiny job"]["words"]
    assert rows["node", "shared files"]["state"] == "bad"
    assert tidy(slurm, tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopping_it_leaves_no_job(slurm: SlurmCluster, tmp_path: Path, number: signal.Signals) -> None:
    for node in slurm.nodes:
        slurm.node_drain(node)
    (tmp_path / "site.yaml").write_text(QUICK)
    environ = {**slurm.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    process = subprocess.Popen(
        command("--deep"),
        cwd=tmp_path,
        env=environ,
        stdout=subprocess.PIPE,
        text=True,
        # Tests that are run in the background have it ignored, and so would what they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    slurm.wait_for(slurm.jobs, 30, "its job")
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "was cancelled" in out
    assert tidy(slurm, tmp_path)
