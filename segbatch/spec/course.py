"""The course of a training: for how long, in which phases, and what is kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field

from segbatch.spec.augmentation import Augment
from segbatch.spec.inference import Limit, Threshold, wrong_model_name
from segbatch.spec.metrics import Metric
from segbatch.spec.optimizer import Count, Epoch, Positive, Schedule, Share, in_order
from segbatch.spec.section import Conflict, Expected, FileName, Section

Dropout = Annotated[
    Share | tuple[tuple[Epoch, Share], ...],
    Expected("a number from 0 to below 1, or a list of [epochs done, rate], such as [[0, 0.3], [13, 0.4]]"),
]
"""One rate, or a rate from each epoch on."""


class EarlyStop(Section):
    """When a phase ends before its epochs are done."""

    patience: Count = 10
    """Epochs without gain after which the phase ends; each phase counts anew."""
    metric: Metric | None = None
    """The validation figure to look at. Defaults to `train.best`."""
    min_gain: Annotated[float, Field(ge=0)] = 0.0
    """Smaller gains count as none."""


class Train(Section):
    """The course of training."""

    epochs: Count = 10
    """Times the training part is seen."""
    batch_size: Count = 32
    """Tiles in one step, over all devices, nodes and `accumulate` parts: the learning rate is for this many."""
    start_from: FileName | None = None
    """Model whose weights training starts from: a bundle folder or a registered model, such as forest@champion; of the
    same network, bands and classes. Where there is no champion yet, and by default, training starts afresh."""
    best: Metric = "iou"
    """Validation figure that picks the best epoch: loss, accuracy, iou, dice, or one class's, such as iou:building. The
    bundle holds that epoch's weights."""
    threshold: Threshold = 0.5
    """For two classes with one channel: probability from which a pixel is the second class, kept in the bundle. It
    changes nothing in training, whose figures are those of 0.5. `best_iou`: at the end, the threshold (in steps of
    1/1024) of highest IoU of the second class on the validation part; `thresholds.csv` has them all."""
    early_stop: EarlyStop | None = None
    """End a phase when it gains no more. Defaults to never."""
    dropout: Dropout | None = None
    """Rate of the network's dropout layers: a number, or [epochs done, rate] pairs, such as [[0, 0.3], [13, 0.4]].
    Defaults to `model.dropout` throughout."""
    previews: Annotated[int, Field(ge=0, le=64)] = 4
    """Validation tiles drawn after every epoch; 0 for none."""
    checkpoint_minutes: Positive = 10.0
    """A checkpoint is written after every epoch, and this often within one."""
    keep_checkpoints: Annotated[int, Field(ge=2)] = 2
    """Checkpoints that are kept, the newest ones."""
    accumulate: Count = 1
    """Parts in which each device computes its share of a batch, one after the other, to need less memory. The gradient
    is that of the whole batch; batch normalisation and dropout look at the parts."""
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"
    """Type that the network computes in; weights, losses and the bundle are float32 in any case. With `mixed_float16`
    the loss is scaled, and steps whose gradients overflow are left out."""
    xla: Literal["auto", "on", "off"] = "auto"
    """Compile the step with XLA, on one device only. `auto` is off on CPUs, where it makes these networks slower, and
    off on GPUs, until it is measured to help there."""
    deterministic: bool = True
    """Same job, same machine, same weights to the bit. Costs some speed on GPUs."""
    readers: Count | None = None
    """Tiles read at once. Defaults to the processors of the task."""
    max_rejected: Limit = 0
    """Unreadable or mislabelled tiles that training may leave out: a count, or a share below 1."""

    def conflicts(self) -> Iterator[Conflict]:
        """Dropout rates that are not in order, and what looks like a registered model's name and is none."""
        yield from dropout_conflicts(self.dropout)
        if self.start_from is not None:
            yield from wrong_model_name(("start_from",), self.start_from)


class Phase(Section):
    """A stretch of epochs with settings of its own; what it does not say is as in the rest of the job."""

    epochs: Count | None = None
    """Epochs of this phase. Defaults to `train.epochs`."""
    learning_rate: Positive | None = None
    """As `optimizer.learning_rate`."""
    schedule: Schedule | None = None
    """As `optimizer.schedule`; its epochs and steps are counted from the phase's start."""
    dropout: Dropout | None = None
    """As `train.dropout`; its epochs are counted from the phase's start."""
    freeze: bool | None = None
    """As `model.freeze`."""
    fine_tune_from: str | None = None
    """As `model.fine_tune_from`; an encoder frozen otherwise is trained from this layer on."""
    augment: Augment | None = None
    """As `augment`; an empty list switches augmentation off."""
    optimizer_state: Literal["keep", "reset"] = "keep"
    """Whether momenta and the like go on from the phase before; those of weights that were frozen begin at nothing."""

    def plain(self) -> dict[str, Any]:
        """All that it says, as plain JSON values."""
        said = self.model_dump(mode="json", exclude_none=True)
        return said if self.augment is None else said | {"augment": [step.plain() for step in self.augment]}

    def conflicts(self) -> Iterator[Conflict]:
        """Dropout rates that are not in order."""
        yield from dropout_conflicts(self.dropout)


Phases = tuple[Phase, ...]


def dropout_conflicts(dropout: float | tuple[tuple[int, float], ...] | None) -> Iterator[Conflict]:
    """Yield what is wrong with a list of dropout rates."""
    if isinstance(dropout, tuple):
        yield from in_order("dropout", dropout)
        if not dropout or dropout[0][0] != 0:
            message = "expected a first pair for epoch 0, such as [[0, 0.3], [13, 0.4]]"
            yield Conflict(("dropout",), message)
