"""Driving a pipeline: whose turn it is, and starting that, on this machine or on SLURM."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from segbatch.cluster.advance_script import render_advance
from segbatch.cluster.backend import Backend, slurm_scheduler
from segbatch.cluster.containers.check import check_plan
from segbatch.cluster.local import LocalScheduler
from segbatch.cluster.notify.tell import notices_of, tell_and_log
from segbatch.cluster.observe import Observer
from segbatch.cluster.render import Order
from segbatch.cluster.slurm.queue import QueueView
from segbatch.cluster.slurm.scheduler import SlurmScheduler
from segbatch.cluster.slurm.submission import Sender, settle
from segbatch.errors import Exit, InputError, NothingToDo, NotNeeded, SegbatchError
from segbatch.runs import ledger
from segbatch.runs.claims import claim_round, mark_cancelled, seal_round
from segbatch.runs.pilot_run import read_pilot
from segbatch.runs.pipeline_status import MOVING, PipelineStatus, StageStatus, judge
from segbatch.runs.pipelines import Pipeline, is_pipeline_run, open_pipeline
from segbatch.runs.process import alive, process_identity
from segbatch.runs.run import Run, open_run
from segbatch.runs.status import run_status, runner_alive
from segbatch.spec.site import Site

HERE = "--local"
"""Option of the process that drives a pipeline on this machine."""
WAIT_S = 300.0
LOOK_S = 0.5
SEEN_S = 300.0
"""Seconds within which the end of a job shows in its run's folder, on however slow a file server."""
Say = Callable[[str], object]


def site_of(pipeline: Pipeline) -> Site:
    """Return the site as it was when the pipeline was submitted."""
    return Site.model_validate(pipeline.record.site)


@dataclass
class PipelineObserver:
    """Looks at a pipeline, again and again."""

    pipeline: Pipeline
    site: Site
    view: QueueView | None = None
    _observer: Observer = field(init=False)

    def __post_init__(self) -> None:
        self._observer = Observer(self.site, self.view)

    def look(self) -> PipelineStatus:
        """Tell what became of it: its stages' folders, refined by the queue where that can be asked."""
        names = [stage.name for stage in self.pipeline.record.stages]
        runs = {name: run for name in names if (run := self.pipeline.stage(name)) is not None}
        looked = dict(zip(runs, self._observer.look_all(list(runs.values())), strict=True))
        found = judge(self.pipeline, looked, driven=True)
        if found.ready() and not self._driven():
            return judge(self.pipeline, looked, driven=False)
        return found

    def _driven(self) -> bool:
        """Tell whether a process here, or a job in the queue, will start what comes next."""
        made = ledger.submissions(self.pipeline.paths)
        if not made:
            return False
        last = made[-1]
        if last.facts.get("backend") != "slurm":
            # A process of another machine, which cannot be asked, is trusted.
            return last.state != "ended" and alive(last.facts) is not False
        if self._observer.view is None:
            self._observer.view = slurm_scheduler(self.site).view
        open_ = {item.token for item in made if item.state in ("submitted", "submitting", "uncertain")}
        snapshot = self._observer.view.rows(not_before=float(last.facts.get("opened", 0.0)))
        waiting = any(
            row.comment.removeprefix("segbatch:") in open_ and row.state.phase != "over" for row in snapshot.rows
        )
        return waiting or bool(snapshot.trouble)


@contextmanager
def one_driver(pipeline: Pipeline, *, force: bool = False, patience: float = WAIT_S) -> Iterator[int]:
    """Let one command at a time start stages; another waits its turn.

    Raises:
        SegbatchError: the other one takes too long.
    """
    end = time.monotonic() + patience
    while True:
        try:
            number = claim_round(pipeline.paths, force=force)
            break
        except SegbatchError:
            if time.monotonic() > end:
                raise
            time.sleep(LOOK_S)
    try:
        yield number
    finally:
        seal_round(pipeline.paths, number)


def prepared(pipeline: Pipeline, stage: StageStatus, site: Site, backend: Backend, say: Say) -> Run | None:
    """Plan a stage whose turn it is and write its run, or first that of the pilot which it needs.

    Returns:
        None, and a note, where it is refused or has nothing to do.
    """
    made = pipeline.stage(stage.name)
    if made is not None:
        return made
    try:
        plan = pipeline.plan_stage(stage.name)
        create = pipeline.create_pilot if plan.needs_pilot else pipeline.create_stage
        run = create(stage.name, plan, check_plan(plan, site, backend))
    except NotNeeded as error:
        pipeline.note("unneeded", stage.name, str(error))
        say(f"{stage.name}: not needed: {error}")
        return None
    except NothingToDo as error:
        pipeline.note("nothing", stage.name, str(error))
        say(f"{stage.name}: nothing to do: {error}")
        return None
    except InputError as error:
        pipeline.note("refused", stage.name, str(error))
        say(f"{stage.name}: refused: {error}")
        return None
    say(f"{stage.name}: {'its pilot, ' if run.record.pilot else ''}{run.paths.folder}")
    return run


