"""The one place that decides how often the scheduler is asked."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path

from segbatch.cluster.slurm.client import Slurm, SlurmError
from segbatch.cluster.slurm.limits import cluster_key
from segbatch.cluster.slurm.rows import QueueRow
from segbatch.cluster.slurm.states import JobState
from segbatch.runs.files import write_bytes

GROWTH = 1.5
LONGEST = 10
"""A watcher's longest wait, in multiples of the shortest."""
OLDEST_S = 600.0
"""Age in seconds at which rows say too little to be shown for want of newer ones."""
ONLY_STATES = (24, 5)
"""Version whose squeue can ask for states alone."""
FULL_EVERY = 6
"""One question of so many asks for everything: reasons and expected starts change while states do not."""
_STATE = [field.name for field in fields(QueueRow)].index("state")
_COLUMNS = [field.name for field in fields(QueueRow)] + [field.name for field in fields(JobState)]


@dataclass(frozen=True)
class Snapshot:
    """All jobs of this user at one moment."""

    rows: Sequence[QueueRow]
    taken: float
    """Seconds since 1970, from before the question; 0 where there was no answer yet."""
    trouble: str = ""
    """What could not be asked and why; the rows are then those from before, if any."""


_NOTHING = Snapshot((), 0.0)


class QueueView:
    """The queue as all commands of a user share it: one question for all jobs, answered from a file while it is new.

    Args:
        slurm: whom to ask.
        min_seconds: shortest time between two questions, unless a caller must know of what has happened since.
        cache: folder that commands share; nothing fails when it cannot be written.
    """

    def __init__(self, slurm: Slurm, min_seconds: float, cache: Path) -> None:
        self.slurm = slurm
        self.min_seconds = min_seconds
        self._path = cache / f"queue-{cluster_key(slurm.environ)}.json"
        self._wait = min_seconds
        self._last: Snapshot | None = None
        self._asked = 0.0
        self._since_full = 0
        self._only_states: bool | None = None

    def rows(self, *, not_before: float = 0.0) -> Snapshot:
        """Return this user's jobs, asking SLURM only where the last answer is too old.

        Args:
            not_before: seconds since 1970; an answer from before does not count, however young.
        """
        now = time.time()
        known = self._last or _NOTHING
        if not self._fresh(known.taken, not_before, now):
            known = max(known, self._from_cache(), key=lambda snapshot: snapshot.taken)
        if self._fresh(known.taken, not_before, now):
            return known
        if known.trouble and self._fresh(self._asked, not_before, now):
            return known  # It could not be asked a moment ago.
        self._asked = now
        if known.taken >= not_before and self._unchanged(known):
            self._last = replace(known, taken=now)
            self._keep(self._last)
            return self._last
        try:
            self._last = Snapshot(self.slurm.queue(), now)
        except SlurmError as error:
            young = now - known.taken < OLDEST_S
            self._last = replace(known, rows=known.rows if young else (), trouble=str(error))
            return self._last
        self._keep(self._last)
        return self._last

    def next_wait(self) -> float:
        """Seconds that a watcher should wait before it looks again: longer each time, up to a bound."""
        wait, self._wait = self._wait, min(self._wait * GROWTH, self.min_seconds * LONGEST)
        return wait

    def _unchanged(self, known: Snapshot) -> bool:
        """Ask, where SLURM can be asked so, whether all jobs that were live are in the state they were in."""
        live = {row.array for row in known.rows if row.state.phase != "over"}
        # One that looks once gains nothing by it: it is for those that look again and again.
        if known is not self._last or known.trouble or not live or self._since_full + 1 >= FULL_EVERY:
            self._since_full = 0
            return False
        try:
            if self._only_states is None:
                self._only_states = self.slurm.version() >= ONLY_STATES
            if not self._only_states:
                return False
            states = self.slurm.states(sorted(live))
        except SlurmError:
            self._only_states = False
            return False
        same = states == {row.job: row.state.name for row in known.rows if row.array in live}
        self._since_full = self._since_full + 1 if same else 0
        return same

    def _fresh(self, taken: float, not_before: float, now: float) -> bool:
        # An answer from the future comes from a host with another clock.
        return not_before <= taken <= now < taken + self.min_seconds

    def _from_cache(self) -> Snapshot:
        try:
            kept = json.loads(self._path.read_bytes())
            if kept["columns"] != _COLUMNS:
                return _NOTHING
            rows = ([*row[:_STATE], JobState(*row[_STATE]), *row[_STATE + 1 :]] for row in kept["rows"])
            return Snapshot([QueueRow(*row) for row in rows], float(kept["taken"]))
        except (OSError, ValueError, TypeError, KeyError):
            return _NOTHING

    def _keep(self, snapshot: Snapshot) -> None:
        kept = {"taken": snapshot.taken, "columns": _COLUMNS, "rows": [astuple(row) for row in snapshot.rows]}
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(self._path, json.dumps(kept, separators=(",", ":")).encode(), durable=False)
