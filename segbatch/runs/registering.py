"""A finished train run becomes a version of a registered model."""

from __future__ import annotations

from datetime import datetime

from segbatch.errors import InputError
from segbatch.runs.model_folder import ModelFolder, ModelVersion
from segbatch.runs.model_registry import register
from segbatch.runs.run import Run


def register_run(
    model: ModelFolder,
    run: Run,
    *,
    version: str = "",
    data_digest: str = "",
    parent: str = "",
    now: datetime | None = None,
) -> ModelVersion:
    """Register the bundle of a finished train run with its scores and origin; once, however often it is called.

    Args:
        model: the model it is a version of.
        run: the train run.
        version: name of the version; defaults to today's date, UTC.
        data_digest: SHA-256 of what it was trained on; defaults to one over its tile list and split.
        parent: the version that its training started from.
        now: the time; by default that of the clock.

    Raises:
        InputError: it is no train run, or not finished.
    """
    if run.record.kind != "train":
        raise InputError(f"{run.label} is of kind: {run.record.kind}. Expected a train run, or a bundle folder.")
    if not (run.paths.model / "bundle.json").exists():
        raise InputError(f"{run.label} has no model yet. `segbatch status {run.paths.folder}` says how far it is.")
    return register(
        model,
        run.paths.model,
        version=version,
        run=run.label,
        run_folder=str(run.paths.folder),
        data_digest=data_digest,
        parent=parent,
        now=now,
    )
