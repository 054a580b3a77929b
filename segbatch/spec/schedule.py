"""When a job starts by itself: `schedule:` of a job, and `cron:` of a site."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from segbatch.spec.occurrences import shortest_gap, wrong_cron, wrong_zone
from segbatch.spec.passthrough import wrong_text
from segbatch.spec.resources import Minutes
from segbatch.spec.section import Conflict, Expected, Section


class Schedule(Section):
    """When a job starts by itself."""

    cron: Annotated[str, Expected('five fields such as "0 2 * * *": minute, hour, day of month, month, day of week')]
    """When it is due: minute, hour, day of month, month, day of week, as in a crontab."""
    zone: Annotated[str, Expected("a time zone such as Europe/Madrid or UTC")] | None = None
    """Time zone of `cron`, such as Europe/Madrid. Defaults to that of the machine on which the schedule is added."""
    overlap: Literal["skip", "queue", "replace"] = "skip"
    """What happens when the run before is still at work: this start is left out, waits for its end, or ends it."""
    catch_up: Minutes | None = None
    """How long after its time a missed start is still made up, such as 8h. Defaults to not at all."""
    jitter: Minutes | None = None
    """Longest delay of a start, such as 20min. Each schedule has a fixed delay of its own up to it, so that many do not
    start in the same moment."""

    def conflicts(self) -> Iterator[Conflict]:
        """What no cron understands, unknown zones, and delays that reach the next start."""
        message = wrong_cron(self.cron)
        if message:
            yield Conflict(("cron",), message)
        if self.zone is not None and (wrong := wrong_zone(self.zone)):
            yield Conflict(("zone",), wrong)
        if message or self.jitter is None:
            return
        gap = shortest_gap(self.cron)
        if timedelta(minutes=self.jitter) >= gap:
            words = f"starts are {gap} apart, so the delay must be shorter than that"
            yield Conflict(("jitter",), words, (("cron",),))


class SiteCron(Section):
    """How schedules are kept on a cluster."""

    via: Literal["auto", "scrontab", "crontab"] = "auto"
    """What starts them. `auto`: SLURM's scrontab where it is enabled, else this machine's crontab."""
    profile: tuple[str, ...] = ()
    """Shell lines to run before a start, as they are: cron reads no login profile, so say here what sets up modules."""
    slurm: dict[str, str | int | bool] = {}
    """Further options of scrontab's job that starts the run, such as `{qos: cron}`."""
    time: Minutes = 15
    """Time limit of scrontab's job that starts the run."""
    memory: Annotated[int, Field(ge=1)] = 500
    """Megabytes of scrontab's job that starts the run."""

    def conflicts(self) -> Iterator[Conflict]:
        """Text that cannot stand in a line."""
        for position, line in enumerate(self.profile):
            if any(letter in line for letter in "\n\r\0"):
                yield Conflict(("profile", position), "expected one line of shell")
        for name, value in self.slurm.items():
            if message := wrong_text(f"{name} {value}"):
                yield Conflict(("slurm", name), message)
