"""What the test fetches once and keeps in build/: a Debian base image, and Apptainer."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.image.machine import BUILD, SETTINGS, Place
from tests.image.report import MissingError

SUITE = "bookworm"
"""The Debian whose python3 is 3.11, as the locks want it."""
EPOCH = "1735689600"
BASE = "localhost/segbatch-base:debian"
_LEFT_OUT = ("doc", "man", "locale", "info")


def mirror(place: Place) -> str:
    """Return the Debian mirror that this machine itself uses.

    Raises:
        MissingError: it is no Debian.
    """
    try:
        said = place.run("apt-get", "indextargets", "--format", "$(REPO_URI)")
    except (OSError, subprocess.CalledProcessError) as error:
        raise MissingError("apt-get, and a Debian mirror in its settings") from error
    found = [line for line in said.splitlines() if line.startswith("http") and "security" not in line]
    if not found:
        raise MissingError("a Debian mirror in apt's settings (apt-get update)")
    return os.environ.get("DEBIAN_MIRROR") or found[0]


def make_base(place: Place) -> str:
    """Import a Debian with Python 3.11 as image `BASE`; its tar is made once, bit for bit the same each time."""
    tar = BUILD / f"base-{SUITE}.tar"
    if not tar.exists():
        BUILD.mkdir(exist_ok=True)
        part = tar.with_suffix(".part")
        options = ["--mode=root", "--variant=minbase", "--include=python3,python3-venv,ca-certificates", "--format=tar"]
        options += ["--aptopt=Acquire::Check-Valid-Until false"]
        options += [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _LEFT_OUT]
        memory = Path("/dev/shm")
        scratch = {"TMPDIR": str(memory)} if _free_mb(memory) > 1500 else {}
        place.run("mmdebstrap", *options, SUITE, part, mirror(place), SOURCE_DATE_EPOCH=EPOCH, timeout=900, **scratch)
        part.replace(tar)
    place.run("podman", "import", "--quiet", tar, BASE)
    return BASE


def _free_mb(folder: Path) -> int:
    if not folder.is_dir():
        return 0
    state = os.statvfs(folder)
    return state.f_bavail * state.f_frsize // 1_000_000


def get_apptainer(place: Place) -> Path:
    """Return a folder with the real Apptainer's programs, fetched once.

    Raises:
        MissingError: it is no longer there, or cannot be fetched.
    """
    folder = BUILD / "apptainer"
    if not (folder / "version").exists():
        try:
            place.run("bash", SETTINGS / "get_apptainer.sh", folder, mirror(place), timeout=600)
        except subprocess.CalledProcessError as error:
            last = (error.stdout or "").strip().splitlines()[-1:]
            raise MissingError(f"Apptainer from Debian sid ({' '.join(last)})") from error
    return folder / "usr/bin"


def apptainer_version(programs: Path) -> str:
    """Return what was fetched."""
    return (programs.parent.parent / "version").read_text().strip()
