"""The run of a pilot: the first tiles of a plan whose tasks depend on how fast they go."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

from segbatch.errors import SegbatchError
from segbatch.runs.creation import create_run, new_id
from segbatch.runs.files import write_json
from segbatch.runs.measured import Measured
from segbatch.runs.pilot import pilot_job, pilot_tiles
from segbatch.runs.plan import Plan
from segbatch.runs.run import Run
from segbatch.runs.tiles import read_tiles
from segbatch.spec.job import PredictJob


def create_pilot(plan: Plan, image: str, label: str = "") -> Run:
    """Write the run of a plan's pilot.

    Args:
        plan: of a predict job, with `needs_pilot`.
        image: digest of the container image that its task runs in; empty without one.
        label: where its folder goes below that of all runs; by default beside the job's runs.
    """
    assert isinstance(plan.job, PredictJob)
    job = pilot_job(plan.job)
    tiles = plan.tiles[: pilot_tiles(job)]
    site = {key: value for key, value in plan.site.items() if key != "notify"}
    made = replace(plan, job=job, tiles=tiles, shard_size=len(tiles), site=site, pilot=True)
    return create_run(made, image=image, label=label or f"{job.name}/{new_id(datetime.now(UTC))}-pilot")


def plan_of_pilot(run: Run) -> Plan:
    """Return the plan that a pilot's run was written from, for what measures it."""
    record, job = run.record, run.job
    assert isinstance(job, PredictJob)
    # What is measured must not depend on what was measured before.
    plain = job.predict.model_copy(update={"engine": "tensorflow"})
    return Plan(
        job=job.model_copy(update={"predict": plain}),
        job_file=run.paths.job,
        labels=record.labels,
        tiles=list(read_tiles(run.paths.tiles, run.shard(0))),
        split=None,
        shard_size=record.shards[0][1],
        images_root=record.images_root,
        masks_root=record.masks_root,
        predictions_root="",
        bundle=run.paths.folder.joinpath(record.bundle),
        runs_root=run.paths.folder,
        site={},
    )


def write_pilot(run: Run, measured: Measured) -> None:
    """Keep what a pilot measured: the speed with what its job asks for, whichever GPUs were seen."""
    # Or else the job would need a pilot still, and for ever.
    found = measured.model_copy(update={"gpus": run.job.resources.gpus})
    write_json(run.paths.measured, found.model_dump(mode="json"))


def read_pilot(run: Run) -> Measured | None:
    """Return what a pilot measured; None if it did not get that far.

    Raises:
        SegbatchError: the file is damaged.
    """
    try:
        return Measured.model_validate(json.loads(run.paths.measured.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise SegbatchError(f"{run.paths.measured}: not the measurement of a pilot: {error}") from error
