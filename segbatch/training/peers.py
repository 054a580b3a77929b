"""The processes that train together, one a node: who they are, told by the environment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from segbatch.errors import InputError

FIRST_PORT, PORTS = 12000, 6000
"""Below the ports that systems give to connections of their own."""


@dataclass(frozen=True)
class Peers:
    """All processes of one training."""

    addresses: tuple[str, ...]
    """host:port of each, in the order of their ranks."""
    rank: int
    """Place of this process in that order."""

    @property
    def chief(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def tf_config(self) -> str:
        """What TensorFlow expects in the variable TF_CONFIG."""
        return json.dumps({"cluster": {"worker": list(self.addresses)}, "task": {"type": "worker", "index": self.rank}})


def peers_from(environ: Mapping[str, str]) -> Peers | None:
    """Tell who trains together; None for a process that trains alone.

    The batch script exports SEGBATCH_NODES, the addresses of the job's nodes in the order of their ranks; srun gives
    each process its SLURM_PROCID. Ports follow from the job's id and restart, and from the rank, so that jobs and
    processes on one host do not meet. Where TF_CONFIG is set, it counts instead.

    Raises:
        InputError: what the environment says makes no sense.
    """
    if environ.get("TF_CONFIG"):
        return _told(environ["TF_CONFIG"])
    hosts = [name for name in environ.get("SEGBATCH_NODES", "").split(",") if name]
    if len(hosts) < 2:
        return None
    try:
        rank, job = int(environ["SLURM_PROCID"]), int(environ["SLURM_JOB_ID"])
        restart = int(environ.get("SLURM_RESTART_COUNT") or 0)
    except (KeyError, ValueError) as error:
        raise InputError(
            f"SEGBATCH_NODES names {len(hosts)} nodes, but {error}: expected numbers in SLURM_PROCID and SLURM_JOB_ID. "
            "Start the processes with srun, as the batch script does."
        ) from error
    if not 0 <= rank < len(hosts):
        raise InputError(
            f"SLURM_PROCID is {rank}, but SEGBATCH_NODES names {len(hosts)} nodes. Start one process a node."
        )
    first = (job * 16 + restart * 1009) % (PORTS - len(hosts))
    return Peers(tuple(f"{host}:{FIRST_PORT + first + number}" for number, host in enumerate(hosts)), rank)


def _told(text: str) -> Peers | None:
    try:
        config = json.loads(text)
        peers = Peers(tuple(config["cluster"]["worker"]), int(config["task"]["index"]))
    except (ValueError, KeyError, TypeError) as error:
        example = '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}'
        raise InputError(f"TF_CONFIG: expected {example}, received {text[:80]!r} ({error}).") from error
    return peers if len(peers.addresses) > 1 else None
