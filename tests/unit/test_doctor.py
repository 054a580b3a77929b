"""`segbatch doctor`: what is found, and what follows from it."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import segbatch
from segbatch.cli import cli
from segbatch.cluster.doctor.asking import Answer
from segbatch.cluster.doctor.containers import Found, check_runtimes, slurm_runtimes
from segbatch.cluster.doctor.controller import check_controller
from segbatch.cluster.doctor.finding import Finding, worst
from segbatch.cluster.doctor.interpreter import check_python
from segbatch.cluster.doctor.interruptions import check_interruptions
from segbatch.cluster.doctor.machine import cpu_limit, file_system, memory_limit
from segbatch.cluster.doctor.node import check_node
from segbatch.cluster.doctor.partitions import check_partitions, check_site_keys
from segbatch.cluster.doctor.probe import Report, new_probe, send_probe
from segbatch.cluster.doctor.probe_script import CODES, Probe, probe_text
from segbatch.cluster.doctor.slurm_facts import SlurmFacts
from segbatch.cluster.slurm.client import Slurm, SlurmRefusedError, SlurmUnavailableError
from segbatch.cluster.slurm.limits import Limits
from segbatch.cluster.slurm.queue import QueueView
from segbatch.cluster.slurm.rows import Partition, QueueRow
from segbatch.cluster.slurm.states import read_state
from segbatch.spec.site import Site
from tests.support.fake_slurm import FakeSlurm

CONFIG = {
    "AccountingStorageEnforce": "associations,limits,qos,safe",
    "AccountingStorageType": "accounting_storage/slurmdbd",
    "ClusterName": "lab",
    "JobRequeue": "0",
    "KillWait": "30 sec",
    "PreemptMode": "OFF",
    "PreemptType": "preempt/none",
    "ScronParameters": "",
}
GPU = Partition("gpu", False, True, 86400, 4, 1, 64, 512_000, ("gpu:nvidia_a100:4",))
CPU = Partition("cpu", True, True, None, 10, 10, 32, 128_000, ())
ALL = {
    name: f"/bin/{name}" for name in ("sbatch", "squeue", "sacct", "scontrol", "scancel", "sinfo", "sacctmgr", "srun")
}
ASSOCIATION = {"Account": "forest", "DefaultAccount": "forest", "QOS": "normal,urgent"}
CLUSTER = SlurmFacts(
    ALL,
    version=Answer((23, 11)),
    up=True,
    config=Answer(CONFIG),
    limits=Answer(Limits(accounting=True)),
    accounts=Answer(0),
    partitions=Answer([CPU, GPU]),
    associations=Answer([ASSOCIATION]),
    qos=Answer([{"Name": "normal"}, {"Name": "urgent"}, {"Name": "admin"}]),
    accepted=Answer("Job 7 to start at once"),
)


def with_settings(**settings: str) -> SlurmFacts:
    return replace(CLUSTER, config=Answer(CONFIG | settings))


def row(findings: Any, what: str, area: str | None = None) -> Finding:
    found = [one for one in findings if one.what == what and area in (None, one.area)]
    assert len(found) == 1, found
    return found[0]


def test_a_sound_cluster_has_only_good_rows() -> None:
    site = Site(partition="gpu", account="forest", qos="urgent", gpu_types={"a100": "nvidia_a100"})
    findings = [
        *check_controller(CLUSTER, site, "slurm"),
        *check_interruptions(CLUSTER, site),
        *check_partitions(CLUSTER, site),
        *check_site_keys(CLUSTER, site),
    ]
    assert [one for one in findings if one.state != "ok"] == []
    assert row(findings, "gpu").consequence == "sends tasks there"
    assert row(findings, "cpu").consequence == "does not use it"


# What the controller says.


@pytest.mark.parametrize(
    ("facts", "what", "state", "word"),
    [
        (SlurmFacts({}), "programs", "ok", "none on PATH"),
        (replace(CLUSTER, programs={"squeue": "/bin/squeue"}), "programs", "bad", "sbatch"),
        (replace(CLUSTER, programs={k: v for k, v in ALL.items() if k != "sacct"}), "sacct", "warn", "not on PATH"),
        (replace(CLUSTER, lost_settings="/gone.conf"), "settings", "bad", "/gone.conf"),
        (replace(CLUSTER, up=False), "controller", "bad", "does not answer"),
        (replace(CLUSTER, version=Answer((20, 2))), "version", "warn", "older than 22.05"),
        (replace(CLUSTER, limits=Answer(Limits(max_array_size=0))), "job arrays", "bad", "switched off"),
        (replace(CLUSTER, limits=Answer(Limits(min_job_age_s=2))), "ended jobs kept", "warn", "2 s"),
        (replace(CLUSTER, accounts=Answer(trouble="Connection refused")), "accounting", "warn", "out of reach"),
        (with_settings(AccountingStorageType="accounting_storage/none"), "accounting", "ok", "off"),
    ],
)
def test_what_the_controller_says_is_judged(facts: SlurmFacts, what: str, state: str, word: str) -> None:
    found = row(check_controller(facts, Site(), "slurm"), what)
    assert found.state == state
    assert word in found.words


def test_the_smaller_limit_counts() -> None:
    facts = replace(CLUSTER, limits=Answer(Limits(max_submit=500, accounting=True)))
    assert "more than 499 tasks" in row(check_controller(facts, Site(), "slurm"), "jobs at most").consequence


def test_preemption_without_a_signal_is_said() -> None:
    facts = with_settings(PreemptType="preempt/qos", PreemptMode="REQUEUE")
    assert "SIGTERM" in row(check_interruptions(facts, Site()), "preemption").consequence
    facts = with_settings(
        PreemptType="preempt/qos", PreemptMode="REQUEUE", SlurmctldParameters="preempt_send_user_signal"
    )
    assert "GraceTime" in row(check_interruptions(facts, Site()), "preemption").consequence


def test_schedules_need_a_switch_and_a_program() -> None:
    enabled = with_settings(ScronParameters="enable")
    for facts, way in (
        (replace(enabled, cron={"scrontab": "/bin/scrontab", "crontab": "/bin/crontab"}), ": scrontab"),
        (replace(enabled, cron={"crontab": "/bin/crontab"}), ": crontab"),
        (replace(CLUSTER, cron={"scrontab": "/bin/scrontab"}), "cannot"),
    ):
        assert way in row(check_interruptions(facts, Site()), "schedules").consequence


# What the site file asks for.


@pytest.mark.parametrize(
    ("site", "key", "hint"),
    [
        ({"partition": "gpus"}, "partition", "Did you mean 'gpu'?"),
        ({"partition": "gpu,fast"}, "partition", "fast"),
        ({"finish_partition": "cpus"}, "finish_partition", "Did you mean 'cpu'?"),
        ({"account": "forrest"}, "account", "Did you mean 'forest'?"),
        ({"qos": "urgnt"}, "qos", "Did you mean 'urgent'?"),
        ({"qos": "admin"}, "qos", "there are normal, urgent"),
        ({"priorities": {"high": {"qos": "top"}}}, "priorities.high.qos", "no such QOS"),
        ({"partition": "gpu", "gpu_types": {"a100": "a100"}}, "gpu_types.a100", "nvidia_a100"),
    ],
)
def test_a_wrong_key_is_named_with_what_could_replace_it(site: dict[str, Any], key: str, hint: str) -> None:
    found = row(check_site_keys(CLUSTER, Site.model_validate(site)), key)
    assert found.state == "bad"
    assert hint in found.words


def test_an_account_that_slurm_does_not_check_is_only_a_warning() -> None:
    facts = with_settings(AccountingStorageEnforce="none")
    assert row(check_site_keys(facts, Site(account="other")), "account").state == "warn"


def test_a_user_without_an_account_is_told() -> None:
    found = row(check_site_keys(replace(CLUSTER, associations=Answer([])), Site()), "account")
    assert found.state == "bad"


def test_tasks_in_a_partition_without_gpus() -> None:
    found = row(check_site_keys(CLUSTER, Site()), "GPUs")
    assert found.state == "warn"
    assert "gpu" in found.consequence


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (SlurmRefusedError("sbatch", "Invalid feature specification"), "bad"),
        # All nodes are drained: a job would wait.
        (SlurmRefusedError("sbatch", "allocation failure: Requested node configuration is not available"), "warn"),
        (SlurmUnavailableError("sbatch", "Socket timed out on send/recv operation"), "warn"),
    ],
)
def test_a_refused_trial_job_is_judged_by_its_reason(error: Exception, state: str) -> None:
    facts = replace(CLUSTER, accepted=Answer(trouble=str(error)))
    assert row(check_site_keys(facts, Site()), "trial job").state == state


def test_a_partition_that_is_down_matters_only_where_tasks_go_there() -> None:
    facts = replace(CLUSTER, partitions=Answer([CPU, replace(GPU, up=False)]))
    assert row(check_partitions(facts, Site()), "gpu").state == "ok"
    assert row(check_partitions(facts, Site(partition="gpu")), "gpu").state == "bad"


def test_of_many_partitions_the_used_one_is_shown() -> None:
    many = [replace(CPU, name=f"p{number}", default=False) for number in range(40)]
    findings = list(check_partitions(replace(CLUSTER, partitions=Answer([*many, GPU])), Site(partition="gpu")))
    assert findings[0].what == "gpu"
    assert len(findings) < 20
    assert "p39" in findings[-1].words


# Python, containers, this machine.


@pytest.mark.parametrize(
    ("facts", "backend", "state"),
    [
        ({"python": "3.11.7", "segbatch": segbatch.__version__, "tensorflow": "2.18"}, "slurm", "ok"),
        ({"python": "3.11.7", "segbatch": "9.9.9", "tensorflow": "2.18"}, "slurm", "warn"),
        ({"python": "3.11.7", "segbatch": segbatch.__version__}, "local", "bad"),
        ({"python": "3.11.7", "tensorflow": "2.18"}, "slurm", "bad"),
        ({"python": "3.6.8"}, "slurm", "bad"),
        (
            {"python": "3.11.7", "segbatch": segbatch.__version__, "tensorflow": "2.18", "missing": "h5py"},
            "slurm",
            "bad",
        ),
    ],
)
def test_the_tasks_python_is_judged(facts: dict[str, str], backend: str, state: str) -> None:
    assert check_python(Answer(facts), "/opt/python", Site(), backend).state == state


def test_a_python_that_only_nodes_have_is_left_to_them() -> None:
    gone = Answer[dict[str, str]](trouble="no such program")
    assert check_python(gone, "/nodes/only/python", Site(), "slurm").state == "warn"
    assert check_python(gone, "/nodes/only/python", Site(), "local").state == "bad"


def test_modules_may_bring_what_is_missing() -> None:
    facts = Answer({"python": "3.11.7", "segbatch": segbatch.__version__})
    assert check_python(facts, "/opt/python", Site(modules=("tensorflow/2.18",)), "slurm").state == "warn"


IMAGE = {"container": {"runtime": "apptainer", "image": "/x.sif"}}


@pytest.mark.parametrize(
    ("found", "backend", "state"),
    [
        ([Found("apptainer", "1.4.5")], "slurm", "ok"),
        ([], "slurm", "warn"),
        ([], "local", "bad"),
        ([Found("apptainer", "1.4.5", "it fails")], "local", "bad"),
    ],
)
def test_the_runtime_that_the_site_wants(found: list[Found], backend: str, state: str) -> None:
    assert row(check_runtimes(found, Site.model_validate(IMAGE), backend), "apptainer").state == state


def test_runtimes_of_slurm_are_read_from_its_help() -> None:
    own = "      --container             Path to OCI container bundle\n"
    pyxis = "      --container-image=[USER@]IMAGE  the image\n"
    assert [one.name for one in slurm_runtimes(own, "/etc/slurm/oci.conf")] == ["slurm-oci"]
    assert [one.name for one in slurm_runtimes(own, "")] == []
    assert [one.name for one in slurm_runtimes(pyxis, "/etc/slurm/oci.conf")] == ["pyxis"]


def test_the_tightest_control_group_counts(tmp_path: Path) -> None:
    inner = tmp_path / "user" / "session"
    inner.mkdir(parents=True)
    (inner / "memory.max").write_text("max\n")
    (inner.parent / "memory.max").write_text("4000000000\n")
    (inner / "cpu.max").write_text("150000 100000\n")
    assert memory_limit(tmp_path, "0::/user/session\n") == 4_000_000_000
    assert cpu_limit(tmp_path, "0::/user/session\n") == 1.5
    assert memory_limit(tmp_path, "0::/elsewhere\n") is None
    first = tmp_path / "memory" / "job"
    first.mkdir(parents=True)
    (first / "memory.limit_in_bytes").write_text("2000000000\n")
    (first.parent / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert memory_limit(tmp_path, "4:memory:/job\n1:cpu:/\n") == 2_000_000_000


def test_the_file_system_of_a_folder() -> None:
    mounts = "disk / ext4 rw 0 0\nserver:/home /home nfs4 rw 0 0\ndisk2 /my\\040disk xfs rw 0 0\n"
    assert file_system(Path("/home/me/runs"), mounts) == "nfs4"
    assert file_system(Path("/homes"), mounts) == "ext4"
    assert file_system(Path("/my disk/x"), mounts) == "xfs"
    assert file_system(Path("/x"), "") == ""


# What a node says.

TOLD = Report(
    "told",
    job="5",
    waited_s=3.0,
    gpus=1,
    said_hello=True,
    round_trip_s=0.2,
    facts={
        "stage": "end",
        "node": "node1",
        "machine": "Linux 6",
        "memory_mb": "64000",
        "folder_type": "nfs",
        "modules": "yes",
        "scontrol": "ok",
        "srun": "ok",
        "runtime_apptainer": "apptainer 1.4.5",
        "cuda_visible_devices": "0",
        "nvidia_smi": "NVIDIA A100, 81920 MiB, 550.1",
        "scratch": "/local",
        "scratch_mb": "900000",
        "scratch_type": "xfs",
        "python": "3.11.7",
        "segbatch": segbatch.__version__,
        "tensorflow": "2.18",
        "tensorflow_seconds": "4.1",
        "tensorflow_gpus": "1",
    },
)


def with_facts(**facts: str) -> Report:
    return replace(TOLD, facts={name: said for name, said in (TOLD.facts | facts).items() if said})


def ended(state: str, code: int = 0) -> QueueRow:
    return QueueRow("5", "5", "5", None, read_state(state), nodes="node1", reason="Resources", exit_code=code)


def test_a_sound_node_has_only_good_rows() -> None:
    assert [one for one in check_node(TOLD, Site()) if one.state != "ok"] == []


@pytest.mark.parametrize(
    ("report", "what", "state", "word"),
    [
        (replace(TOLD, round_trip_s=30.0), "shared files", "warn", "30.0 s"),
        (replace(TOLD, clock_off_s=-90.0), "clock", "warn", "90 s behind"),
        (replace(TOLD, clock_off_s=9.0, round_trip_s=20.0), "clock", "ok", "to 10.0 s"),
        (replace(with_facts(unseen="yes"), round_trip_s=None), "shared files", "bad", "not there"),
        (with_facts(srun="exit 1: no"), "srun", "bad", "exit 1"),
        (with_facts(scontrol="Unable to contact"), "scontrol", "warn", "Unable"),
        (with_facts(tensorflow_gpus="0"), "GPUs", "warn", "TensorFlow sees 0"),
        (with_facts(cuda_visible_devices="", nvidia_smi=""), "GPUs", "ok", ""),
        (with_facts(scratch_error="no /local", scratch=""), "scratch", "bad", "no /local"),
        (with_facts(scratch_type="tmpfs"), "scratch", "warn", "tmpfs"),
        (with_facts(python="", python_error="not found"), "Python", "bad", "not found"),
        (with_facts(tensorflow_error="ImportError: libcuda"), "Python", "bad", "TensorFlow"),
        (with_facts(tensorflow_seconds="", tensorflow_gpus=""), "Python", "warn", "TensorFlow"),
        (with_facts(stage="environment", code="1"), "environment", "bad", "code 1"),
        (Report("dead", job="5", row=ended("FAILED", CODES["no_folder"])), "tiny job", "bad", "not there"),
        (Report("dead", job="5", row=ended("FAILED", CODES["no_folder"])), "shared files", "bad", "no file"),
        (Report("late", job="5", waited_s=300, row=ended("PENDING")), "tiny job", "warn", "Resources"),
        (Report("late", job="5", waited_s=300, row=ended("RUNNING")), "shared files", "bad", "no file"),
        (Report("failed", words="Invalid qos"), "tiny job", "bad", "Invalid qos"),
        (Report("stopped", job="5", left_behind="job 5"), "left behind", "bad", "job 5"),
    ],
)
def test_what_a_node_says_is_judged(report: Report, what: str, state: str, word: str) -> None:
    findings = [one for one in check_node(report, Site()) if one.what == what]
    if what == "GPUs" and not word:
        assert not findings or findings[0].state == "ok"
        return
    assert [one.state for one in findings] == [state]
    assert word in findings[0].words


def test_a_runtime_that_nodes_lack_is_bad() -> None:
    site = Site.model_validate({"container": {"runtime": "podman", "image": "x"}})
    assert row(check_node(TOLD, site), "containers").state == "bad"
    assert row(check_node(TOLD, Site.model_validate(IMAGE)), "containers").state == "ok"


# The tiny job.


def script(site: Site, folder: Path, gpus: int = 1) -> str:
    return probe_text(Probe(folder, "doctor-t", gpus, 300), site)


def test_the_probe_asks_for_what_tasks_ask_for(tmp_path: Path) -> None:
    site = Site(account="forest", partition="gpu", modules=("cuda/12",), gpu_flavour="gpus-per-node")
    text = script(site, tmp_path / "a b")
    assert "#SBATCH --account=forest\n" in text
    assert "#SBATCH --gpus-per-node=1\n" in text
    assert "#SBATCH --comment=segbatch:doctor-t\n" in text
    assert "module load cuda/12\n" in text
    assert f"FOLDER='{tmp_path}/a b'\n" in text
    assert "gpus" not in script(site, tmp_path, gpus=0).split("set -euo")[0]


def test_the_probe_is_clean_shell(tmp_path: Path, shellcheck: Callable[[Path], None]) -> None:
    site = Site(modules=("cuda/12",), prolog=("ulimit -n 4096",), scratch="$TMPDIR/x y")
    path = tmp_path / "probe.sh"
    path.write_text(script(site, tmp_path))
    shellcheck(path)


def send(fake: FakeSlurm, runs: Path, node: Callable[[Path], object], *, timeout_s: float = 20) -> Report:
    """Send a probe; `node` plays the node, given the probe's folder, once the job is in the queue."""
    probe = new_probe(runs, 0, timeout_s)

    def play() -> None:
        while not fake.jobs:
            time.sleep(0.01)
        node(probe.folder)

    player = threading.Thread(target=play, daemon=True)
    player.start()
    slurm = Slurm(fake.environ, timeout_s=5)
    report = send_probe(slurm, QueueView(slurm, 0.2, fake.folder / "cache"), Site(), probe, lambda words: None)
    player.join(10)
    assert not list(runs.iterdir()), "nothing is left in the folder of runs"
    return report


