"""What of a job's runs stays: `keep:` of a job or a site."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from segbatch.spec.section import Section


class Keep(Section):
    """What `segbatch prune` leaves of the job's runs; a run goes as soon as one of these says so.

    Runs at work, the newest run, the newest good one, and those that others use stay in any case.
    """

    runs: Annotated[int, Field(ge=1)] | None = None
    """Newest runs that stay. Defaults to all."""
    days: Annotated[int, Field(ge=1)] | None = None
    """Age in days up to which runs stay. Defaults to any."""
    checkpoints: Annotated[int, Field(ge=0)] | None = None
    """Newest finished train runs that keep their checkpoints; the others keep model and report. Defaults to all."""

    @property
    def says_something(self) -> bool:
        """Whether anything can ever go."""
        return bool(self.given("runs", "days", "checkpoints"))
