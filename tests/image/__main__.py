"""Build the image and run the demo in it.

Exit code 0: all held. 1: something fell short. 77: this machine cannot do all of it; what was not run is named.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.image.base import apptainer_version, get_apptainer, make_base
from tests.image.base_install import base_install
from tests.image.building import Image
from tests.image.contract import CONTRACT
from tests.image.faults import PLANTED
from tests.image.machine import TOOLS, TOP, Place, host_packages, place, refuse_unfit
from tests.image.report import CANNOT, FaultError, MissingError, Report
from tests.image.site_words import certificates, pip_conf, pip_settings
from tests.support.slurm_cluster import PACKAGES as SLURM_PACKAGES
from tests.support.slurm_cluster import missing_programs


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
    if not full:
        host_packages()
    base = ""
    with report.check("base: Debian bookworm with its python3, in place of the published python:3.11-slim-bookworm"):
        base = make_base(place)
    if not base:
        return
    image = Image(place, "localhost/segbatch:test", "cpu" if full else "base", base)
    said = ""
    with report.check(f"the image, built from the {image.requirements} lock"):
        said = image.build()
    if not said:
        return
    for line in said.splitlines():
        if " MB  " in line:
            print(f"                 {line}")
    with report.check("hadolint: nothing to say"):
        hadolint(image)
    for name, held in CONTRACT.items():
        with report.check(name):
            held(image)
    programs = find_apptainer(report, image)
    with ThreadPoolExecutor(1) as pool:
        rest = pool.submit(build_more, report, image)
        as_user(report, image, programs, full=full)
        rest.result()


def build_more(report: Report, image: Image) -> None:
    """Build the image with faults, and once more as it is."""
    for fault in PLANTED:
        with report.check(f"planted and found: {fault.name}"):
            fault.must_be_found(image)
    with report.check("a second build from nothing gives the same image"):
        same_again(image)


def find_apptainer(report: Report, image: Image) -> tuple[Path | None, str]:
    """Return where Apptainer's programs are, or why they are not here."""
    try:
        programs = get_apptainer(image.place)
    except MissingError as reason:
        return None, str(reason)
    print(f"                  {apptainer_version(programs)}: Debian sid's binary, only its loader path changed")
    return programs, ""


def as_user(report: Report, image: Image, apptainer: tuple[Path | None, str], *, full: bool) -> None:
    """Run the demo's jobs in the image as an ordinary user."""
    place = image.place
    programs, why_not = apptainer
    absent = missing_programs()
    submitter = ""
    with report.check("the base install alone, from which jobs are submitted: no TensorFlow, no NumPy"):
        submitter = str(base_install(place))
    order = {
        "layout": str(image.layout),
        "base": str(Image(place, image.base, image.requirements, image.base).layout),
        "lent": None if full else str(host_packages().resolve()),
        "submitter": submitter or sys.executable,
        "apptainer": str(programs) if programs else None,
        "why_no_apptainer": why_not,
        "why_no_slurm": f"no {', '.join(absent)} (apt-get install {SLURM_PACKAGES})" if absent else "",
        "requirements": image.requirements,
        "secrets": str(secrets(place)),
    }
    (place.folder / "order.json").write_text(json.dumps(order))
    command = [sys.executable, "-m", "tests.image.tasks", place.folder]
    reach = [Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve(), TOP]
    code = place.as_user(command, reach, {"PYTHONPATH": str(TOP), "PYTHONUNBUFFERED": "1"})
    report.add(place.folder / "user/report.json", f"the user's tasks (exit {code})")


def secrets(place: Place) -> Path:
    """Return a folder with the site's pip settings and certificates, as Apptainer's definition wants them."""
    folder = place.folder / "secrets"
    folder.mkdir()
    settings = pip_settings()
    (folder / "pip_conf").write_text(pip_conf(settings))
    trusted = certificates(settings)
    (folder / "ca_bundle").write_bytes(trusted.read_bytes() if trusted else b"")
    return folder


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
    form = "full form: TensorFlow built in" if options.full else "fast form: the host's TensorFlow, lent read-only"
    print(f"{form}; {time.monotonic() - start:.0f} s")
    print("not part of this test: the published base's bytes, GPUs, Docker's daemon, pyxis")
    return code


if __name__ == "__main__":
    sys.exit(main())
