"""What a site allows: read once a day, and corrected by the site file."""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from segbatch.cluster.slurm.client import Slurm, SlurmError
from segbatch.runs.files import write_json
from segbatch.spec.site import SiteLimits

DAY_S = 86_400.0


@dataclass(frozen=True)
class Limits:
    """Limits of one cluster for one user; the defaults are SLURM's own."""

    max_array_size: int = 1001
    """Array indexes stay below it."""
    max_job_count: int = 10_000
    """Jobs of all users that the controller keeps."""
    max_submit: int | None = None
    """Jobs that this user may have in the queue, each task of an array counted; None for no limit or none known."""
    min_job_age_s: int = 300
    """Seconds that the controller remembers a job after its end."""
    cluster: str = ""
    version: tuple[int, int] = (0, 0)
    accounting: bool = False
    """The site keeps accounts (they may be out of reach for the moment)."""


def read_limits(
    slurm: Slurm,
    overrides: SiteLimits,
    cache: Path,
    now: float | None = None,
    *,
    account: str = "",
    qos: str = "",
    anew: bool = False,
) -> Limits:
    """Return the limits of the cluster, from the cache where that is younger than a day.

    Args:
        slurm: programs of the cluster.
        overrides: what the site file knows better.
        cache: folder to keep the answer in; nothing fails when it cannot be written.
        now: seconds since 1970; defaults to the time.
        account: account that jobs are charged to; empty for the user's default.
        qos: quality of service of jobs; empty for the default.
        anew: ask, whatever the cache says.
        anew: ask, however young the answer in the cache.

    Raises:
        SlurmUnavailableError: the controller cannot be asked, and never was.
    """
    now = time.time() if now is None else now
    path = cache / f"limits-{cluster_key(slurm.environ, account, qos)}.json"
    known = _from_cache(path)
    if known is None or anew or not 0 <= now - known[0] < DAY_S:
        known = now, _ask(slurm, path, now, account, qos, known[1] if known else None)
    limits = known[1]
    return replace(
        limits,
        max_array_size=overrides.max_array_size or limits.max_array_size,
        max_job_count=overrides.max_jobs or limits.max_job_count,
        max_submit=overrides.max_submit or limits.max_submit,
    )


def cluster_key(environ: Mapping[str, str], *more: str) -> str:
    """Name a cluster and user for file names in a cache, without asking anybody.

    A home folder may be shared by clusters that all keep their settings in the same place, so the host counts as well.
    """
    programs = shutil.which("squeue", path=environ.get("PATH", os.defpath))
    settings = [environ.get(name) for name in ("SLURM_CONF", "SLURM_CLUSTERS")]
    whole = json.dumps([socket.gethostname(), os.getuid(), programs, *settings, *more])
    return hashlib.sha256(whole.encode()).hexdigest()[:16]


def _ask(slurm: Slurm, path: Path, now: float, account: str, qos: str, before: Limits | None) -> Limits:
    try:
        config = slurm.config()
    except SlurmError:
        if before is None:
            raise
        return before
    limits = Limits(
        max_array_size=_number(config.get("MaxArraySize"), Limits.max_array_size),
        max_job_count=_number(config.get("MaxJobCount"), Limits.max_job_count),
        min_job_age_s=_number(config.get("MinJobAge"), Limits.min_job_age_s),
        cluster=config.get("ClusterName", ""),
        version=slurm.version(),
        accounting=config.get("AccountingStorageType", "").endswith("slurmdbd"),
    )
    # Limits of associations and qualities of service bind only where the site says so.
    enforced = {word.strip() for word in config.get("AccountingStorageEnforce", "").lower().split(",")}
    if limits.accounting and enforced & {"limits", "safe", "all"}:
        try:
            limits = replace(limits, max_submit=_max_submit(slurm, limits.cluster, account, qos))
        except SlurmError:
            return limits  # Known in part: asked again next time.
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"read": now, **asdict(limits)}, durable=False)
    return limits


def _max_submit(slurm: Slurm, cluster: str, account: str, qos: str) -> int | None:
    """Return the smallest of all limits on the number of this user's jobs; None where there is none."""
    associations = slurm.associations(getpass.getuser(), cluster)
    mine = [row for row in associations if row["Account"] == (account or row["DefaultAccount"])]
    binding = [row[key] for row in mine for key in ("MaxSubmitJobs", "GrpSubmitJobs")]
    wanted = qos or next((row["DefaultQOS"] for row in mine if row["DefaultQOS"]), "normal")
    for row in slurm.qos():
        if row["Name"] == wanted:
            binding += [row[key] for key in ("MaxSubmitJobsPU", "MaxSubmitJobsPA", "GrpSubmitJobs")]
    return min((int(text) for text in binding if text.isdecimal()), default=None)


def _from_cache(path: Path) -> tuple[float, Limits] | None:
    """Read an answer and its time; None where it is missing, torn or of another version of this program."""
    try:
        kept: dict[str, Any] = json.loads(path.read_bytes())
        read, (major, minor) = float(kept.pop("read")), kept.pop("version")
        if kept.keys() | {"version"} != {field.name for field in fields(Limits)}:
            return None
        return read, Limits(version=(int(major), int(minor)), **kept)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _number(text: str | None, default: int) -> int:
    """Read `300 sec` as 300."""
    digits = (text or "").split(" ")[0]
    return int(digits) if digits.isdecimal() else default
