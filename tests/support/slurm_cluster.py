"""A real SLURM cluster of this machine's own: some nodes that it pretends to have, private, gone after use.

    with SlurmCluster() as cluster:
        job = cluster.submit("#!/bin/bash\\nhostname\\n", "--gres=gpu:1")
        cluster.wait_for_state(job, "COMPLETED")

It needs no privilege; its jobs are those of the user who started it.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.keeper import Keeper
from tests.support.ports import port_block
from tests.support.slurm_config import Layout, Machines, accounting, cgroup_conf, slurm_conf
from tests.support.slurm_database import database_sql, mariadb_install_options, mariadbd_options, slurmdbd_conf
from tests.support.slurm_view import SlurmView, located, search_path, slurm_version

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "slurmdbd", "mariadbd", "mariadb-install-db")
PACKAGES = "slurm-wlm slurmdbd munge mariadb-server shellcheck"
USABLE = {"idle", "mixed", "allocated", "completing"}
NEED_RESTART = {"MaxArraySize", "MaxJobCount", "SelectType", "SelectTypeParameters", "AccountingStorageEnforce"}


def missing_programs() -> list[str]:
    """Return the programs that the cluster needs and this machine lacks."""
    return [name for name in PROGRAMS if not shutil.which(name, path=search_path())]


class SlurmCluster(SlurmView):
    """munged, slurmctld, one slurmd a node and, with `db`, MariaDB and slurmdbd.

    Partitions: `main` (the default), `scavenge` (gives way to main: requeued), `notice` (likewise, with five seconds'
    notice to jobs that asked for a signal).
    """

    def __init__(
        self,
        *,
        db: bool = False,
        nodes: int = 2,
        cpus: int = 4,
        memory_mb: int = 4000,
        gpus: int = 2,
        gpu_type: str = "",
        cred_expire_s: int = 5,
        min_job_age_s: int = 300,
        extra: tuple[str, ...] = (),
        **settings: object,
    ) -> None:
        """Describe a cluster; `start`, or `with`, makes it.

        Args:
            db: Whether there is accounting (sacct).
            nodes: node1, node2, ...
            cpus: CPUs of each node, which this machine need not have.
            memory_mb: Memory of each node, likewise.
            gpus: GPUs of each node, as far as SLURM is concerned; none is real.
            gpu_type: Their type, as in --gres=gpu:TYPE:1.
            cred_expire_s: A requeued job waits one second longer than this; 5 is the least that SLURM takes.
            min_job_age_s: How long the controller remembers a job that is over; it forgets in rounds of 10 s or less.
            extra: More lines for slurm.conf, such as partitions.
            settings: slurm.conf's own settings by name, for example MaxArraySize=11.

        """
        self.db = db
        self.machines = Machines(nodes, cpus, memory_mb, gpus, gpu_type)
        self._settings = {"MinJobAge": min_job_age_s, **settings}
        self._cred_expire_s = cred_expire_s
        self._extra = extra
        self._changes: dict[str, object] = {}
        self._before: set[str] = set()
        self._resources = contextlib.ExitStack()

    # Life

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start everything and wait until all nodes are idle.

        Raises:
            AssertionError: a daemon died or took too long; its log is in the message.

        """
        try:
            self._prepare()
            self._start("munged", *self._munged())
            self._await_daemon("munged", self.layout.munge.exists)
            if self.db:
                self._install_database()
                self.start_database(wait=False)
            self._start("slurmctld", "slurmctld", "-D", "-i", "-c")
            self._await_daemon("slurmctld", lambda: _listens(self.layout.port))
            for node in self.nodes:
                self._start(f"slurmd.{node}", "slurmd", "-D", "-N", node)
            self.wait_for(self._all_idle, 30, "all nodes are idle")
            self._partitions = self.run("scontrol", "--oneliner", "show", "partition")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Kill the daemons, their jobs and whatever these started, and remove all files."""
        self._resources.close()

    def _prepare(self) -> None:
        port = self._resources.enter_context(port_block())
        root = Path(tempfile.mkdtemp(prefix="slurm.", dir="/tmp"))  # A socket's path has at most 107 bytes.
        self.layout = Layout(root, port, pwd.getpwuid(os.getuid()).pw_name)
        self.layout.make(self.nodes)
        self._keeper = Keeper(root)
        self._resources.callback(self._keeper.close)
        self._write("munge/key", os.urandom(128), 0o600)
        self._write("etc/gres.conf", self.machines.gres_conf())
        self._write("etc/cgroup.conf", cgroup_conf(self.layout, slurm_version()))
        self._write("etc/slurmdbd.conf", slurmdbd_conf(self.layout), 0o600)
        self._configure({}, [])

    def _write(self, name: str, content: str | bytes, mode: int = 0o644) -> None:
        path = self.layout.root / name
        fresh = path.with_suffix(".new")
        fresh.write_bytes(content if isinstance(content, bytes) else content.encode())
        fresh.chmod(mode)
        fresh.replace(path)

    def _configure(self, settings: Mapping[str, object], extra: list[str]) -> None:
        merged = {
            "AuthInfo": f"socket={self.layout.munge},cred_expire={self._cred_expire_s}",
            **accounting(self.layout, self.db),
            **self._settings,
            **settings,
        }
        self._write("etc/slurm.conf", slurm_conf(self.layout, self.machines, merged, [*self._extra, *extra]))

    def _munged(self) -> list[str]:
        folder = self.layout.munge.parent
        files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        named = [f"--{option}={folder / name}" for option, name in files.items()]
        return ["munged", "-F", *named, "--num-threads=4"]

    def _install_database(self) -> None:
        self.run("mariadb-install-db", *mariadb_install_options(self.layout), timeout=120)
        self._write("mariadb-init.sql", database_sql())

    def _start(self, name: str, program: str, *arguments: str) -> None:
        log = self.layout.logs / f"{name}.out"
        self._keeper.start(name, [located(program), *arguments], self._daemon_environ, log)

    def _await_daemon(self, name: str, ready: Callable[[], object], timeout: float = 30) -> None:
        def up() -> bool:
            assert name in self._keeper.alive(), f"{name} died\n{self.logs()}"
            return bool(ready())

        self.wait_for(up, timeout, f"{name} is ready")

    @property
    def _daemon_environ(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("TZ", "LD_LIBRARY_PATH") if name in os.environ}
        return {**kept, "PATH": search_path(), "HOME": "/", "LANG": "C.UTF-8", "SLURM_CONF": str(self.layout.conf)}

    # Faults and changes

    def kill_slurmd(self, node: str) -> None:
        """Kill a node's daemon. Its jobs run on, as they would: a node that is out of reach is not dead."""
        self._keeper.stop(f"slurmd.{node}", signal.SIGKILL)

    def kill_node(self, node: str, *, noticed: bool = False) -> None:
        """Kill a node's daemon and everything that runs on it: the power is gone.

        The controller notices after about 16 s, or with `noticed` at once. The node is back after `start_slurmd`.
        """
        self.kill_slurmd(node)
        self._keeper.kill_strays(self.layout.logs / f"slurmd.{node}.log")
        if noticed:
            self.node_down(node)

    def start_slurmd(self, node: str) -> None:
        """Start a node's daemon and wait until the controller can use the node."""
        self._start(f"slurmd.{node}", "slurmd", "-D", "-N", node)
        self.wait_for(lambda: self.node_states()[node] in USABLE, 30, f"{node} is usable")

    def stop_slurmctld(self) -> None:
        """End the controller in order: it saves its state."""
        self._keeper.stop("slurmctld", signal.SIGTERM)

    def kill_slurmctld(self) -> None:
        """Kill the controller."""
        self._keeper.stop("slurmctld", signal.SIGKILL)

    def start_slurmctld(self) -> None:
        """Start the controller with the state that it saved, and wait until it has heard of all living nodes."""
        self._start("slurmctld", "slurmctld", "-D")
        self._await_daemon("slurmctld", lambda: _listens(self.layout.port))
        # Else it asks its nodes only after four seconds, and uses none until then.
        self.wait_for(lambda: self._succeeds("scontrol", "reconfigure"), 30, "slurmctld answers")
        self.wait_for(self._all_known, 30, "slurmctld knows all nodes")
        # What a killed controller had not saved is forgotten, and those ids are given again.
        self._before &= set(self._all_jobs())

    def kill_database(self) -> None:
        """Kill slurmdbd and MariaDB: sacct fails, everything else goes on."""
        self._keeper.stop("slurmdbd", signal.SIGKILL)
        self._keeper.stop("mariadbd", signal.SIGKILL)

    def start_database(self, *, wait: bool = True) -> None:
        """Start what is missing of MariaDB and slurmdbd, and wait until sacct answers."""
        alive = self._keeper.alive()
        if "mariadbd" not in alive:
            self._start("mariadbd", "mariadbd", *mariadbd_options(self.layout))
            self._await_daemon("mariadbd", lambda: _listens(self.layout.database_port))
        if "slurmdbd" not in alive:
            self._start("slurmdbd", "slurmdbd", "-D")
            self._await_daemon("slurmdbd", lambda: _listens(self.layout.slurmdbd_port))
        if wait:
            self.wait_for(lambda: self._succeeds("sacct", "--noheader"), 30, "sacct answers")

    def node_down(self, node: str) -> None:
        """Have the controller take a node for failed: its jobs are requeued or NODE_FAIL. It returns by itself."""
        self.run("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")

    def node_drain(self, node: str) -> None:
        """Give a node no new jobs until `node_up` or the reset."""
        self.run("scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=test")

    def node_up(self, node: str) -> None:
        """Bring a node back after `node_down` or `node_drain`."""
        self.run("scontrol", "update", f"NodeName={node}", "State=RESUME", check=False)
        self.wait_for(lambda: self.node_states()[node] in USABLE, 30, f"{node} is up")

    def reconfigure(self, extra: tuple[str, ...] = (), **settings: object) -> None:
        """Change slurm.conf until the next reset: settings by name, and more lines. Calls do not add up.

        What slurmd reads but once (JobAcctGather...) holds after `kill_slurmd` and `start_slurmd`.
        """
        before, self._changes = self._changes, {**settings, **dict.fromkeys(extra)}
        self._configure(settings, list(extra))
        if NEED_RESTART & (settings.keys() | before.keys()):
            self.stop_slurmctld()
            self.start_slurmctld()
        else:
            self.run("scontrol", "reconfigure")

    def reset(self) -> None:
        """Leave nothing of the last test: no jobs, no strays, all daemons alive, nodes idle, the first slurm.conf."""
        self._revive()
        if self._changes or self.run("scontrol", "--oneliner", "show", "partition") != self._partitions:
            self.reconfigure()
        if jobs := self.run("squeue", "--noheader", "--format=%A").split():
            self.run("scancel", *jobs, check=False)
            # Jobs end sooner so than by TERM, KillWait and KILL; their slurmstepds report the end.
            self._keeper.kill_strays(parents=False)
        self.wait_for(self._tidy, 60, "no jobs, all nodes idle")
        self._keeper.kill_strays()
        for script in self.layout.spool.glob("*/job*"):
            shutil.rmtree(script)
        self._before = set(self._all_jobs())

    def _revive(self) -> None:
        alive = self._keeper.alive()
        if self.db and not {"mariadbd", "slurmdbd"} <= set(alive):
            self.start_database()
        for node in self.nodes:
            if f"slurmd.{node}" not in alive:
                self._start(f"slurmd.{node}", "slurmd", "-D", "-N", node)
        if "slurmctld" not in alive:
            self.start_slurmctld()

    def _tidy(self) -> bool:
        for node, state in self.node_states().items():
            if state.startswith(("down", "drain")):
                self.run("scontrol", "update", f"NodeName={node}", "State=RESUME", check=False)
        return self._all_idle() and not self.run("squeue", "--noheader")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