def live(fake: FakeSlurm) -> list[str]:
    return [name for name, job in fake.jobs.items() if job.live()]


def good_node(folder: Path) -> None:
    (folder / "hello").touch()
    while not (folder / "ping").exists():
        time.sleep(0.01)
    (folder / "pong.part").write_text(str(time.time() + 500))
    (folder / "pong.part").rename(folder / "pong")
    (folder / "facts.part").write_text("stage\tend\nnode\tnode7\n")
    (folder / "facts.part").rename(folder / "facts")


def test_a_probe_brings_back_facts_delay_and_clock_and_leaves_nothing(tmp_path: Path) -> None:
    with FakeSlurm(tmp_path) as fake:
        report = send(fake, tmp_path / "new" / "runs", good_node)
        assert (report.end, report.facts["node"]) == ("told", "node7")
        assert report.round_trip_s is not None
        assert 0 < report.round_trip_s < 5
        assert 490 < report.clock_off_s < 510
        assert fake.calls["scancel"] == 0, "its script ends by itself, and not as a cancelled one"


def test_a_probe_that_nothing_comes_back_from(tmp_path: Path) -> None:
    with FakeSlurm(tmp_path) as fake:
        report = send(fake, tmp_path / "runs", lambda folder: fake.start("101"), timeout_s=1.5)
        assert report.end == "late"
        assert row(check_node(report, Site()), "shared files").state == "bad"
        assert live(fake) == []


