"""How a train job varies its samples."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from segbatch.spec.section import Section


class AugmentStep(Section):
    """One augmentation; image and mask move together."""

    op: Literal["flip_left_right", "flip_up_down"]
    """What is done."""
    p: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Chance for each sample, drawn anew every time."""


Augment = tuple[AugmentStep, ...]
