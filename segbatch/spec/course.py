"""The course of a training: how weights are updated, for how long, and what is kept."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from segbatch.spec.inference import Limit
from segbatch.spec.section import Section

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class Optimizer(Section):
    """How weights are updated."""

    name: Literal["adam"] = "adam"
    """The optimiser."""
    learning_rate: Positive = 1e-3
    """Step size."""


class Train(Section):
    """The course of training."""

    epochs: Count = 10
    """Times the training part is seen."""
    batch_size: Count = 32
    """Tiles in one step, over all devices."""
    best: Literal["iou", "dice", "accuracy", "loss"] = "iou"
    """Validation figure that picks the best epoch; the bundle holds that epoch's weights."""
    previews: Annotated[int, Field(ge=0, le=64)] = 4
    """Validation tiles drawn after every epoch; 0 for none."""
    checkpoint_minutes: Positive = 10.0
    """A checkpoint is written after every epoch, and this often within one."""
    deterministic: bool = True
    """Same job, same machine, same weights to the bit. Costs some speed on GPUs."""
    readers: Count | None = None
    """Tiles read at once. Defaults to the processors of the task."""
    max_rejected: Limit = 0
    """Unreadable or mislabelled tiles that training may leave out: a count, or a share below 1."""
