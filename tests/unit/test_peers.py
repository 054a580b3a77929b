"""Who trains together, told by SLURM's variables or by TF_CONFIG."""

from __future__ import annotations

import json

import pytest

from segbatch.errors import InputError
from segbatch.training.peers import FIRST_PORT, PORTS, Peers, peers_from

SLURM = {"SEGBATCH_NODES": "n3,m7,n10", "SLURM_PROCID": "1", "SLURM_JOB_ID": "4711"}


def test_alone() -> None:
    assert peers_from({}) is None
    assert peers_from({"SLURM_PROCID": "0", "SLURM_JOB_ID": "3"}) is None
    assert peers_from(SLURM | {"SEGBATCH_NODES": "n3"}) is None


def test_the_list_keeps_its_order_and_every_process_sees_the_same() -> None:
    found = [peers_from(SLURM | {"SLURM_PROCID": str(rank)}) for rank in range(3)]
    addresses = found[0].addresses
    assert [address.partition(":")[0] for address in addresses] == ["n3", "m7", "n10"]
    ports = [int(address.partition(":")[2]) for address in addresses]
    assert len(set(ports)) == 3
    assert all(FIRST_PORT <= port < FIRST_PORT + PORTS for port in ports)
    assert found == [Peers(addresses, rank) for rank in range(3)]
    assert [peers.chief for peers in found] == [True, False, False]


def test_ports_differ_between_jobs_and_between_restarts() -> None:
    kinds = [{}, {"SLURM_RESTART_COUNT": "1"}, {"SLURM_JOB_ID": "4712"}]
    firsts = {peers_from(SLURM | extra).addresses[0] for extra in kinds}
    assert len(firsts) == 3


def test_tf_config_counts_first() -> None:
    config = {"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 1}}
    peers = peers_from(SLURM | {"TF_CONFIG": json.dumps(config)})
    assert peers == Peers(("a:1", "b:2"), 1)
    assert json.loads(peers.tf_config()) == config


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"SEGBATCH_NODES": "a,b"}, "SEGBATCH_NODES names 2 nodes, but 'SLURM_PROCID'.*srun"),
        (SLURM | {"SLURM_PROCID": "3"}, "SLURM_PROCID is 3, but SEGBATCH_NODES names 3 nodes"),
        ({"TF_CONFIG": "{"}, "TF_CONFIG: expected"),
    ],
)
def test_what_makes_no_sense(environ: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        peers_from(environ)
