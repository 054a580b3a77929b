"""The demo's jobs in the image, inside jobs of a SLURM of the test's own."""

from __future__ import annotations

import json

from tests.image.demo import PREDICT, TRAIN, Demo, refuse_privileges, same, told, wait_for
from tests.image.report import FaultError, Report
from tests.support.slurm_cluster import SlurmCluster


class OciCluster(SlurmCluster):
    """A SLURM that can start OCI bundles by runc."""

    def _prepare(self) -> None:
        super()._prepare()
        state = self.layout.root / "runc"
        runc = f"runc --root={state}"
        name = "%n.%u.%j.%s.%t"
        lines = [
            f'RunTimeQuery="{runc} state {name}"',
            # By exec, so that signals reach runc, which passes them on.
            f'RunTimeRun="exec {runc} run --bundle %b {name}"',
            f'RunTimeKill="{runc} kill -a {name}"',
            f'RunTimeDelete="{runc} delete --force {name}"',
        ]
        self._write("etc/oci.conf", "\n".join(lines) + "\n")


def run_in_slurm(
    report: Report, demo: Demo, cluster: SlurmCluster, name: str, container: str, *, renumbered: bool = False
) -> None:
    """Train and predict in jobs that start an image; the predicting one is warned in the middle, and requeued."""
    slurm = ("--backend", "slurm")
    runs = name.replace(" ", "-")
    with report.check(f"{name}: trains, without privileges"):
        demo.submit(TRAIN, runs, *slurm, "--wait", container=container)
        refuse_privileges(demo.seen(TRAIN, runs), 2, renumbered=renumbered)
    with report.check(f"{name}: predicts, stops at USR1, is requeued; masks and CSVs as without a container"):
        demo.submit(PREDICT, runs, *slurm, container=container, SEGBATCH_TEST_SLOW="1")
        demo.begun(runs)
        cluster.run("scancel", "--signal=USR1", "--batch", _job(demo, runs))
        try:
            wait_for(lambda: '"requeue"' in _told_by_script(demo, runs), "the requeue")
        except FaultError as error:
            said = demo.type("status", PREDICT, "--runs", runs, code=None)
            raise FaultError(f"{error}\n{_told_by_script(demo, runs)}{demo.logs(PREDICT, runs)}{said}") from error
        told(demo, runs, "SIGUSR1")
        demo.go(runs)
        demo.type("status", PREDICT, "--runs", runs, "--watch")
        refuse_privileges(demo.seen(PREDICT, runs), 3, renumbered=renumbered)
        same(demo, runs)


def _job(demo: Demo, runs: str) -> str:
    return str(json.loads(demo.type("status", PREDICT, "--runs", runs, "--json"))["tasks"][0]["job"])


def _told_by_script(demo: Demo, runs: str) -> str:
    path = demo.run(PREDICT, runs).paths.task(0).host
    return path.read_text() if path.exists() else ""
