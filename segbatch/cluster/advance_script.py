"""The batch script that goes on with a pipeline when a stage has ended; a pure function."""

from __future__ import annotations

import sys
from pathlib import Path

from segbatch.cluster.render import Order, comment, render_template
from segbatch.spec.notify import Notices, slurm_addresses
from segbatch.spec.site import Site

MEGABYTES = 2048
MINUTES = 60


def render_advance(name: str, stage: str, site: Site, order: Order, notices: Notices = ()) -> str:
    """Render the script of a job that needs one processor and starts what comes next.

    Args:
        name: of the pipeline.
        stage: that it waits for; empty for none.
        site: the cluster.
        order: the pipeline's folder, the token, and what it waits for.
        notices: who is told of the pipeline's end; it fails when that has failed, so that SLURM can tell.

    Raises:
        InputError: a value would break out of its line.
    """
    options = {
        "job-name": f"{name}-advance",
        "comment": comment(order.token),
        "output": "logs/advance-%j.log",
        "open-mode": "append",
        "nodes": 1,
        "ntasks": 1,
        "cpus-per-task": 1,
        "mem": f"{MEGABYTES}M",
        "time": MINUTES,
        "requeue": None,
        "dependency": order.after,
        **_mail(notices),
        "account": site.account,
        "partition": site.finish_partition or site.partition,
        "qos": site.qos,
        "reservation": site.reservation,
        "exclude": site.exclude,
        **{key: None if value is True else value for key, value in site.slurm.items() if value is not False},
    }
    said = {key: value for key, value in options.items() if value is not None or key in ("requeue", *site.slurm)}
    values = {"directives": said, "site": site, "command": advance_command(order.run_folder, stage, site)}
    return render_template("advance.sh.j2", values)


def _mail(notices: Notices) -> dict[str, str]:
    """Options by which SLURM itself writes a mail; it takes one address."""
    addresses = slurm_addresses(notices)
    return {"mail-user": addresses[0], "mail-type": "FAIL,INVALID_DEPEND"} if addresses else {}


def advance_command(folder: Path, stage: str, site: Site) -> list[str]:
    """Return the command that starts the stages whose turn has come now that one has ended."""
    # -P: a file in the user's folder must not stand in for a module of that name.
    return [site.python or sys.executable, "-P", "-m", "segbatch.cluster.advance", str(folder), stage]