def judge_pilot(pipeline: Pipeline, name: str) -> bool:
    """Tell whether a stage's pilot has measured what it was to measure; refuse the stage if not."""
    pilot = pipeline.pilot(name)
    if pilot is not None and read_pilot(pilot) is not None:
        return True
    where = pilot.paths.folder if pilot is not None else pipeline.paths.folder
    pipeline.note("refused", name, f"its pilot failed. See: segbatch logs {where}")
    return False


@dataclass
class LocalDriver:
    """Runs a pipeline's stages on this machine, one after the other."""

    pipeline: Pipeline
    site: Site
    run: Callable[[Run], int]
    """Runs the tasks of one stage and returns its exit code."""
    say: Say = lambda line: None
    force: bool = False

    def execute(self) -> int:
        """Run what is to be done and return the pipeline's exit code; the ledger tells start and end."""
        token = secrets.token_hex(8)
        code = int(Exit.FAILED)
        ledger.record(self.pipeline.paths, token, "submitted", backend="local", **process_identity(os.getpid()))
        try:
            code = self._execute()
        finally:
            ledger.record(self.pipeline.paths, token, "ended", code=code)
        tell_and_log(self.pipeline, PipelineObserver(self.pipeline, self.site).look())
        return code

    def _execute(self) -> int:
        observer = PipelineObserver(self.pipeline, self.site)
        tried: set[str] = set()
        while True:
            status = observer.look()
            stage = next((stage for stage in self._startable(status) if stage.name not in tried), None)
            if stage is None:
                return status.exit_code
            tried.add(stage.name)
            with one_driver(self.pipeline, force=self.force):
                run = prepared(self.pipeline, stage, self.site, "local", self.say)
            # It may have been cancelled while the stage was planned.
            if run is not None and not self._cancelled():
                code = self.run(run)
                if code == Exit.INTERRUPTED:
                    return code
                if run.record.pilot and judge_pilot(self.pipeline, stage.name):
                    tried.discard(stage.name)

    def _startable(self, status: PipelineStatus) -> list[StageStatus]:
        """Stages whose turn it is, and those that an earlier attempt left unfinished."""
        if self._cancelled():
            return []
        left = ("failed", "killed", "interrupted", "cancelled")
        unfinished = [stage for stage in status.stages if stage.run is not None and stage.state in left]
        return [*unfinished, *status.ready()]

    def _cancelled(self) -> bool:
        return any(event.kind == "cancelled" for event in self.pipeline.events())


