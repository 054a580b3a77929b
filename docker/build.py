"""Build the image with buildah, podman or docker, whichever is here, and write its list of parts beside it."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from site_settings import certificates, pip_conf, pip_settings

HERE = Path(__file__).resolve().parent
TOP = HERE.parent
ENGINES = ("buildah", "podman", "docker")
BASE = "docker.io/library/python:3.11-slim-bookworm"
NO_COMMIT = 315532800
"""Time of files where there is no commit to take it from: 1980, before which zip files know no time."""
SMALL = 50_000
"""Bytes; a layer of less is not worth a line."""


class BuildError(Exception):
    """Something that the caller must mend; the message says what."""


@dataclass(frozen=True)
class Order:
    """What is to be built."""

    engine: str
    base: str
    requirements: str
    """Which lock: cpu, gpu or base."""
    tag: str
    epoch: int
    """Time of all files, in seconds since 1970."""
    version: str
    revision: str
    fresh: bool = False
    """Take no layer of an earlier build."""
    dockerfile: Path = HERE / "Dockerfile"
    context: Path = TOP


def build(order: Order, environ: Mapping[str, str] = os.environ) -> str:
    """Build the image and return its id.

    Raises:
        BuildError: the engine failed; it has said why.
    """
    with _secrets(environ) as secrets:
        said = subprocess.run(_command(order, secrets), env=_engine_environ(order, environ), check=False)
    if said.returncode:
        raise BuildError(f"{order.engine} failed with exit code {said.returncode}; the last lines above say why.")
    return image_id(order.engine, order.tag, environ)


def image_id(engine: str, tag: str, environ: Mapping[str, str] = os.environ) -> str:
    """Return the digest of an image's configuration."""
    if engine == "buildah":
        return _ask([engine, "inspect", "--type", "image", "--format", "{{.FromImageID}}", tag], environ)
    return _ask([engine, "image", "inspect", "--format", "{{.Id}}", tag], environ).removeprefix("sha256:")


