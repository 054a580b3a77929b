"""Pin what the images are made from: one lock a use, with hashes, naming no package index."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent / "pyproject.toml"
CPU = ["--extra", "worker", "--extra", "geo", "--override", str(HERE / "cpu-override.txt"), str(HERE / "cpu.in")]
LOCKS = {
    "cpu": [str(PROJECT), *CPU],
    "gpu": [str(PROJECT), "--extra", "worker", "--extra", "geo", "--extra", "gpu"],
    # The base install alone: for the fast form of the image's test.
    "base": [str(PROJECT)],
    # The build backend.
    "build": ["-"],
}
"""What each lock is worked out from; the first one's versions bind the others."""


def write_lock(uv: str, name: str, *, upgrade: bool) -> int:
    """Write docker/requirements-NAME.lock and return how many packages it pins."""
    target = HERE / f"requirements-{name}.lock"
    first = HERE / f"requirements-{next(iter(LOCKS))}.lock"
    command = [uv, "pip", "compile", "--quiet", *LOCKS[name], "--output-file", str(target)]
    command += ["--generate-hashes", "--no-emit-index-url", "--no-header", "--no-annotate"]
    # The oldest C library of the manylinux wheels taken; all bases since Debian 10 have it.
    command += ["--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28"]
    command += ["--upgrade"] if upgrade else []
    command += [] if target == first else ["--constraint", str(first)]
    build_requirements = "\n".join(tomllib.loads(PROJECT.read_text())["build-system"]["requires"])
    subprocess.run(command, check=True, input=build_requirements, text=True, cwd=HERE.parent, stdout=subprocess.DEVNULL)
    return sum(not line.startswith((" ", "#")) for line in target.read_text().splitlines())


def main() -> int:
    """Write all locks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uv", default="uv", help="the program uv")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions instead of those pinned")
    options = parser.parse_args()
    for name in LOCKS:
        try:
            packages = write_lock(options.uv, name, upgrade=options.upgrade)
        except FileNotFoundError:
            print(f"{options.uv}: no such program. `make lock` installs it; or pip install uv.", file=sys.stderr)
            return 2
        except subprocess.CalledProcessError as error:
            return error.returncode
        print(f"docker/requirements-{name}.lock  {packages} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
