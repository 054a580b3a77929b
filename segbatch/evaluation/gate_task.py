"""The task of a gate run: register the challenger, compare it with the champion, and promote the better."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from segbatch.errors import Exit, InputError
from segbatch.evaluation.gate_run import RESULT, gate_run
from segbatch.runs.files import write_bytes, write_text
from segbatch.runs.model_folder import ModelVersion, Registry
from segbatch.runs.model_registry import register, resolve
from segbatch.runs.registering import register_run
from segbatch.runs.run import Run, open_run
from segbatch.spec.gate_job import GateJob


def gate_task(run: Run, log: Callable[[str], None]) -> int:
    """Decide, and leave the page in the run's report; a champion that stays is no failure.

    Raises:
        InputError: the runs cannot be compared.
        SegbatchError: another has become champion meanwhile.
    """
    job = run.job
    if not isinstance(job, GateJob):
        raise InputError(f"{run.label} is no gate run")
    if job.output.registry is None:
        raise InputError(f"{run.paths.job}: it does not say where the registry is")
    registry = Registry(Path(job.output.registry))
    challenger = open_run(Path(job.challenger))
    version = _registered(registry, challenger, job)
    log(f"{challenger.label} predicted with {version.name}")
    judged = gate_run(
        challenger,
        registry,
        job.gate,
        against=_champion(job),
        model=job.model,
        seed=job.seed,
        promoting=True,
    )
    run.paths.report.mkdir(exist_ok=True)
    write_bytes(run.paths.report / RESULT, (judged.page.parent / RESULT).read_bytes())
    # The page names the challenger's report, which lies beside it, by its file alone.
    there = quote(os.path.relpath(challenger.paths.report / "index.html", run.paths.report))
    page = judged.page.read_text(encoding="utf-8").replace('href="index.html"', f'href="{there}"')
    write_text(run.paths.report / "index.html", page)
    for rule in judged.result.decision.rules:
        log(f"{'yes' if rule.kept else 'no'}: {rule.words}")
    log(judged.result.decision.verdict)
    log(f"champion: {version.name}" if judged.promoted else f"the champion stays: {judged.result.champion}")
    return int(Exit.OK)


def _registered(registry: Registry, challenger: Run, job: GateJob) -> ModelVersion:
    """Register the bundle that a run predicted with, under the day of its training, unless it is there."""
    if challenger.record.model:
        return resolve(registry, challenger.record.model).info
    model, bundle = registry.model(job.model), Path(challenger.record.bundle)
    if (bundle.parent / "run.json").is_file():
        trained = open_run(bundle.parent)
        night = job.version or trained.record.created[:10]
        return register_run(model, trained, version=night, parent=trained.record.start_from)
    return register(model, bundle, version=job.version or challenger.record.created[:10])


def _champion(job: GateJob) -> Run | None:
    """Open the champion's run on the holdout; None where none was needed."""
    if job.champion is None or not (Path(job.champion) / "run.json").is_file():
        return None
    return open_run(Path(job.champion))