def test_a_node_without_the_folder_is_told_by_the_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segbatch.cluster.doctor.probe.GRACE_S", 0.5)
    with FakeSlurm(tmp_path) as fake:
        report = send(fake, tmp_path / "runs", lambda folder: fake.end("101", None, "FAILED", CODES["no_folder"]))
    assert report.end == "dead"
    assert "the runs folder is not there" in row(check_node(report, Site()), "tiny job").words


def test_a_lost_answer_of_sbatch_leaves_no_job(tmp_path: Path) -> None:
    with FakeSlurm(tmp_path) as fake:
        fake.on_sbatch = "queue then time out"
        report = send(fake, tmp_path / "runs", lambda folder: None, timeout_s=1.5)
        assert (report.end, report.job) == ("late", "101")
        assert live(fake) == []


def test_ctrl_c_leaves_no_job(tmp_path: Path) -> None:
    def stop(words: str) -> None:
        if "waits in the queue" in words:
            raise KeyboardInterrupt

    runs = tmp_path / "runs"
    with FakeSlurm(tmp_path) as fake:
        slurm = Slurm(fake.environ, timeout_s=5)
        view = QueueView(slurm, 0.2, tmp_path / "cache")
        report = send_probe(slurm, view, Site(), new_probe(runs, 0, 20), stop)
        assert report.end == "stopped"
        assert fake.calls["sbatch"] == 1
        assert live(fake) == []
    assert not list(runs.iterdir())


