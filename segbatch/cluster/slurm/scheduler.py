"""Runs on SLURM: their tasks as job arrays, and a finishing job behind them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from segbatch.cluster.containers.inside import inside_of_run
from segbatch.cluster.render import Order, comment, render_script, tasks_at_once
from segbatch.cluster.slurm.chunks import Chunk, cut
from segbatch.cluster.slurm.client import Slurm
from segbatch.cluster.slurm.limits import Limits
from segbatch.cluster.slurm.queue import QueueView
from segbatch.cluster.slurm.rows import QueueRow
from segbatch.cluster.slurm.submission import Sender, settle
from segbatch.errors import SegbatchError
from segbatch.runs import ledger
from segbatch.runs.claims import claim_round, mark_cancelled, rounds, seal_round
from segbatch.runs.indexes import compact_indexes
from segbatch.runs.layout import FINISH
from segbatch.runs.ledger import Submission
from segbatch.runs.outputs import unfinished
from segbatch.runs.run import Run
from segbatch.runs.status import run_status
from segbatch.spec.site import Site

DEAD_DEPENDENCY = "DependencyNeverSatisfied"
HELD = ("JobHeldUser", "launch failed requeued held", "JobHoldMaxRequeue")


@dataclass(frozen=True)
class Live:
    """Jobs of a run that SLURM has not ended."""

    rows: tuple[QueueRow, ...]
    by_token: dict[str, Submission]

    def tasks(self) -> set[int]:
        """Numbers of the tasks that wait or run."""
        found = set()
        for row in self.rows:
            facts = self._facts(row)
            if facts["role"] != FINISH and row.index is not None:
                found.add(int(facts["offset"]) + row.index)
        return found

    def arrays(self) -> list[str]:
        """Ids of the arrays with tasks that wait or run, oldest first."""
        return list(dict.fromkeys(row.array for row in self.rows if self._facts(row)["role"] != FINISH))

    def finishing(self) -> list[str]:
        """Ids of finishing jobs that wait or run."""
        return list(dict.fromkeys(row.array for row in self.rows if self._facts(row)["role"] == FINISH))

    def job_of(self, task: int) -> str | None:
        """What SLURM calls a task that waits or runs."""
        for row in self.rows:
            facts = self._facts(row)
            if facts["role"] != FINISH and row.index is not None and int(facts["offset"]) + row.index == task:
                return row.job
        return None

    def _facts(self, row: QueueRow) -> dict[str, str]:
        return dict(self.by_token[row.comment.partition(":")[2]].facts)


@dataclass(frozen=True)
class Submitted:
    """What one round asked of SLURM."""

    arrays: tuple[str, ...]
    """New arrays of tasks."""
    finish: str
    """The finishing job."""
    tasks: int
    """Tasks asked for."""
    live: int
    """Tasks of earlier rounds that still wait or run."""
    released: tuple[str, ...] = ()
    """Jobs that were held and now are not."""
    cleared: tuple[str, ...] = ()
    """Jobs that waited for something that can never come, and were removed."""


@dataclass
class SlurmScheduler:
    """Submits runs to SLURM, and stops them.

    Everything it needs to know of a run is in the run's folder and the queue, so any later command on any login node
    goes on where another one was.
    """

    slurm: Slurm
    site: Site
    view: QueueView
    limits: Callable[[], Limits]
    force: bool = False
    name: str = "slurm"
    last: Submitted | None = field(default=None, init=False)

    def check(self, tasks: int) -> None:
        """Refuse what the site would refuse, before anything is written.

        Raises:
            SegbatchError: more tasks than this user may have in the queue.
        """
        limits = self.limits()
        named = {"MaxSubmitJobs": limits.max_submit, "MaxJobCount": limits.max_job_count}
        for name, most in named.items():
            if most is not None and tasks + 1 > most:
                raise SegbatchError(
                    f"{tasks} tasks and a finishing job are more than this site allows at once ({name} is {most}). "
                    f"Cut the work into fewer, longer tasks, such as --set predict.tasks={max(most - 1, 1)}; "
                    "where the limit is another one, say it in the site file: `limits: {max_submit: ...}`."
                )

    def submit(self, run: Run) -> None:
        """Ask for all tasks of `run` that are not done and not in the queue, and for its finishing job.

        Raises:
            SegbatchError: SLURM refused or could not be asked, or another command is submitting this run.
        """
        self.start(run)

    def start(
        self, run: Run, *, tasks: Collection[int] | None = None, hold: bool = False, after: str = ""
    ) -> Submitted:
        """Begin a round: `submit` with choices.

        Args:
            run: the run.
            tasks: only these, done or not; by default all that have something left to do.
            hold: the new tasks wait until `resume` releases them.
            after: dependency of the new tasks, such as "afterok:12".
        """
        first = not rounds(run.paths)
        live = self.live(run)
        released, cleared = self._unblock(live)
        live = self.live(run) if cleared else live
        inside = inside_of_run(run, self.site)
        if inside is not None:
            inside.prepare(run.paths.folder)
        number = claim_round(run.paths, force=self.force)
        wanted = self._to_do(run, first) if tasks is None else sorted(tasks)
        missing = [task for task in wanted if task not in live.tasks()]
        sender = Sender(run, self.slurm, self.view, partial(render_script, run.job, self.site, inside=inside))
        try:
            order = Order(run.paths.folder, number, "")
            arrays = self._send_tasks(run, sender, replace(order, hold=hold, after=after), missing)
            finish = self._send_finish(sender, order, [*live.arrays(), *arrays], live)
        finally:
            seal_round(run.paths, number)
        self.last = Submitted(tuple(arrays), finish, len(missing), len(live.tasks()), tuple(released), tuple(cleared))
        return self.last

    def ends_well(self, run: Run) -> str:
        """Return the dependency on a good end of `run`, as sbatch takes it; empty when it has ended well already.

        Raises:
            SegbatchError: it has ended badly, or is not on SLURM.
        """
        state = run_status(run).state
        if state == "done":
            return ""
        finishing = self.live(run).finishing()
        if not finishing:
            raise SegbatchError(
                f"--after {run.label}: it is {state} and no job of it waits or runs on SLURM, so its end would never "
                f"come. See: segbatch status {run.paths.folder}"
            )
        return f"afterok:{finishing[-1]}"

    def ends(self, run: Run) -> str:
        """Return the dependency on the end of `run`, good or bad, as sbatch takes it; empty when it has ended."""
        finishing = self.live(run).finishing()
        return f"afterany:{finishing[-1]}" if finishing else ""

    def live(self, run: Run) -> Live:
        """Look up what of a run waits or runs.

        Raises:
            SegbatchError: the queue cannot be asked, or an answer of sbatch is still missing.
        """
        submissions = [item for item in settle(run, self.view) if item.facts.get("backend") == "slurm"]
        if not submissions:
            return Live((), {})
        newest = max(float(item.facts["time"]) for item in submissions)
        snapshot = self.view.rows(not_before=newest)
        if snapshot.trouble and not self.force:
            raise SegbatchError(
                f"{run.label}: SLURM cannot be asked which of its tasks still run: {snapshot.trouble} "
                "Try again later; if none runs for certain, add --force."
            )
        unclear = [item for item in submissions if item.state in ("submitting", "uncertain")]
        if unclear and not self.force:
            raise SegbatchError(
                f"{run.label}: the answer of sbatch to {unclear[0].facts['script']} was lost, and its job may still "
                "appear in the queue. Try again in two minutes."
            )
        by_token = {item.token: item for item in submissions}
        tokens = {comment(token) for token in by_token}
        rows = (row for row in snapshot.rows if row.comment in tokens and row.state.phase != "over")
        return Live(tuple(rows), by_token)

    def cancel(self, run: Run, *, now: bool = False) -> bool:
        """Stop what waits at once, and what runs after the batch in hand (`now`: at once)."""
        live = self.live(run)
        mark_cancelled(run.paths)
        if not live.rows:
            return False
        arrays, finishing = live.arrays(), live.finishing()
        if finishing:
            self.slurm.cancel(finishing)
        if arrays:
            self.slurm.cancel(arrays, pending_only=not now)
            if not now:
                self.slurm.cancel(arrays, signal=self.site.warning.signal)
        ended = {row.array for row in live.rows}
        for token, item in live.by_token.items():
            if item.facts.get("job") in ended:
                ledger.record(run.paths, token, "cancelled")
        return True

    def requeue(self, run: Run, task: int) -> str:
        """Start one task anew: a running or waiting one by SLURM's own requeue, another by a round of its own.

        Returns:
            The job's name in SLURM.
        """
        live = self.live(run)
        job = live.job_of(task)
        if job is None:
            return self.start(run, tasks=[task]).arrays[0]
        state = next(row.state for row in live.rows if row.job == job)
        if state.phase == "running":
            self.slurm.requeue(job)
        return job

    def _to_do(self, run: Run, first: bool) -> Sequence[int]:
        return run.current_tasks if first else unfinished(run)

    def _unblock(self, live: Live) -> tuple[list[str], list[str]]:
        """Release held jobs, and remove those that wait for what can never come."""
        held = [row.job for row in live.rows if any(reason in row.reason for reason in HELD)]
        dead = [row.array for row in live.rows if DEAD_DEPENDENCY in row.reason]
        for job in held:
            self.slurm.release(job)
        dead = list(dict.fromkeys(dead))
        if dead:
            self.slurm.cancel(dead)
        return held, dead

    def _send_tasks(self, run: Run, sender: Sender, order: Order, tasks: Sequence[int]) -> list[str]:
        chunks = cut(tasks, self.limits().max_array_size, tasks_at_once(run.job)) if tasks else []
        arrays: list[str] = []
        for chunk in chunks:
            try:
                arrays.append(sender.send(self._order_of(chunk, order, arrays)))
            except SegbatchError as error:
                if not arrays:
                    raise
                raise SegbatchError(
                    f"{len(arrays)} of {len(chunks)} arrays of {run.label} are in the queue; the next one "
                    f"failed: {error}\nSubmit the rest later with: segbatch resume {run.paths.folder}"
                ) from error
        return arrays

    def _order_of(self, chunk: Chunk, order: Order, arrays: Sequence[str]) -> Order:
        conditions = [order.after] if order.after else []
        if chunk.after is not None:
            conditions.append(f"afterany:{arrays[chunk.after]}")
        return replace(
            order,
            offset=chunk.offset,
            indexes=compact_indexes(chunk.indexes),
            at_once=chunk.at_once,
            after=",".join(conditions),
        )

    def _send_finish(self, sender: Sender, order: Order, arrays: Sequence[str], live: Live) -> str:
        """Submit the job that merges and reports when all arrays have ended, however they ended.

        One that waits for all of them already is left as it is: other runs may wait for it.
        """
        waiting = live.finishing()
        if waiting and set(arrays) == set(live.arrays()):
            return waiting[-1]
        if waiting:
            self.slurm.cancel(waiting)
        after = f"afterany:{':'.join(arrays)}" if arrays else ""
        try:
            return sender.send(replace(order, role="finish", after=after))
        except SegbatchError as error:
            if not arrays:
                raise
            raise SegbatchError(
                f"the tasks of {sender.run.label} are in the queue; the job that merges and reports failed: {error}\n"
                f"Submit it later with: segbatch resume {sender.run.paths.folder}"
            ) from error
