"""A small SLURM cluster's configuration: values in, texts of files out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty")
"""What stands for GPUs: SLURM only wants a character device to count and number."""


@dataclass(frozen=True)
class Machines:
    """What the cluster pretends to be made of."""

    nodes: int = 2
    cpus: int = 4
    memory_mb: int = 4000
    gpus: int = 2
    gpu_type: str = ""

    def __post_init__(self) -> None:
        if self.gpus > len(DEVICES):
            raise ValueError(f"at most {len(DEVICES)} GPUs a node, got {self.gpus}")

    @property
    def names(self) -> list[str]:
        """node1, node2, ..."""
        return [f"node{number + 1}" for number in range(self.nodes)]

    def lines(self, first_port: int) -> list[str]:
        """Return the NodeName lines; every slurmd has its own port on this host."""
        kind = f":{self.gpu_type}" if self.gpu_type else ""
        gres = f" Gres=gpu{kind}:{self.gpus}" if self.gpus else ""
        return [
            f"NodeName={name} NodeHostname=localhost NodeAddr=127.0.0.1 Port={first_port + at}"
            f" CPUs={self.cpus} RealMemory={self.memory_mb}{gres} State=UNKNOWN"
            for at, name in enumerate(self.names)
        ]

    def gres_conf(self) -> str:
        """Return gres.conf."""
        if not self.gpus:
            return ""
        kind = f" Type={self.gpu_type}" if self.gpu_type else ""
        return f"NodeName=node[1-{self.nodes}] Name=gpu{kind} File={','.join(DEVICES[: self.gpus])}\n"


PARTITIONS = (
    "PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=10",
    # Its jobs give way to those of main: TERM, KILL, back into the queue.
    "PartitionName=scavenge Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE",
    # Likewise, but a job that asked for a signal (--signal=B:...) gets it GraceTime seconds before.
    "PartitionName=notice Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=5",
)

BASE = {
    "ClusterName": "lab",
    "SlurmctldHost": "localhost(127.0.0.1)",
    "AuthType": "auth/munge",
    "CredType": "cred/munge",
    "MailProg": "/bin/true",
    "ProctrackType": "proctrack/linuxproc",
    "TaskPlugin": "task/none",
    "MpiDefault": "none",
    "SwitchType": "switch/none",
    "SelectType": "select/cons_tres",
    "SelectTypeParameters": "CR_Core_Memory",
    # Without a default, each job takes its node's whole memory.
    "DefMemPerCPU": "100",
    "SchedulerType": "sched/backfill",
    # Without these a job starts after three seconds instead of half a one.
    "SchedulerParameters": "batch_sched_delay=0,sched_interval=1,bf_interval=1,bf_continue",
    "PriorityType": "priority/basic",
    # More CPUs and memory than this host has are no error.
    "SlurmdParameters": "config_overrides",
    "SlurmctldParameters": "preempt_send_user_signal",
    # A node that registers is up again, whatever it was down for.
    "ReturnToService": "2",
    "SlurmctldTimeout": "5",
    "SlurmdTimeout": "5",
    "MessageTimeout": "5",
    "KillWait": "2",
    "CompleteWait": "0",
    "OverTimeLimit": "0",
    "UnkillableStepTimeout": "60",
    "InactiveLimit": "0",
    "JobRequeue": "1",
    "PreemptType": "preempt/partition_prio",
    "PreemptMode": "REQUEUE",
    "JobAcctGatherType": "jobacct_gather/linux",
    "JobAcctGatherFrequency": "task=1",
    "ScronParameters": "enable",
    "GresTypes": "gpu",
}


@dataclass(frozen=True)
class Layout:
    """Where one cluster keeps its files, and its ports: six for daemons, then one a node."""

    root: Path
    port: int
    user: str

    @property
    def conf(self) -> Path:
        """slurm.conf; gres.conf, cgroup.conf and slurmdbd.conf lie beside it."""
        return self.root / "etc" / "slurm.conf"

    @property
    def munge(self) -> Path:
        """munged's socket."""
        return self.root / "munge" / "socket"

    @property
    def spool(self) -> Path:
        """A folder a node: scripts and sockets of its jobs."""
        return self.root / "spool"

    @property
    def mariadb(self) -> Path:
        """MariaDB's folder."""
        return self.root / "mariadb"

    @property
    def logs(self) -> Path:
        """One file a daemon."""
        return self.root / "log"

    @property
    def database_port(self) -> int:
        """MariaDB's port."""
        return self.port + 1

    @property
    def slurmdbd_port(self) -> int:
        """slurmdbd's port."""
        return self.port + 2

    def make(self, nodes: list[str]) -> None:
        """Create the folders. munged wants every folder on the way to its socket open for passing through."""
        self.root.chmod(0o755)
        for name in ("etc", "log", "munge", "state", "mariadb", *(f"spool/{node}" for node in nodes)):
            (self.root / name).mkdir(parents=True)


def slurm_conf(layout: Layout, machines: Machines, settings: Mapping[str, object], extra: list[str]) -> str:
    """Return slurm.conf: the base, `settings` by name over it (AuthInfo is one), nodes, partitions and extra lines."""
    own = {
        "SlurmctldPort": layout.port,
        "SlurmUser": layout.user,
        "SlurmdUser": layout.user,
        "StateSaveLocation": layout.root / "state",
        "SlurmdSpoolDir": layout.spool / "%n",
        "SlurmctldPidFile": layout.root / "slurmctld.pid",
        "SlurmdPidFile": layout.root / "slurmd.%n.pid",
        "SlurmctldLogFile": layout.logs / "slurmctld.log",
        "SlurmdLogFile": layout.logs / "slurmd.%n.log",
        "JobCompType": "jobcomp/filetxt",
        "JobCompLoc": layout.root / "jobcomp.txt",
    }
    lines = [f"{key}={value}" for key, value in {**BASE, **own, **settings}.items()]
    return "\n".join([*lines, *machines.lines(layout.port + 6), *PARTITIONS, *extra]) + "\n"


def accounting(layout: Layout, db: bool) -> dict[str, object]:
    """Return slurm.conf's settings for accounting."""
    if not db:
        return {"AccountingStorageType": "accounting_storage/none"}
    return {
        "AccountingStorageType": "accounting_storage/slurmdbd",
        "AccountingStorageHost": "127.0.0.1",
        "AccountingStoragePort": layout.slurmdbd_port,
        # With munge, the "password" is the socket by which slurmdbd's clients find munged.
        "AccountingStoragePass": layout.munge,
        "AccountingStorageTRES": "gres/gpu",
        "AccountingStoreFlags": "job_comment",
    }


def cgroup_conf(layout: Layout, version: tuple[int, int]) -> str:
    """Return cgroup.conf, by which slurmd leaves this host's cgroups alone whatever their flavour.

    From 24.05 on that can be said. Before, version 1 on a mount point that does not exist comes to the same.
    """
    if version >= (24, 5):
        return "CgroupPlugin=disabled\n"
    return f"CgroupPlugin=cgroup/v1\nCgroupMountpoint={layout.root / 'no-cgroup'}\nCgroupAutomount=no\n"