# The command.


def doctor(
    environ: dict[str, str],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *words: str,
    code: int = 0,
) -> list[Finding]:
    for name in set(os.environ) - environ.keys():
        monkeypatch.delenv(name)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.chdir(folder)
    returned = cli.main(["doctor", "--json", *words], standalone_mode=False)
    out = capsys.readouterr().out
    assert returned == code, out
    return [Finding(**one) for one in json.loads(out)]


@pytest.fixture
def fake(tmp_path: Path) -> Any:
    with FakeSlurm(tmp_path) as cluster:
        (tmp_path / "fake-slurm.conf").touch()
        yield cluster


@pytest.fixture
def ask(
    fake: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., list[Finding]]:
    def asked(*words: str, code: int = 0) -> list[Finding]:
        return doctor(fake.environ, tmp_path, monkeypatch, capsys, *words, code=code)

    return asked


def test_without_slurm_this_machine_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environ = {name: value for name, value in os.environ.items() if name != "SLURM_CONF"} | {"PATH": str(tmp_path)}
    found = doctor(environ, tmp_path, monkeypatch, capsys)
    assert row(found, "programs").consequence == "runs tasks on this machine"
    assert row(found, "runs folder").words.startswith(str(tmp_path / "runs"))
    assert not any(tmp_path.iterdir()), "nothing is left behind"
    found = doctor(environ, tmp_path, monkeypatch, capsys, "--deep", code=1)
    assert "not sent" in row(found, "tiny job").words


