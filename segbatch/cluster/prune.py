"""Removing runs that nobody needs: what is at work, newest or in use stays, whatever the rules say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from segbatch.cluster.cron.store import StoredSchedule, stored
from segbatch.cluster.observe import observe_all
from segbatch.errors import InputError, SegbatchError
from segbatch.runs.layout import run_folders
from segbatch.runs.retention import AT_WORK, Candidate, Choice, choose
from segbatch.runs.run import Run, open_run
from segbatch.runs.status import run_status
from segbatch.runs.trash import discard, empty_trash, folder_size
from segbatch.spec.job import PredictJob, TrainJob
from segbatch.spec.keep import Keep
from segbatch.spec.load import load_job
from segbatch.spec.site import Site

Protect = Callable[[], Mapping[Path, str]]
"""Names files and folders that must stay, each with the reason; the runs that hold them stay."""


@dataclass(frozen=True)
class Going:
    """One thing that goes, or went."""

    choice: Choice
    size: int
    """Bytes."""
    trouble: str = ""
    """Why it could not be removed; empty if it was, or if nothing was tried."""


@dataclass(frozen=True)
class Pruning:
    """What a look at a folder of runs came to."""

    looked: int
    """Runs that a rule is about."""
    going: tuple[Going, ...]
    staying: tuple[Choice, ...]
    """Those that a rule would take."""
    unreadable: tuple[str, ...] = ()
    """Runs that cannot be opened, and stay, in words."""


def prune(
    root: Path,
    site: Site,
    *,
    job: str | None = None,
    keep: Keep | None = None,
    protect: Sequence[Protect] = (),
    dry: bool = False,
    now: datetime | None = None,
) -> Pruning:
    """Remove the runs below `root` that their jobs' `keep:` does not ask to keep.

    Args:
        root: folder of all runs.
        site: the cluster; its `keep` is for jobs that say nothing.
        job: only runs of this job.
        keep: in place of what jobs and site say.
        protect: name what must stay for other reasons.
        dry: remove nothing.
        now: the clock.
    """
    moment = now or datetime.now(UTC)
    if not dry:
        empty_trash(root)
    runs, unreadable = _opened(root)
    rules = _rules(runs, site, job, keep)
    # Of other jobs it only matters what they use.
    states = {
        status.run.paths.folder: status.state
        for status in observe_all([run for run in runs if run.record.name in rules], site)
    }
    candidates = [_candidate(run, states.get(run.paths.folder, "unknown")) for run in runs]
    protected: dict[Path, str] = {}
    for ask in protect:
        protected |= {path.resolve(): why for path, why in ask().items()}
    choices = choose(candidates, rules, protected, moment)
    by_folder = {run.paths.folder: run for run in runs}
    going = [_go(by_folder[choice.candidate.folder], choice, dry) for choice in choices if choice.what != "nothing"]
    staying = tuple(choice for choice in choices if choice.what == "nothing")
    looked = sum(one.name in rules for one in candidates)
    return Pruning(looked, tuple(going), staying, tuple(unreadable))


def guards(home: Path) -> list[Protect]:
    """Return all that may say that something must stay.

    Args:
        home: folder of the schedules.
    """
    return [lambda: used_by_schedules(list(stored(home)))]


def used_by_schedules(schedules: Sequence[StoredSchedule]) -> dict[Path, str]:
    """Return the last run that each schedule started, and the models that scheduled jobs name."""
    found: dict[Path, str] = {}
    for schedule in schedules:
        started = [fire.run for fire in schedule.fires() if fire.run is not None]
        if started:
            found[started[-1]] = f"it is the last run of the schedule {schedule.name}"
        with suppress(SegbatchError):
            job = load_job(Path(schedule.record.job), schedule.record.sets).job
            if isinstance(job, PredictJob):
                found[Path(job.model.bundle)] = f"the schedule {schedule.name} uses it"
    return found


def _opened(root: Path) -> tuple[list[Run], list[str]]:
    runs, unreadable = [], []
    for folder in run_folders(root):
        try:
            run = open_run(folder)
            _ = run.job
            datetime.fromisoformat(run.record.created)
        except (InputError, ValueError) as error:
            unreadable.append(str(error).splitlines()[0])
            continue
        runs.append(run)
    return runs, unreadable


def _rules(runs: Sequence[Run], site: Site, job: str | None, keep: Keep | None) -> dict[str, Keep]:
    """Return the rule of each job: what its newest run says."""
    newest = {run.record.name: run for run in runs}
    found = {}
    for name, run in newest.items():
        rule = keep or run.job.keep or site.keep
        if job in (None, name) and rule is not None and rule.says_something:
            found[name] = rule
    return found


def _candidate(run: Run, state: str) -> Candidate:
    record = run.record
    created = datetime.fromisoformat(record.created)
    read = [record.bundle, record.images_root, record.masks_root, record.labelled_root, record.predictions_root]
    if isinstance(run.job, TrainJob) and run.job.model.weights not in (None, "imagenet"):
        read.append(str(run.job.model.weights))
    return Candidate(
        folder=run.paths.folder,
        name=record.name,
        state=state,
        created=created if created.tzinfo else created.replace(tzinfo=UTC),
        train=record.kind == "train",
        checkpoints=_checkpoints(run).is_dir(),
        uses=tuple(Path(path).resolve() for path in read if path),
        latest=(run.paths.folder.parent / "latest").resolve() == run.paths.folder,
    )


def _checkpoints(run: Run) -> Path:
    return run.paths.training / "checkpoints"


def _go(run: Run, choice: Choice, dry: bool) -> Going:
    folder = run.paths.folder if choice.what == "run" else _checkpoints(run)
    size = folder_size(folder)
    if dry:
        return Going(choice, size)
    # It may have been resumed since it was looked at.
    if run_status(Run(run.paths, run.record)).state in AT_WORK and choice.candidate.state not in AT_WORK:
        return Going(choice, size, "it is at work again")
    try:
        discard(folder, run.paths.folder.parent.parent)
    except OSError as error:
        return Going(choice, size, error.strerror or str(error))
    return Going(choice, size)
