"""What the test needs of this machine, and the folder and settings it works with."""

from __future__ import annotations

import os
import resource
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.image.report import MissingError
from tests.support.slurm_cluster import PACKAGES as SLURM_PACKAGES
from tests.support.slurm_view import search_path

TOP = Path(__file__).parent.parent.parent
BUILD = TOP / "build"
TOOLS = BUILD / "tools/bin"
SETTINGS = Path(__file__).parent / "settings"

PROGRAMS = {
    "buildah": "buildah",
    "podman": "podman",
    "runc": "runc",
    "umoci": "umoci",
    "newuidmap": "uidmap",
    "mmdebstrap": "mmdebstrap",
    "patchelf": "patchelf",
    "setpriv": "util-linux",
}
"""Programs that are needed, and the Debian packages that have them."""


def refuse_unfit() -> None:
    """Refuse a machine on which nothing can be built.

    Raises:
        MissingError: naming all that is missing.
    """
    missing = []
    if os.getuid() != 0:
        missing.append("root, to make a base and users of the test's own (a container of your own will do)")
    absent = {name: package for name, package in PROGRAMS.items() if not shutil.which(name, path=search_path())}
    if absent:
        packages = " ".join(sorted(set(absent.values())))
        missing.append(f"{', '.join(absent)} (apt-get install --no-install-recommends {packages})")
    if not missing and subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], check=False).returncode:
        missing.append("the right to make namespaces")
    if not (TOOLS / "hadolint").exists():
        missing.append(f"{TOOLS}/hadolint (make image-test installs it)")
    if missing:
        raise MissingError("; ".join(missing))


def host_packages() -> Path:
    """Return the folder of this Python's packages, for an image whose lock leaves TensorFlow out.

    Raises:
        MissingError: TensorFlow is not in it, or this Python is not the image's.
    """
    from importlib.util import find_spec

    found = find_spec("tensorflow")
    if found is None or not found.submodule_search_locations:
        raise MissingError("TensorFlow in this environment, to lend it (make setup), or the full form (--full)")
    if sys.version_info[:2] != (3, 11):
        raise MissingError("Python 3.11, the image's, to lend its TensorFlow; or the full form (--full)")
    return Path(next(iter(found.submodule_search_locations))).parent


@dataclass(frozen=True)
class Place:
    """The test's own folder, of which nothing stays."""

    folder: Path
    user: int
    """Number of the ordinary user."""

    @property
    def environ(self) -> dict[str, str]:
        """Environment in which podman and buildah keep to this folder."""
        return {**os.environ, "PATH": search_path(), **self._own("root")}

    @property
    def user_environ(self) -> dict[str, str]:
        """The same for the ordinary user, with nothing else of this process."""
        home = self.folder / "user"
        return {
            "PATH": os.pathsep.join([*os.environ["PATH"].split(os.pathsep), "/usr/sbin", "/sbin"]),
            "HOME": str(home),
            "USER": "tester",
            "LANG": "C.UTF-8",
            "XDG_RUNTIME_DIR": str(home / "runtime"),
            "TF_CPP_MIN_LOG_LEVEL": "2",
            **self._own("user"),
        }

    def _own(self, name: str) -> dict[str, str]:
        settings = self.folder / name
        return {
            "CONTAINERS_STORAGE_CONF": str(settings / "storage.conf"),
            "CONTAINERS_CONF": str(settings / "containers.conf"),
        }

    def run(self, *argv: str | Path, check: bool = True, timeout: float = 1800, **environ: str) -> str:
        """Run a program as root and return all that it printed.

        Raises:
            CalledProcessError: it failed, with what it printed.
        """
        done = subprocess.run(
            [str(word) for word in argv],
            env={**self.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
        if check:
            done.check_returncode()
        return done.stdout

    def as_user(self, command: Sequence[str | Path], reach: Sequence[Path], environ: Mapping[str, str]) -> int:
        """Run a command as the ordinary user, who can read `reach`, and return its exit code."""
        script = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "bash", SETTINGS / "as_user.sh"]
        argv = [*script, self.folder, self.user, *dict.fromkeys(reach), "--", *command]
        words = [str(word) for word in argv]
        return subprocess.run(words, env={**self.user_environ, **environ}, cwd=self.folder, check=False).returncode


@contextmanager
def place() -> Iterator[Place]:
    """Make the test's folder; at the end nothing is left of it, nor of what ran there."""
    # Podman takes no address of an image whose folders begin or end with `_`, as random names may.
    folder = Path("/tmp", f"segbatch-image.{secrets.token_hex(6)}")
    folder.mkdir()
    folder.chmod(0o755)
    # A number that nobody has, another one for each test that runs at the same time.
    found = Place(folder, 100_000 + os.getpid() % 100_000)
    try:
        _write(found)
        yield found
    finally:
        found.run("buildah", "rm", "--all", check=False)
        found.run("podman", "rm", "--force", "--all", check=False)
        found.run("umount", folder / "root/graph/overlay", check=False)
        shutil.rmtree(folder, ignore_errors=True)


def _write(place: Place) -> None:
    overlay = "overlay" in Path("/proc/filesystems").read_text()
    for name in ("root", "user"):
        settings = place.folder / name
        settings.mkdir()
        storage = (SETTINGS / "storage.conf").read_text().replace("DRIVER", "overlay" if overlay else "vfs")
        (settings / "storage.conf").write_text(storage.replace("FOLDER", str(settings)))
        containers = (SETTINGS / "containers.conf").read_text()
        for limit in ("NOFILE", "NPROC"):
            soft, _ = resource.getrlimit(getattr(resource, f"RLIMIT_{limit}"))
            containers = containers.replace(limit, str(4096 if soft == resource.RLIM_INFINITY else min(soft, 4096)))
        (settings / "containers.conf").write_text(containers)
    user = place.folder / "user"
    (user / "runtime").mkdir(mode=0o700)
    for path in (user, *user.iterdir()):
        os.chown(path, place.user, place.user)
    entry = f"tester:x:{place.user}:{place.user}:Tester:{user}:/bin/bash\n"
    (place.folder / "passwd").write_text(Path("/etc/passwd").read_text() + entry)
    (place.folder / "group").write_text(Path("/etc/group").read_text() + f"tester:x:{place.user}:\n")
    (place.folder / "subid").write_text("tester:1000000:65536\n")


__all__ = ["BUILD", "SLURM_PACKAGES", "TOOLS", "TOP", "Place", "host_packages", "place", "refuse_unfit"]
