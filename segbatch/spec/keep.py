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

    models: Annotated[int, Field(ge=0)] | None = None
    """Newest versions that stay of the models that the job's gate decides on; of a site, of all models. Champions, the
    three before and what runs still use stay besides. Defaults to all."""
    model_days: Annotated[int, Field(ge=1)] | None = None
    """Age in days up to which versions of these models stay, however many. Defaults to any, or, with `models`, to what
    that says."""

    @property
    def says_something(self) -> bool:
        """Whether any run can ever go."""
        return bool(self.given("runs", "days", "checkpoints"))

    @property
    def says_models(self) -> bool:
        """Whether any version of a model can ever go."""
        return bool(self.given("models", "model_days"))