def test_on_a_cluster(fake: FakeSlurm, ask: Callable[..., list[Finding]]) -> None:
    fake.max_array_size = 11
    assert "up to 11 tasks" in row(ask(), "job arrays").words
    fake.max_array_size = 21
    found = ask()
    assert "up to 21 tasks" in row(found, "job arrays").words, "limits are read anew"
    assert "to start at" in row(found, "trial job").words
    assert not fake.jobs, "the trial job is judged and not queued"


def test_a_wrong_partition_in_the_site_file(ask: Callable[..., list[Finding]], tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text("partition: mian\n")
    found = row(ask(code=1), "partition", "site")
    assert "Did you mean 'main'?" in found.words


def test_a_site_file_that_cannot_be_read_is_a_finding(ask: Callable[..., list[Finding]], tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text("partitoin: main\n")
    found = row(ask(code=1), "site file")
    assert "Did you mean 'partition'?" in found.words


def test_a_controller_that_is_down_is_said_and_nothing_more_is_asked(
    fake: FakeSlurm, ask: Callable[..., list[Finding]], tmp_path: Path
) -> None:
    (tmp_path / "site.yaml").write_text("backend: slurm\n")
    fake.controller = "down"
    found = ask("--deep", code=1)
    assert row(found, "controller").state == "bad"
    assert "not sent" in row(found, "tiny job").words
    assert fake.calls["sbatch"] == 1, "its version, and no job"


def test_a_cluster_that_no_task_goes_to_is_no_fault(
    fake: FakeSlurm, ask: Callable[..., list[Finding]], tmp_path: Path
) -> None:
    (tmp_path / "site.yaml").write_text("backend: local\npartition: mian\n")
    fake.controller = "down"
    assert row(ask(), "controller").state == "warn"


def test_lost_settings_are_named_without_asking_anybody(fake: FakeSlurm, ask: Callable[..., list[Finding]]) -> None:
    (fake.folder / "fake-slurm.conf").unlink()
    assert "fake-slurm.conf" in row(ask(code=1), "settings").words
    assert not fake.calls


def test_accounting_out_of_reach(fake: FakeSlurm, ask: Callable[..., list[Finding]]) -> None:
    fake.accounting = "down"
    assert row(ask(), "accounting").state == "warn"
    fake.accounting = "off"
    assert row(ask(), "accounting").words == "off"


def test_worst() -> None:
    assert worst([]) == "ok"
    assert worst([Finding("a", "b", "warn", "", ""), Finding("a", "b", "ok", "", "")]) == "warn"
