"""Build the image and run the demo in it.

Exit code 0: all held. 1: something fell short. 77: this machine cannot do all of it; what was not run is named.
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.image.base import make_base
from tests.image.building import Image
from tests.image.contract import CONTRACT
from tests.image.machine import TOOLS, TOP, Place, place, refuse_unfit
from tests.image.report import CANNOT, FaultError, MissingError, Report


def hadolint(image: Image) -> None:
    """The Dockerfile has no flaw that the linter knows."""
    image.place.run(TOOLS / "hadolint", "--failure-threshold", "style", TOP / "docker/Dockerfile")


def same_again(image: Image) -> None:
    """Building everything anew gives the same image."""
    again = Image(image.place, f"{image.tag}-again", image.requirements, image.base)
    again.build("--no-cache")
    if again.identity != image.identity:
        raise FaultError(f"{image.identity} and then {again.identity}")


def run_all(report: Report, place: Place, *, full: bool) -> None:
    """Run all checks that this machine can do."""
    with report.check("base: Debian bookworm with its python3"):
        base = make_base(place)
    if report.failed or report.not_run:
        return
    image = Image(place, "localhost/segbatch:test", "cpu" if full else "base", base)
    with report.check(f"image from the {image.requirements} lock"):
        said = image.build()
    if report.failed:
        return
    print(
        "\n".join(
            f"                  {line}"
            for line in said.splitlines()
            if line.rstrip().endswith(("base", "lock's packages", "itself", "in all")) and " MB " in line
        )
    )
    with report.check("hadolint"):
        hadolint(image)
    for name, held in CONTRACT.items():
        with report.check(name):
            held(image)
    with report.check("a second build gives the same image"):
        same_again(image)


def main() -> int:
    """Run the test."""
    parser = argparse.ArgumentParser(prog="python -m tests.image", description=__doc__)
    parser.add_argument("--full", action="store_true", help="build TensorFlow in, instead of lending the host's")
    options = parser.parse_args()
    report, start = Report(), time.monotonic()
    try:
        refuse_unfit()
        with place() as found:
            run_all(report, found, full=options.full)
    except MissingError as reason:
        print(f"CANNOT: this machine lacks {reason}")
        return CANNOT
    code = report.close()
    print(f"{time.monotonic() - start:.0f} s")
    return code


if __name__ == "__main__":
    sys.exit(main())
