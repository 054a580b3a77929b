"""Bundles for SLURM's own containers, made of images that were unpacked without root."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from segbatch.cluster.containers.launch import Owner, Request
from segbatch.cluster.containers.slurm_oci import SlurmOci, bundle_folder

OWNER = Owner(1234, 1234)


@pytest.fixture
def request_(tmp_path: Path) -> Request:
    """A request for an image as `umoci unpack --rootless` leaves it: one user number, the host's network."""
    image = tmp_path / "image"
    for name in ("proc", "dev", "usr/bin"):
        (image / "rootfs" / name).mkdir(parents=True)
    (image / "rootfs/usr/bin/true").touch()
    numbers = [{"containerID": 0, "hostID": 1234, "size": 1}]
    spaces = [{"type": name} for name in ("pid", "ipc", "uts", "mount", "user")]
    config = {
        "process": {"user": {"uid": 65532, "gid": 65532}},
        "linux": {"uidMappings": numbers, "gidMappings": numbers, "namespaces": spaces},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
        ],
    }
    (image / "config.json").write_text(json.dumps(config))
    run = tmp_path / "run"
    run.mkdir()
    return Request(str(image), run, OWNER)


def prepared(request: Request) -> dict[str, Any]:
    SlurmOci().prepare(request)
    found: dict[str, Any] = json.loads((bundle_folder(request) / "config.json").read_text())
    return found


def spaces(config: dict[str, Any]) -> set[str]:
    return {space["type"] for space in config["linux"]["namespaces"]}


def test_a_task_has_no_network_though_the_unpacked_image_had_the_hosts(request_: Request) -> None:
    assert spaces(prepared(request_)) == {"ipc", "mount", "user", "network"}


def test_tasks_on_several_nodes_have_the_hosts_network(request_: Request) -> None:
    assert spaces(prepared(replace(request_, nodes=2))) == {"ipc", "mount", "user"}


def test_process_numbers_are_the_hosts_without_mounting_them_anew(request_: Request) -> None:
    """Linux lets nobody but root mount /proc for process numbers that are not the container's own."""
    (proc,) = [mount for mount in prepared(request_)["mounts"] if mount["destination"] == "/proc"]
    assert (proc["type"], proc["source"]) == ("bind", "/proc")


def test_the_user_has_the_number_that_stands_for_it_inside(request_: Request) -> None:
    config = prepared(request_)
    assert config["process"]["user"] == {"uid": 0, "gid": 0}
    assert config["process"]["capabilities"] == {}
    assert config["root"]["readonly"]
