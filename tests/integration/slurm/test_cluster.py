"""The cluster that other tests stand on does what a cluster does, and leaves nothing behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.slurm_cluster import SlurmCluster

SLEEP = "#!/bin/bash\nsleep 600\n"
FAIL = "#!/bin/bash\nexit 3\n"
TELLTALE = """#!/bin/bash
trap 'sleep 2; echo had time >>told' USR1
echo "start $SLURM_JOB_ID ${SLURM_RESTART_COUNT:-0}" >>told
[ "${SLURM_RESTART_COUNT:-0}" = 0 ] || exit 0
while :; do sleep 0.1; done
"""


def exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_an_array_runs_on_both_nodes(slurm: SlurmCluster, tmp_path: Path) -> None:
    script = "#!/bin/bash\necho $SLURM_ARRAY_TASK_ID on $SLURMD_NODENAME >out-$SLURM_ARRAY_TASK_ID\nsleep 1\n"
    job = slurm.submit(script, "--array=0-3", "--cpus-per-task=2", folder=tmp_path)
    slurm.wait_for_state(job, "COMPLETED")
    said = [path.read_text().split() for path in tmp_path.glob("out-*")]
    assert sorted(words[0] for words in said) == ["0", "1", "2", "3"]
    assert {words[2] for words in said} == {"node1", "node2"}
    assert slurm.jobs() == {f"{job}_{index}": "COMPLETED" for index in range(4)}


def test_jobs_get_gpus_of_their_own(slurm: SlurmCluster, tmp_path: Path) -> None:
    script = "#!/bin/bash\necho ${CUDA_VISIBLE_DEVICES-none} >gpu-$SLURM_ARRAY_TASK_ID\nsleep 1\n"
    one = slurm.submit(script, "--array=0-1", "--nodelist=node1", "--gpus-per-node=1", folder=tmp_path)
    none = slurm.submit(script, "--array=2", "--nodelist=node2", folder=tmp_path)
    slurm.wait_for_state(one, "COMPLETED")
    slurm.wait_for_state(none, "COMPLETED")
    seen = {path.name: path.read_text().strip() for path in tmp_path.glob("gpu-*")}
    assert sorted([seen["gpu-0"], seen["gpu-1"]]) == ["0", "1"]
    assert seen["gpu-2"] == "none"
    with pytest.raises(AssertionError, match="not available"):
        slurm.submit(script, "--gpus-per-node=3")


def test_a_node_that_fails_gives_its_job_back(slurm: SlurmCluster) -> None:
    job = slurm.submit(SLEEP, "--nodelist=node1", "--requeue")
    slurm.wait_for_state(job, "RUNNING")
    slurm.node_down("node1")
    slurm.wait_for_state(job, "PENDING")
    assert slurm.job_facts(job)["Restarts"] == "1"
    slurm.node_up("node1")


def test_a_node_without_power_gives_its_job_back(slurm: SlurmCluster, tmp_path: Path) -> None:
    job = slurm.submit("#!/bin/bash\necho $$ >pid\nsleep 600\n", "--nodelist=node2", "--requeue", folder=tmp_path)
    pid = int(slurm.wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text()))
    slurm.kill_node("node2", noticed=True)
    assert not exists(pid)
    slurm.wait_for_state(job, "PENDING")
    assert slurm.node_states()["node2"].startswith("down")
    slurm.start_slurmd("node2")


def test_a_lost_slurmd_leaves_its_job_running(slurm: SlurmCluster, tmp_path: Path) -> None:
    job = slurm.submit("#!/bin/bash\necho $$ >pid\nsleep 600\n", "--nodelist=node2", folder=tmp_path)
    pid = int(slurm.wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text()))
    slurm.kill_slurmd("node2")
    assert exists(pid)
    slurm.start_slurmd("node2")
    assert slurm.job_state(job) == "RUNNING"


def test_jobs_outlive_the_controller(slurm: SlurmCluster) -> None:
    job = slurm.submit(SLEEP)
    slurm.wait_for_state(job, "RUNNING")
    slurm.stop_slurmctld()
    with pytest.raises(AssertionError, match="DOWN"):
        slurm.run("scontrol", "ping")
    slurm.start_slurmctld()
    assert slurm.job_state(job) == "RUNNING"
    slurm.wait_for_state(slurm.submit(FAIL), "FAILED")


def test_main_takes_the_place_of_others(slurm: SlurmCluster, tmp_path: Path) -> None:
    told = {}
    for partition, node in (("scavenge", "node1"), ("notice", "node2")):
        (folder := tmp_path / partition).mkdir()
        options = ["--requeue", f"--partition={partition}", f"--nodelist={node}", "--exclusive"]
        victim = slurm.submit(TELLTALE, *options, "--signal=B:USR1@60", folder=folder)
        told[victim] = folder / "told"
    slurm.wait_for(lambda: all(path.exists() for path in told.values()), what="the victims run")
    taker = slurm.submit("#!/bin/bash\n", "--nodes=2", "--exclusive")
    slurm.wait_for_state(taker, "COMPLETED")
    for victim in told:
        slurm.wait_for_state(victim, "COMPLETED")
    scavenge, notice = told
    assert told[scavenge].read_text().splitlines() == [f"start {scavenge} 0", f"start {scavenge} 1"]
    assert told[notice].read_text().splitlines() == [f"start {notice} 0", "had time", f"start {notice} 1"]


def test_settings_change_until_the_reset(slurm: SlurmCluster) -> None:
    slurm.reconfigure(MaxArraySize=11)
    with pytest.raises(AssertionError, match="Invalid job array"):
        slurm.submit(SLEEP, "--array=0-11")
    slurm.reconfigure(extra=("PartitionName=short Nodes=node1 MaxTime=5 State=UP",))
    slurm.submit(SLEEP, "--array=0-11", "--partition=short", "--time=5")
    slurm.reset()
    assert slurm.jobs() == {}
    with pytest.raises(AssertionError, match="invalid partition"):
        slurm.submit(SLEEP, "--partition=short")


def test_a_reset_ends_what_hides(slurm: SlurmCluster, tmp_path: Path) -> None:
    script = (
        "#!/bin/bash\ntrap '' TERM USR1\n"
        "setsid env -i /bin/bash -c 'trap \"\" TERM; echo $$ >hidden; while :; do sleep 1; done' &\n"
        "disown; while :; do sleep 1; done\n"
    )
    slurm.submit(script, folder=tmp_path)
    hidden = int(slurm.wait_for(lambda: (tmp_path / "hidden").exists() and (tmp_path / "hidden").read_text()))
    slurm.kill_slurmd("node1")
    slurm.node_drain("node2")
    slurm.run("scontrol", "update", "PartitionName=main", "State=DOWN")
    slurm.kill_slurmctld()
    slurm.reset()
    assert not exists(hidden)
    assert set(slurm.node_states().values()) == {"idle"}
    slurm.wait_for_state(slurm.submit(FAIL, "--nodelist=node[1-2]"), "FAILED")


def test_clusters_keep_apart(slurm: SlurmCluster) -> None:
    mine = slurm.submit(SLEEP)
    with SlurmCluster(nodes=1, gpus=1, gpu_type="a100", MaxArraySize=5) as other:
        assert other.jobs() == {}
        theirs = other.submit(FAIL, "--gres=gpu:a100:1", "--array=0")
        other.wait_for_state(theirs, "FAILED")
        other.reset()
    slurm.wait_for_state(mine, "RUNNING")
    assert not other.layout.root.exists()


@pytest.mark.usefixtures("slurm_cluster")
def test_nothing_survives_killed_tests(repo: Path, tmp_path: Path) -> None:
    program = (
        "import os, pathlib, signal, sys\n"
        "from tests.support.slurm_cluster import SlurmCluster\n"
        "with SlurmCluster() as cluster:\n"
        "    folder = pathlib.Path(sys.argv[1])\n"
        "    script = '#!/bin/bash\\nenv -i setsid bash -c \"echo \\\\$\\\\$ >pid; sleep 600\"\\n'\n"
        "    cluster.submit(script, folder=folder)\n"
        "    cluster.wait_for(lambda: (folder / 'pid').exists() and (folder / 'pid').read_text())\n"
        "    print(cluster.layout.root, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    outcome = subprocess.run(
        [sys.executable, "-c", program, tmp_path], cwd=repo, stdout=subprocess.PIPE, text=True, timeout=60, check=False
    )
    assert outcome.returncode == -signal.SIGKILL
    pid, root = int((tmp_path / "pid").read_text()), Path(outcome.stdout.strip())
    end = time.monotonic() + 20
    while root.exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not root.exists()
    assert not exists(pid)


def test_accounting_and_its_loss(slurm_database: SlurmCluster) -> None:
    slurm = slurm_database

    def recorded(job: str) -> str:
        return slurm.run("sacct", "-n", "-P", "-X", "-o", "State,ExitCode", "-j", job, check=False).strip()

    job = slurm.submit(FAIL)
    slurm.wait_for(lambda: recorded(job) == "FAILED|3:0", 30, "sacct tells of the end")
    slurm.kill_database()
    with pytest.raises(AssertionError, match="ended with 1"):
        slurm.run("sacct")
    meanwhile = slurm.submit(FAIL)
    slurm.wait_for_state(meanwhile, "FAILED")
    slurm.start_database()
    # The state arrives after some five seconds; the exit code, wrong until then, after twenty.
    slurm.wait_for(lambda: recorded(meanwhile).startswith("FAILED|"), 60, "sacct tells of what happened without it")
    assert recorded(job) == "FAILED|3:0"
