"""SLURM's own containers: OCI bundles that slurmd starts by runc or another runtime of the site."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from segbatch.cluster.containers.bundle_layout import lay_out, make_place
from segbatch.cluster.containers.launch import WORKER, Launch, Request
from segbatch.cluster.containers.paths import refuse_odd
from segbatch.cluster.containers.step_environment import EXPORT, step_lines
from segbatch.errors import InputError, SegbatchError
from segbatch.runs.files import write_bytes

_ALL_GPUS = {"NVIDIA_VISIBLE_DEVICES": "all", "NVIDIA_DRIVER_CAPABILITIES": "compute,utility"}
"""What the site's NVIDIA hook goes by; CUDA_VISIBLE_DEVICES then picks the task's own."""


class SlurmOci:
    """Starts an unpacked image (`umoci unpack`).

    SLURM mounts nothing by itself, and takes the root folder beside the bundle's description. So each run gets a
    bundle of its own, whose root folder is made of mounts.
    """

    name = "slurm-oci"
    part_of_slurm = True

    def launch(self, request: Request) -> Launch:
        """Say how to start a task; its options go to srun."""
        refuse_odd(request.mounts)
        if request.scratch:
            raise InputError(
                "container: slurm-oci cannot show a task the node's scratch folder, whose name only the node knows. "
                "Leave out `resources.scratch`, or choose another `container.runtime`."
            )
        values = {**request.values, **(_ALL_GPUS if request.gpus else {})}
        steps = (f"--container={bundle_folder(request)}", EXPORT)
        return Launch(WORKER, steps, step_lines(request.names, values))

    def prepare(self, request: Request) -> None:
        """Write the run's bundle; one that lies there already is used as it is."""
        folder = bundle_folder(request)
        if (folder / "config.json").exists():
            return
        source = Path(request.image, "rootfs")
        config = json.loads(_described(request))
        own = [str(mount["destination"]) for mount in config.get("mounts", [])]
        try:
            parts = lay_out(source, folder / "rootfs", [*own, "/tmp", *(mount.target for mount in request.mounts)])
            for mount in request.mounts:
                make_place(Path(f"{folder}/rootfs{mount.target}"), folder=Path(mount.source).is_dir())
            text = json.dumps(_for_run(config, request, source, parts), indent=1)
            write_bytes(folder / "config.json", text.encode())
        except OSError as error:
            raise SegbatchError(f"container: the run's bundle {folder} cannot be written: {error}") from error


def bundle_folder(request: Request) -> Path:
    """Folder of the run's bundle; another image, or other mounts, have another one, since tasks may be at work."""
    what = [_described(request).decode("utf-8", "replace"), request.image, request.network]
    mounts = [(mount.source, mount.target, mount.writable) for mount in request.mounts]
    owner = (request.owner.user, request.owner.group)
    name = hashlib.sha256(json.dumps([what, mounts, owner]).encode()).hexdigest()[:12]
    return request.folder / "container" / name


def _described(request: Request) -> bytes:
    path = Path(request.image, "config.json")
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"container.image: {path}: {error.strerror}. Expected an OCI bundle, as `umoci unpack` makes it."
        ) from error


def _for_run(config: dict[str, Any], request: Request, source: Path, parts: list[str]) -> dict[str, Any]:
    """Change a bundle's description: this user, no privileges, a root that cannot be written to, the mounts."""
    linux = config.get("linux", {})
    shared = {"pid", "uts", "network"}
    spaces = [space for space in linux.get("namespaces", []) if space["type"] not in shared]
    # Bundles that were unpacked without root have none.
    linux["namespaces"] = spaces if request.network else [*spaces, {"type": "network"}]
    config.pop("hostname", None)
    process = config.get("process", {})
    process.pop("rlimits", None)
    process |= {
        "terminal": False,
        "user": _user(linux, request),
        "cwd": str(request.folder),
        "noNewPrivileges": True,
        "capabilities": {},
        # SLURM puts the task's command here.
        "args": list(WORKER),
    }
    return config | {
        "root": {"path": "rootfs", "readonly": True},
        "linux": linux,
        "process": process,
        "mounts": list(_mounts(config, request, source, parts)),
    }


def _mounts(config: Mapping[str, Any], request: Request, source: Path, parts: list[str]) -> Iterator[dict[str, Any]]:
    for part in parts:
        yield _bind(f"{source}{part}", part, writable=False)
    own = config.get("mounts", [])
    for mount in own:
        # A user's own container may show the host's process numbers, but not mount them anew.
        yield _bind("/proc", "/proc", writable=True) if mount["destination"] == "/proc" else mount
    if "/tmp" not in [mount["destination"] for mount in own]:
        options = ["nosuid", "nodev", "mode=1777"]
        yield {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": options}
    for mount in request.mounts:
        yield _bind(mount.source, mount.target, writable=mount.writable)


def _bind(source: str, target: str, *, writable: bool) -> dict[str, Any]:
    options = ["rbind", "nosuid", "nodev", "rw" if writable else "ro"]
    return {"destination": target, "type": "bind", "source": source, "options": options}


def _user(linux: Mapping[str, Any], request: Request) -> dict[str, Any]:
    """Return the job's user as the bundle numbers it: another number where the bundle was unpacked without root."""
    owner = request.owner
    return {
        "uid": _inside(owner.user, linux.get("uidMappings", [])),
        "gid": _inside(owner.group, linux.get("gidMappings", [])),
        **({"additionalGids": list(owner.groups)} if owner.groups and not linux.get("gidMappings") else {}),
    }


def _inside(number: int, mappings: list[dict[str, int]]) -> int:
    for mapping in mappings:
        if 0 <= number - mapping["hostID"] < mapping["size"]:
            return mapping["containerID"] + number - mapping["hostID"]
    return number
