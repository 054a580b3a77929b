"""Removing runs that nobody needs: what is at work, newest or in use stays, whatever the rules say."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from segbatch.cluster.cron.store import StoredSchedule, stored
from segbatch.cluster.prune_models import prune_models
from segbatch.cluster.works import Work, WorkStatus, look, look_all, open_work
from segbatch.errors import InputError, SegbatchError
from segbatch.runs.layout import run_folders
from segbatch.runs.model_pruning import Pruning as PrunedModel
from segbatch.runs.news import last_trained
from segbatch.runs.pipeline_status import PipelineStatus
from segbatch.runs.pipelines import Pipeline, pipeline_folders
from segbatch.runs.retention import AT_WORK, IDLE, Candidate, Choice, choose
from segbatch.runs.run import Run
from segbatch.runs.trash import discard, empty_trash, folder_size
from segbatch.spec.keep import Keep
from segbatch.spec.named_models import model_paths, model_versions
from segbatch.spec.pipeline_load import load_any, stage_folder
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
    models: tuple[tuple[str, PrunedModel], ...] = ()
    """Registered models that a rule is about, and what went of each."""


def prune(
    root: Path,
    site: Site,
    *,
    job: str | None = None,
    keep: Keep | None = None,
    protect: Sequence[Protect] = (),
    versions: Mapping[str, str] | None = None,
    dry: bool = False,
    now: datetime | None = None,
) -> Pruning:
    """Remove the runs below `root`, and the versions of models, that their jobs' `keep:` does not ask to keep.

    A pipeline's run goes or stays as a whole, its stages with it.

    Args:
        root: folder of all runs.
        site: the cluster; its `keep` is for jobs that say nothing.
        job: only runs of this job.
        keep: in place of what jobs and site say.
        protect: name what must stay for other reasons.
        versions: registered versions that must stay, as `model@version`, with the reason.
        dry: remove nothing.
        now: the clock.
    """
    moment = now or datetime.now(UTC)
    if not dry:
        empty_trash(root)
    works, unreadable = _opened(root)
    newest = {work.record.name: work for work in works}
    rules = {name: _said(work, site, keep) for name, work in newest.items() if job in (None, name)}
    ruled = {name: rule for name, rule in rules.items() if rule is not None and rule.says_something}
    # Of other jobs it only matters what they use.
    looked = {status.folder: status for status in look_all([work for work in works if work.record.name in ruled], site)}
    candidates = [_candidate(work, looked.get(work.paths.folder)) for work in works]
    protected: dict[Path, str] = {}
    for ask in protect:
        protected |= {path.resolve(): why for path, why in ask().items()}
    choices = choose(candidates, ruled, protected, moment)
    by_folder = {work.paths.folder: work for work in works}
    going = [
        _go(by_folder[choice.candidate.folder], choice, site, dry) for choice in choices if choice.what != "nothing"
    ]
    staying = tuple(choice for choice in choices if choice.what == "nothing")
    deciding = [(newest[name], rule) for name, rule in rules.items()]
    rest = keep or site.keep if job is None else None
    models = prune_models(deciding, rest, site, root, versions or {}, dry=dry, now=moment)
    return Pruning(
        sum(one.name in ruled for one in candidates), tuple(going), staying, tuple(unreadable), tuple(models)
    )


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
            for job in load_any(Path(schedule.record.job), schedule.record.sets)[1]:
                found |= dict.fromkeys(model_paths(job), f"the schedule {schedule.name} uses it")
    return found


def versions_of_schedules(schedules: Sequence[StoredSchedule]) -> dict[str, str]:
    """Return the registered versions that scheduled jobs name, as `model@version`, with the reason why they stay."""
    found: dict[str, str] = {}
    for schedule in schedules:
        with suppress(SegbatchError):
            for job in load_any(Path(schedule.record.job), schedule.record.sets)[1]:
                found |= {str(name): f"the schedule {schedule.name} uses it" for name in model_versions(job)}
    return found


def _opened(root: Path) -> tuple[list[Work], list[str]]:
    works: list[Work] = []
    unreadable = []
    folders = {*run_folders(root), *pipeline_folders(root)}
    for folder in sorted(folders, key=lambda path: (path.name, path.parent.name)):
        try:
            work = open_work(folder)
            _ = work.jobs if isinstance(work, Pipeline) else work.job
            for run in _runs(work):
                _ = run.job
            datetime.fromisoformat(work.record.created)
        except (InputError, ValueError) as error:
            unreadable.append(str(error).splitlines()[0])
            continue
        works.append(work)
    return works, unreadable


def _said(work: Work, site: Site, keep: Keep | None) -> Keep | None:
    """Return the rule of a job: what its newest run says."""
    return keep or (work.record.keep if isinstance(work, Pipeline) else work.job.keep) or site.keep


def _runs(work: Work) -> list[Run]:
    """Return the runs that one consists of: itself, or a pipeline's stages that have begun."""
    if isinstance(work, Run):
        return [work]
    return [run for stage in work.record.stages if (run := work.stage(stage.name)) is not None]


def _candidate(work: Work, status: WorkStatus | None) -> Candidate:
    created = datetime.fromisoformat(work.record.created)
    latest = (work.paths.folder.parent / "latest").resolve() == work.paths.folder
    return Candidate(
        folder=work.paths.folder,
        name=work.record.name,
        state=_state(status),
        created=created if created.tzinfo else created.replace(tzinfo=UTC),
        train=any(run.record.kind == "train" for run in _runs(work)),
        checkpoints=any(_checkpoints(run).is_dir() for run in _runs(work)),
        uses=tuple(path.resolve() for path in _reads(work, latest)),
        latest=latest,
    )


def _state(status: WorkStatus | None) -> str:
    if status is None:
        return "unknown"
    return IDLE if isinstance(status, PipelineStatus) and status.idle else status.state


def _reads(work: Work, latest: bool) -> Iterator[Path]:
    """Yield what a run reads, also what those of a pipeline's stages will read that have not begun."""
    for run in _runs(work):
        record = run.record
        read = [record.bundle, record.images_root, record.masks_root, record.labelled_root, record.predictions_root]
        yield from (Path(path) for path in read if path)
        yield from model_paths(run.job)
    if isinstance(work, Pipeline):
        for job in work.jobs.values():
            yield from model_paths(job)
        for stage in work.record.stages if latest else ():
            # The next night learns what is new since then.
            folders = [stage_folder(work.paths.folder, stage.name), *work.earlier(stage.name)]
            if stage.kind == "train" and (last := last_trained(folders)) is not None:
                yield last.paths.folder


def _checkpoints(run: Run) -> Path:
    return run.paths.training / "checkpoints"


def _go(work: Work, choice: Choice, site: Site, dry: bool) -> Going:
    folders = [work.paths.folder] if choice.what == "run" else [_checkpoints(run) for run in _runs(work)]
    folders = [folder for folder in folders if folder.is_dir()]
    size = sum(map(folder_size, folders))
    if dry:
        return Going(choice, size)
    # It may have been resumed since it was looked at.
    if look(work, site).state in AT_WORK and choice.candidate.state not in AT_WORK:
        return Going(choice, size, "it is at work again")
    try:
        for folder in folders:
            discard(folder, work.paths.folder.parent.parent)
    except OSError as error:
        return Going(choice, size, error.strerror or str(error))
    return Going(choice, size)