def start_here(pipeline: Pipeline, parallel: int | None) -> None:
    """Start a process that drives a pipeline on this machine and outlives this one, and wait until it has begun.

    Raises:
        SegbatchError: it could not be started.
    """
    command = [sys.executable, "-P", "-m", "segbatch.cluster.advance", str(pipeline.paths.folder)]
    before = len(ledger.submissions(pipeline.paths))
    log = pipeline.paths.log("runner")
    with log.open("ab") as output:
        child = subprocess.Popen(
            [*command, HERE, str(parallel or 0)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    while len(ledger.submissions(pipeline.paths)) == before:
        with suppress(subprocess.TimeoutExpired):
            child.wait(timeout=0.05)
            if len(ledger.submissions(pipeline.paths)) == before:
                tail = log.read_text(errors="replace").strip().splitlines()[-1:]
                raise SegbatchError(f"{pipeline.label}: it could not be started: {' '.join(tail)}")


def cancel(pipeline: Pipeline, site: Site, *, now: bool = False) -> bool:
    """Stop a pipeline where it was started last, and start no further stage; `now` kills what runs.

    Returns:
        Whether anything of it waited or ran.

    Raises:
        SegbatchError: it cannot be stopped from here.
    """
    made = ledger.submissions(pipeline.paths)
    if made and made[-1].facts.get("backend") == "slurm":
        return SlurmDriver(pipeline, site, slurm_scheduler(site)).cancel(now=now)
    return cancel_here(pipeline, now=now)


def cancel_here(pipeline: Pipeline, *, now: bool = False) -> bool:
    """Ask the stage that runs on this machine to stop, and start no further one; `now` kills its tasks."""
    pipeline.note("cancelled")
    found = False
    for record in pipeline.record.stages:
        for run in filter(None, (pipeline.stage(record.name), pipeline.pilot(record.name))):
            if runner_alive(run):
                found |= LocalScheduler().cancel(run, now=now)
    return found


@dataclass
class SlurmDriver:
    """Submits a pipeline's stages to SLURM, each with a job behind it that submits what comes next."""

    pipeline: Pipeline
    site: Site
    scheduler: SlurmScheduler
    say: Say = lambda line: None

    def advance(self, *, again: bool = False, behind: str = "") -> PipelineStatus:
        """Start the stages whose turn it is.

        Args:
            again: those too that have ended badly.
            behind: a stage whose jobs have ended, whether or not its folder shows it yet.

        Raises:
            SegbatchError: SLURM refused or could not be asked; what was started goes on.
        """
        found = self._advance(again=again, behind=behind)
        if found.over:
            tell_and_log(self.pipeline, found)
        return found

    def _advance(self, *, again: bool, behind: str) -> PipelineStatus:
        observer = PipelineObserver(self.pipeline, self.site, self.scheduler.view)
        if behind:
            self._await(observer, behind)
        with one_driver(self.pipeline, force=self.scheduler.force) as number:
            if again:
                self.pipeline.note("reopened")
            elif any(event.kind == "cancelled" for event in self.pipeline.events()):
                return observer.look()
            settle(self.pipeline, self.scheduler.view)
            if self._waits_for_another(number):
                return observer.look()
            tried: set[str] = set()
            while True:
                stages = [stage for stage in self._startable(observer.look(), again) if stage.name not in tried]
                if not stages:
                    return observer.look()
                for stage in stages:
                    tried.add(stage.name)
                    self._start(stage, number)

    def _await(self, observer: PipelineObserver, name: str) -> None:
        end = time.monotonic() + SEEN_S
        pilot = self.pipeline.pilot(name) if self.pipeline.stage(name) is None else None
        if pilot is not None:
            while not run_status(pilot).over and time.monotonic() < end:
                time.sleep(LOOK_S)
            # Also where its end never shows: one that measured nothing is not begun again and again.
            judge_pilot(self.pipeline, name)
            return
        while time.monotonic() < end:
            stage = next((stage for stage in observer.look().stages if stage.name == name), None)
            if stage is None or stage.state not in MOVING:
                return
            time.sleep(LOOK_S)

    def _startable(self, status: PipelineStatus, again: bool) -> list[StageStatus]:
        bad = ("failed", "killed", "interrupted", "cancelled", "unknown") if again else ()
        return [*(stage for stage in status.stages if stage.run is not None and stage.state in bad), *status.ready()]

    def _start(self, stage: StageStatus, number: int) -> None:
        pilot = self.pipeline.pilot(stage.name) if stage.run is None else None
        if pilot is not None and self.scheduler.live(pilot).rows:
            return
        run = prepared(self.pipeline, stage, self.site, "slurm", self.say)
        if run is None:
            return
        # Whom the site names is told of the end of the whole.
        site = self.scheduler.site.model_copy(update={"notify": ()})
        made = replace(self.scheduler, site=site).start(run)
        # Whatever becomes of the stage, somebody looks: to go on, or to say what cannot go on.
        job = self._send_advance(stage.name, f"afterany:{made.finish}", number)
        arrays = f"job array {', '.join(made.arrays)}, " if made.arrays else ""
        self.say(f"{stage.name}: {arrays}job {made.finish} reports, job {job} then goes on")

    def _send_advance(self, stage: str, after: str, number: int) -> str:
        """Submit the job that goes on with the pipeline, and return its id."""
        sender = Sender(
            self.pipeline,
            self.scheduler.slurm,
            self.scheduler.view,
            lambda order: render_advance(self.pipeline.record.name, stage, self.site, order, notices_of(self.pipeline)),
        )
        return sender.send(Order(self.pipeline.paths.folder, number, "", role="finish", after=after))

    def _waits_for_another(self, number: int) -> bool:
        """Look again when the run that this one is queued behind has come further; False once that is over."""
        asked = [event.why for event in self.pipeline.events() if event.kind == "behind"]
        after = next_end(Path(asked[-1]), self.scheduler) if asked else ""
        if after:
            job = self._send_advance("", after, number)
            self.say(f"waits for {Path(asked[-1]).parent.name}/{Path(asked[-1]).name}: job {job} looks again")
        return bool(after)

    def cancel(self, *, now: bool = False) -> bool:
        """Stop the stages that wait or run, and what would start the next ones."""
        self.pipeline.note("cancelled")
        mark_cancelled(self.pipeline.paths)
        found = self._cancel_advances()
        for record in self.pipeline.record.stages:
            for run in filter(None, (self.pipeline.stage(record.name), self.pipeline.pilot(record.name))):
                found |= self.scheduler.cancel(run, now=now)
        return found

    def _cancel_advances(self) -> bool:
        jobs = _advances(self.pipeline, self.scheduler)
        if jobs:
            self.scheduler.slurm.cancel(jobs)
        return bool(jobs)


def next_end(folder: Path, scheduler: SlurmScheduler) -> str:
    """Return the dependency on what ends next of a run, or of a pipeline's, on SLURM; empty when it is over or gone.

    Of a pipeline only the jobs are known that start its next stages, so there is to be looked again at their end.
    """
    try:
        if not is_pipeline_run(folder):
            return scheduler.ends(open_run(folder))
        jobs = _advances(open_pipeline(folder), scheduler)
    except InputError:
        return ""
    return f"afterany:{':'.join(jobs)}" if jobs else ""


def _advances(pipeline: Pipeline, scheduler: SlurmScheduler) -> list[str]:
    """Jobs that wait or run to go on with a pipeline."""
    tokens = {f"segbatch:{item.token}" for item in settle(pipeline, scheduler.view)}
    rows = scheduler.view.rows(not_before=time.time()).rows
    return [row.array for row in rows if row.comment in tokens and row.state.phase != "over"]
