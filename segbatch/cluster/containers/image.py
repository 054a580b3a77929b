"""The image: whether it is there, and what it is."""

from __future__ import annotations

import os
import re
from pathlib import Path

from segbatch.cluster.doctor.asking import run_program
from segbatch.errors import InputError
from segbatch.runs.files import file_digest
from segbatch.runs.run import Run
from segbatch.spec.resources import Container

IMAGE = "image"
"""Key of the image's digest in a run's record."""
_DESCRIPTIONS = ("index.json", "umoci.json", "config.json")
"""What tells the contents of a folder that holds an image: of an OCI layout, or of an unpacked one."""
STORES = ("podman", "docker")
"""Runtimes that keep images by name in a store of their own."""
_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]+)")
_LOCAL = ("oci:", "oci-archive:", "docker-archive:", "dir:")


def image_path(container: Container) -> Path | None:
    """Return where the image lies; None for a name in a registry or a runtime's own store."""
    image = container.image or ""
    prefix = next((prefix for prefix in _LOCAL if image.startswith(prefix) and "://" not in image), "")
    if prefix:
        whole = image.removeprefix(prefix)
        return Path(whole if Path(whole).exists() else whole.partition(":")[0])
    if "://" in image:
        return None
    if container.runtime in ("apptainer", "slurm-oci") or image.startswith(("/", "./", "../")):
        return Path(image)
    return None


def refuse_missing_image(container: Container, said_by: str) -> None:
    """Refuse an image file or folder that is not there, or is not what the runtime takes.

    Raises:
        InputError: naming it and what is expected.
    """
    path = image_path(container)
    if path is None:
        return
    if not path.exists():
        expected = {
            "apptainer": "a SIF file, a sandbox folder, or an address such as docker://example.org/segbatch:1.0",
            "slurm-oci": "the folder of an OCI bundle, as `umoci unpack` makes it",
            "pyxis": "a squashfs file, or a name such as example.org#segbatch:1.0",
        }.get(container.runtime, "an image's name, or a file")
        raise InputError(f"container.image of {said_by}: {path}: no such file or folder. Expected {expected}.")
    if container.runtime == "slurm-oci" and not (path / "config.json").is_file() and not (path / "rootfs").is_dir():
        raise InputError(
            f"container.image of {said_by}: {path}: not an OCI bundle, it has no config.json and rootfs. "
            f"Unpack the image: umoci unpack --image LAYOUT:TAG {path}"
        )


def image_digest(container: Container) -> str:
    """Return what tells an image from another one.

    Returns:
        `sha256:` and 64 hexadecimal digits of a file, of the index of an OCI layout or bundle, or of an image in the
        store of podman or docker here; for an image that is only known by name, and for a sandbox folder, that name.
    """
    path = image_path(container)
    if path is None:
        return _stored_digest(container) or container.image or ""
    if path.is_file():
        return file_digest(path)
    described = next((path / name for name in _DESCRIPTIONS if (path / name).is_file()), None)
    return file_digest(described) if described else container.image or ""


def _stored_digest(container: Container) -> str:
    if container.runtime not in STORES:
        return ""
    asked = run_program(
        [container.runtime, "image", "inspect", "--format", "{{.Id}}", container.image or ""], os.environ
    )
    found = _DIGEST.fullmatch((asked.value or "").strip())
    return f"sha256:{found[1]}" if found else ""


def refuse_other_image(run: Run, container: Container | None, *, force: bool) -> None:
    """Refuse to go on with a run in another image than it began in.

    Raises:
        InputError: it is another one, and `force` was not said.
    """
    before, now = run.record.digests.get(IMAGE, ""), image_digest(container) if container else ""
    if before == now or force:
        return
    began = f"in the image {before}" if before else "without a container"
    goes_on = f"in {container.image} ({now})" if container else "without one"
    raise InputError(
        f"{run.label} began {began} and would go on {goes_on}. What two images compute may differ. "
        "Put the image (or `container` of the site file) back, or accept the mixture with --force."
    )
