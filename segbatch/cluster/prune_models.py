"""Removing registered versions by what `keep:` says of models; the registry knows what must stay."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path

from segbatch.cluster.works import Work
from segbatch.runs.model_folder import Registry, registry_root
from segbatch.runs.model_pruning import Keep as KeepVersions
from segbatch.runs.model_pruning import Pruning, prune
from segbatch.runs.model_registry import models
from segbatch.runs.pipelines import Pipeline
from segbatch.spec.gate_job import GateJob
from segbatch.spec.job import Job
from segbatch.spec.keep import Keep
from segbatch.spec.site import Site


def prune_models(
    newest: Iterable[tuple[Work, Keep | None]],
    rule: Keep | None,
    site: Site,
    runs: Path,
    used: Mapping[str, str],
    *,
    dry: bool,
    now: datetime,
) -> list[tuple[str, Pruning]]:
    """Remove versions of the models that jobs decide on.

    Args:
        newest: the newest run of each job that counts, with its rule.
        rule: of all other models; None to leave them alone.
        site: the cluster.
        runs: folder of all runs.
        used: versions that must stay, as `model@version`, with the reason.
        dry: remove nothing.
        now: the clock.

    Returns:
        The models that a rule is about, by name, and what went of each.
    """
    keep: dict[tuple[Path, str], Keep] = {}
    if rule is not None:
        folder = registry_root(None, None, site.registry, runs)
        keep |= {(folder, model.name): rule for model in models(Registry(folder))}
    for work, said in newest:
        if said is not None:
            keep |= dict.fromkeys(_places(work, site, runs), said)
    found = []
    for (folder, name), asked in sorted(keep.items()):
        if asked.says_models:
            versions = KeepVersions(asked.models or 0, asked.model_days or 0)
            model = Registry(folder).model(name)
            stays = {key.partition("@")[2]: why for key, why in used.items() if key.partition("@")[0] == name}
            found.append((name, prune(model, versions, dry_run=dry, now=now, used_besides=stays)))
    return found


def _places(work: Work, site: Site, runs: Path) -> list[tuple[Path, str]]:
    """Registry and name of the models that a run's gates decide on."""
    if isinstance(work, Pipeline):
        gates: Iterable[Job] = work.jobs.values()
        return [(Path(work.record.registry), job.model) for job in gates if isinstance(job, GateJob)]
    job = work.job
    if not isinstance(job, GateJob):
        return []
    return [(registry_root(None, job.output.registry, site.registry, runs), job.model)]