def _ask(command: Sequence[str], environ: Mapping[str, str]) -> str:
    return subprocess.run(command, env=dict(environ), check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def _command(order: Order, secrets: Sequence[str]) -> list[str]:
    given = {"BASE": order.base, "REQUIREMENTS": f"requirements-{order.requirements}.lock"}
    given |= {"VERSION": order.version, "REVISION": order.revision}
    if order.engine == "docker":
        # BuildKit takes this argument for the time of what it makes.
        command = ["docker", "build"]
        given["SOURCE_DATE_EPOCH"] = str(order.epoch)
    else:
        # Of all isolations this one needs the fewest rights.
        command = [order.engine, *(["bud"] if order.engine == "buildah" else ["build"]), "--isolation", "chroot"]
        command += ["--network", "host", "--layers", "--timestamp", str(order.epoch)]
    command += ["--no-cache"] if order.fresh else []
    for name, value in given.items():
        command += ["--build-arg", f"{name}={value}"]
    for secret in secrets:
        command += ["--secret", secret]
    return [*command, "--file", str(order.dockerfile), "--tag", order.tag, str(order.context)]


def _engine_environ(order: Order, environ: Mapping[str, str]) -> dict[str, str]:
    return {**environ, "DOCKER_BUILDKIT": "1"} if order.engine == "docker" else dict(environ)


@contextmanager
def _secrets(environ: Mapping[str, str]) -> Iterator[list[str]]:
    """Yield `--secret` values for the site's package index and certificates, if it has any."""
    settings = pip_settings(environ)
    with tempfile.TemporaryDirectory() as folder:
        secrets = []
        text = pip_conf(settings)
        if text:
            path = Path(folder, "pip.conf")
            path.write_text(text)
            secrets.append(f"id=pip_conf,src={path}")
        trusted = certificates(settings, environ)
        if trusted:
            secrets.append(f"id=ca_bundle,src={trusted}")
        yield secrets


def layers(engine: str, tag: str, environ: Mapping[str, str] = os.environ) -> list[tuple[int, str]]:
    """Return size in bytes and origin of each layer, the base's first; empty if nobody here can say."""
    program = "podman" if engine == "buildah" else engine
    if not shutil.which(program):
        return []
    form = "json" if program == "podman" else "{{.Size}}\t{{.CreatedBy}}"
    said = _ask([program, "history", "--no-trunc", "--human=false", "--format", form, tag], environ)
    if program == "podman":
        rows = [(row["size"], row["CreatedBy"]) for row in json.loads(said)]
    else:
        rows = [(int(size), words) for size, _, words in (row.partition("\t") for row in said.splitlines())]
    return [(size, _origin(words)) for size, words in reversed(rows) if size > 0]


def _origin(words: str) -> str:
    """Name a layer by the step that made it."""
    for sign, name in (
        ("compileall", "segbatch itself"),
        ("requirements", "the lock's packages"),
        ("install-lock", "the lock's packages"),
        ("COPY", "files of the build"),
    ):
        if sign in words:
            return f"{name}"
    return "base"


def write_parts(tools: Path, requirements: str, target: Path, version: str) -> int:
    """Write the image's Python packages as CycloneDX JSON and return how many there are.

    Raises:
        BuildError: the program is not there, or failed.
    """
    program = tools / "cyclonedx-py"
    if not program.exists():
        raise BuildError(f"{program}: no such program. `make image` installs what docker/tools.txt names.")
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = HERE / f"requirements-{requirements}.lock"
    command = [str(program), "requirements", str(lock), "--pyproject", str(TOP / "pyproject.toml"), "--mc-type"]
    command += ["application", "--output-reproducible", "--of", "JSON", "-o", str(target)]
    if subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode:
        raise BuildError(f"{' '.join(command)} failed.")
    parts = json.loads(target.read_text())
    parts["metadata"]["component"]["version"] = version
    target.write_text(json.dumps(parts, indent=1) + "\n")
    return len(parts["components"])


def _git(*words: str) -> str:
    try:
        return subprocess.run(
            ["git", "-C", str(TOP), *words], check=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def commit_time(environ: Mapping[str, str] = os.environ) -> int:
    """Return SOURCE_DATE_EPOCH, else the time of the last commit."""
    return int(environ.get("SOURCE_DATE_EPOCH") or _git("log", "-1", "--format=%ct") or NO_COMMIT)


def revision() -> str:
    """Return the commit, marked if files differ from it."""
    commit = _git("rev-parse", "HEAD")
    if not commit:
        return "unknown"
    return f"{commit}-changed" if _git("status", "--porcelain", "--untracked-files=no") else commit


def project_version() -> str:
    """Return the project's version."""
    return str(tomllib.loads((TOP / "pyproject.toml").read_text())["project"]["version"])


def export(engine: str, tag: str, target: Path, environ: Mapping[str, str] = os.environ) -> None:
    """Write the image as one file, which apptainer, podman and skopeo read as `oci-archive:FILE`.

    Raises:
        BuildError: it could not be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    commands = {
        "buildah": ["buildah", "push", "--quiet", tag, f"oci-archive:{target}"],
        "podman": ["podman", "save", "--quiet", "--format", "oci-archive", "--output", str(target), tag],
        "docker": ["docker", "save", "--output", str(target), tag],
    }
    if subprocess.run(commands[engine], env=dict(environ), check=False, stdout=subprocess.DEVNULL).returncode:
        raise BuildError(f"{engine} could not write {target}.")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make image", description=__doc__)
    parser.add_argument("--requirements", choices=("cpu", "gpu", "base"), default="cpu", help="which lock to install")
    parser.add_argument("--base", default=BASE, help="any image with Python 3.11 as python3 (default: %(default)s)")
    parser.add_argument("--tag", help="the image's name (default: localhost/segbatch:VERSION-REQUIREMENTS)")
    parser.add_argument("--engine", choices=ENGINES, help="program that builds (default: the first that is here)")
    parser.add_argument("--archive", type=Path, help="write the image into this file too, as an OCI archive")
    parser.add_argument("--parts", type=Path, help="the list of parts (default: build/segbatch-REQUIREMENTS.cdx.json)")
    parser.add_argument("--tools", type=Path, default=TOP / "build/tools/bin", help=argparse.SUPPRESS)
    parser.add_argument("--revision", default="", help="commit to name in the labels (default: this checkout's)")
    parser.add_argument("--file", type=Path, default=HERE / "Dockerfile", help="another Dockerfile")
    parser.add_argument("--no-cache", action="store_true", help="take no layer of an earlier build")
    return parser.parse_args()


def main() -> int:
    """Build, and print what came of it."""
    options = _options()
    engine = options.engine or next((name for name in ENGINES if shutil.which(name)), None)
    if engine is None:
        print(f"none of {', '.join(ENGINES)} is here. On Debian: apt-get install buildah podman", file=sys.stderr)
        return 2
    version, wanted = project_version(), options.requirements
    tag = options.tag or f"localhost/segbatch:{version}-{wanted}"
    order = Order(
        engine=engine,
        base=options.base,
        requirements=wanted,
        tag=tag,
        epoch=commit_time(),
        version=version,
        revision=options.revision or revision(),
        fresh=options.no_cache,
        dockerfile=options.file.resolve(),
    )
    target = options.parts or TOP / f"build/segbatch-{wanted}.cdx.json"
    try:
        identity = build(order)
        count = write_parts(options.tools, wanted, target, version)
        if options.archive:
            export(engine, tag, options.archive)
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"\n{tag}\nid        {identity}")
    found = layers(engine, tag)
    for size, origin in [*found, (sum(size for size, _ in found), "in all")] if found else []:
        if size >= SMALL:
            print(f"{size / 1e6:9.1f} MB  {origin}")
    print(f"parts     {target}, {count} Python packages (CycloneDX)")
    if options.archive:
        print(f"archive   {options.archive}, {options.archive.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
