"""The demo's jobs in the image, by an ordinary user: `python -m tests.image.tasks FOLDER` is what that user runs."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.image.demo import PREDICT, TRAIN, Demo, refuse_privileges, same, told
from tests.image.machine import TOP
from tests.image.report import FaultError, Report
from tests.image.slurm_tasks import OciCluster, run_in_slurm
from tests.support.slurm_cluster import SlurmCluster

PODMAN_IMAGE = "localhost/segbatch:test"
LOCAL = ("--backend", "local")


@dataclass(frozen=True)
class Order:
    """What the test's first process tells the user's."""

    layout: str
    """The image in OCI layout."""
    lent: str | None
    submitter: str
    """Python of the environment from which jobs in the image are submitted."""
    apptainer: str | None
    """Folder of Apptainer's programs."""
    why_no_apptainer: str
    why_no_slurm: str
    base: str
    """The base in OCI layout."""
    requirements: str
    secrets: str
    """Folder of what a build needs of the site."""


def run_here(report: Report, demo: Demo, runtime: str, image: str) -> None:
    """Train and predict in an image on this machine."""
    container = demo.container(runtime, image)
    with report.check(f"{runtime}: trains, without privileges"):
        demo.submit(TRAIN, runtime, *LOCAL, "--wait", container=container)
        refuse_privileges(demo.seen(TRAIN, runtime), 2)
        demo.keep_model(runtime)
    words = "predicts, stops at TERM, is resumed, stops at USR1, is resumed; masks and CSVs as without a container"
    with report.check(f"{runtime}: {words}"):
        demo.submit(PREDICT, runtime, *LOCAL, container=container, SEGBATCH_TEST_SLOW="1")
        demo.begun(runtime)
        demo.type("cancel", PREDICT, "--runs", runtime)
        demo.type("status", PREDICT, "--runs", runtime, "--watch", code=85)
        told(demo, runtime, "SIGTERM")
        demo.type("resume", PREDICT, "--runs", runtime, SEGBATCH_TEST_SLOW="1")
        demo.begun(runtime, attempt=2)
        demo.warn(runtime)
        demo.type("status", PREDICT, "--runs", runtime, "--watch", code=85)
        told(demo, runtime, "SIGUSR1", attempt=2)
        demo.type("resume", PREDICT, "--runs", runtime, "--wait")
        refuse_privileges(demo.seen(PREDICT, runtime), 4)
        same(demo, runtime)


def by_podman(report: Report, demo: Demo, order: Order) -> None:
    """Run the jobs by podman, in a store of the user's own."""
    with report.check("podman: takes the image"):
        said = ask("podman", "pull", "--quiet", f"oci:{order.layout}:test")
        ask("podman", "tag", said.strip().splitlines()[-1], PODMAN_IMAGE)
    run_here(report, demo, "podman", PODMAN_IMAGE)


def by_apptainer(report: Report, demo: Demo, order: Order, cluster: SlurmCluster | None, folder: Path) -> None:
    """Run the jobs by Apptainer, here and in jobs of SLURM."""
    names = ("apptainer", "SLURM with apptainer")
    if not order.apptainer:
        for name in names:
            report.skip(name, order.why_no_apptainer)
        return
    sandbox = str(folder / "sandbox")
    with report.check("apptainer: takes the image"):
        ask("apptainer", "--quiet", "build", "--sandbox", sandbox, f"oci:{order.layout}")
    run_here(report, demo, "apptainer", sandbox)
    if cluster is None:
        report.skip(names[1], order.why_no_slurm)
    else:
        run_in_slurm(report, demo, cluster, names[1], demo.container("apptainer", sandbox))


def by_definition(report: Report, order: Order, folder: Path) -> None:
    """Build Apptainer's own image from docker/segbatch.def, and compare what is in it."""
    name = "docker/segbatch.def builds, and holds the same files of segbatch"
    if not order.apptainer:
        report.skip(name, order.why_no_apptainer)
        return
    made = folder / "by-definition"
    with report.check(name):
        given = {"BOOTSTRAP": "oci", "FROM": order.base, "REQUIREMENTS": f"requirements-{order.requirements}.lock"}
        words = [word for pair in given.items() for word in ("--build-arg", "=".join(pair))]
        command = ["apptainer", "--quiet", "build", "--fakeroot", "--sandbox", "--bind", f"{order.secrets}:/mnt:ro"]
        subprocess.run(
            [*command, *words, str(made), "docker/segbatch.def"],
            check=True,
            cwd=TOP,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if "Usage" not in ask("apptainer", "--quiet", "run", str(made), "--help"):
            raise FaultError("its run script does not start the worker")
        own, other = _files(made), _files(folder / "sandbox")
        if not own or own != other:
            raise FaultError(f"differ: {sorted(own.items() ^ other.items())[:5]}")


def _files(sandbox: Path) -> dict[str, str]:
    """Digests of segbatch's own files in an image, byte code too."""
    packages = sandbox / "opt/venv/lib/python3.11/site-packages"
    found = (path for path in packages.glob("segbatch*/**/*") if path.is_file() and path.name != "RECORD")
    return {str(path.relative_to(packages)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def by_slurm(report: Report, demo: Demo, order: Order, cluster: SlurmCluster | None, folder: Path) -> None:
    """Run the jobs by SLURM's own containers."""
    name = "SLURM with its own containers"
    if cluster is None:
        report.skip(name, order.why_no_slurm)
        return
    bundle = folder / "bundle"
    with report.check("umoci: unpacks the image"):
        ask("umoci", "unpack", "--rootless", "--image", f"{order.layout}:test", str(bundle))
    run_in_slurm(report, demo, cluster, name, demo.container("slurm-oci", str(bundle)), renumbered=True)


def main(folder: Path) -> int:
    """Run all tasks as this user, two at a time."""
    order = Order(**json.loads((folder / "order.json").read_text()))
    report, own = Report(), folder / "user"
    if order.apptainer:
        os.environ["PATH"] += f":{order.apptainer}"
        for name in ("APPTAINER_TMPDIR", "APPTAINER_CACHEDIR"):
            os.environ[name] = str(own / name.lower())
            Path(os.environ[name]).mkdir()
    demo = Demo(own / "work", Path(order.lent) if order.lent else None, order.submitter)
    with report.check("the demo's world, painted"):
        demo.set_up()
    with ExitStack() as stack, ThreadPoolExecutor(2) as pool:
        cluster = None
        if not order.why_no_slurm:
            with report.check("a SLURM of this test's own"):
                cluster = stack.enter_context(OciCluster(nodes=1, gpus=0))
                demo.environ = {name: cluster.environ[name] for name in ("SLURM_CONF", "PATH")}

        def one() -> None:
            by_podman(report, demo, order)
            by_slurm(report, demo, order, cluster, own)

        def other() -> None:
            by_apptainer(report, demo, order, cluster, own)
            by_definition(report, order, own)

        works: tuple[Callable[[], None], ...] = (one, other)
        for work in [pool.submit(work) for work in works]:
            work.result()
    report.save(own / "report.json")
    return 0


def ask(*command: str) -> str:
    """Run a program and return what it printed."""
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
