"""What every image must keep, whatever builds and runs it."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

from segbatch.cluster.containers.launch import WORKER
from tests.image.building import PLANTED_HOST, Image
from tests.image.machine import TOP
from tests.image.report import FaultError
from tests.image.site_words import certificates_of, site_words

_PYTHON = ("--entrypoint", "/opt/venv/bin/python")
_NUMBER = re.compile(r"[1-9]\d*(:[1-9]\d*)?")
_STALE = """
import importlib.util, pathlib, sys, sysconfig
known, stale = 0, []
folders = [pathlib.Path(sysconfig.get_path("purelib")), pathlib.Path(sysconfig.get_path("stdlib"))]
for source in (source for folder in folders for source in folder.rglob("*.py")):
    if {"test", "tests", "lib2to3"} & set(source.parts) or "lib-dynload" in source.parts:
        continue
    code = pathlib.Path(importlib.util.cache_from_source(str(source)))
    try:
        head = code.read_bytes()[:8]
    except OSError:
        head = b""
    known += 1
    if head[:4] != importlib.util.MAGIC_NUMBER or head[4:] != (1).to_bytes(4, "little"):
        try:
            compile(source.read_bytes(), str(source), "exec")
        except (SyntaxError, ValueError):
            continue
        stale.append(str(source))
print(known, *stale[:5])
"""
"""Python files without byte code that is taken unchecked: flag 1 of its head."""
_INSIDE = """
import json, os, pathlib, socket
status = dict(line.split(":\\t", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines())
try:
    pathlib.Path("/opt/venv/x").touch()
    refused = ""
except OSError as error:
    refused = error.strerror
print(json.dumps({"user": os.getuid(), "capabilities": int(status["CapEff"], 16), "refused": refused,
                  "network": [name for _, name in socket.if_nameindex()]}))
"""


def not_root(image: Image) -> None:
    """The user is a number other than 0, so that a cluster can tell."""
    user = image.config.get("User", "")
    if not _NUMBER.fullmatch(user):
        raise FaultError(f"USER is {user!r}: expected a number other than 0, since a cluster cannot look up names")


def entry_point(image: Image) -> None:
    """The worker is started without a shell, from an absolute path, so that signals reach it."""
    words = image.config.get("Entrypoint") or []
    if tuple(words) != WORKER:
        raise FaultError(f"ENTRYPOINT is {words}: expected {list(WORKER)}, which segbatch starts")
    if "Usage" not in image.run("--help"):
        raise FaultError("the entry point does not answer --help")


def any_user(image: Image) -> None:
    """A user whom the image does not know, with a home that is not there, can run it."""
    said = image.run("--help", options=("--user", "12345:12345", "--env", "HOME=/nowhere"))
    if "Usage" not in said:
        raise FaultError(said)
    found = json.loads(image.run("-c", _INSIDE, options=("--user", "12345:12345", *_PYTHON)))
    if found["capabilities"] or found["network"] != ["lo"] or found["user"] != 12345:
        raise FaultError(f"expected user 12345, no capability and only `lo`: {found}")


def root_stays(image: Image) -> None:
    """Even root inside cannot write to a root that is read only."""
    said = json.loads(image.run("-c", _INSIDE, options=("--user", "0", *_PYTHON)))["refused"]
    if said != "Read-only file system":
        raise FaultError(f"a write to /opt/venv said {said!r}: expected 'Read-only file system'")


def writes_nothing(image: Image) -> None:
    """Where the image could be written to, the worker writes nothing outside the temp folder all the same."""
    image.place.run("podman", "rm", "--force", "--ignore", "written")
    image.place.run("podman", "run", "--name", "written", "--network", "none", "--user", "0", image.tag, "--help")
    changed = json.loads(image.place.run("podman", "diff", "--format", "json", "written"))
    names = [name for names in changed.values() for name in names if not re.match("/(etc|run|tmp|dev|proc)(/|$)", name)]
    image.place.run("podman", "rm", "--force", "written")
    if names:
        raise FaultError(f"the worker wrote outside what is mounted: {', '.join(names)}")


def labels(image: Image) -> None:
    """It says what it is, by the names of the OCI."""
    found = image.config.get("Labels") or {}
    missing = [
        name
        for name in ("title", "description", "licenses", "version", "revision")
        if found.get(f"org.opencontainers.image.{name}", "unknown") == "unknown"
    ]
    if missing:
        raise FaultError(f"no label {', '.join(missing)} among {found}")


def byte_code(image: Image) -> None:
    """All Python files have byte code that no file time makes stale."""
    known, *stale = image.run("-c", _STALE, options=_PYTHON).split()
    if stale or int(known) < 500:
        raise FaultError(f"of {known} Python files, byte code is missing or bound to a time: {' '.join(stale)}")


def readable(image: Image) -> None:
    """What the image adds to its base, anyone can read, and belongs to root without special rights."""
    for member in _added(image):
        special = member.mode & 0o6000
        needed = 0o005 if member.isdir() else 0o004
        if not member.issym() and (special or member.mode & needed != needed or member.uid or member.gid):
            raise FaultError(f"/{member.name}: mode {member.mode:o}, owner {member.uid}:{member.gid}")


def nothing_of_the_site(image: Image) -> None:
    """No package index, proxy, certificate, host or folder of where it was built, in files, settings and history."""
    words = {word.encode() for word in site_words()} | {PLANTED_HOST.encode()}
    words |= certificates_of(image.layers[0])
    text = image.description.encode()
    found = [f"{word.decode()} in its settings or history" for word in sorted(words) if word in text]
    pattern = re.compile(b"|".join(re.escape(word) for word in sorted(words)))
    for layer in image.layers[1:]:
        with tarfile.open(layer) as files:
            for member in files:
                if hit := (member.isfile() and _search(files, member, pattern)):
                    found.append(f"{hit} in /{member.name}")
    if found:
        raise FaultError("the image knows where it was built:\n" + "\n".join(found[:10]))


def _search(files: tarfile.TarFile, member: tarfile.TarInfo, pattern: re.Pattern[bytes]) -> str:
    handle = files.extractfile(member)
    hit = pattern.search(handle.read()) if handle else None
    return hit.group().decode(errors="replace") if hit else ""


def _added(image: Image) -> Iterator[tarfile.TarInfo]:
    for layer in image.layers[1:]:
        with tarfile.open(layer) as files:
            # Folders of the base come along in layers, with the base's own rights.
            yield from (member for member in files if member.name.startswith("opt/"))


def parts(image: Image) -> None:
    """The list of parts names every package of the lock with its version and digest."""
    lock = Path(TOP, "docker", f"requirements-{image.requirements}.lock").read_text()
    wanted = set(re.findall(r"^([\w.-]+)==([^\s;]+)", lock, re.MULTILINE))
    found = {(part["name"], part["version"]) for part in image.parts["components"]}
    if image.parts["bomFormat"] != "CycloneDX" or wanted != found:
        raise FaultError(f"only in one of lock and list: {sorted(wanted ^ found)}")


CONTRACT: dict[str, Callable[[Image], None]] = {
    "not root, by number": not_root,
    "the entry point is the worker itself, by its path": entry_point,
    "runs for any user, without home, network and capabilities": any_user,
    "a read-only root refuses a write": root_stays,
    "writes nothing beside the temp folder": writes_nothing,
    "nothing of this site in layers, settings and history": nothing_of_the_site,
    "what it adds is readable by all": readable,
    "labels": labels,
    "byte code is taken as it is": byte_code,
    "the list of parts is the lock's": parts,
}
