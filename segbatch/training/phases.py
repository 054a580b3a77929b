"""A job's phases with everything in them said: what a phase leaves out is as in the rest of the job."""

from __future__ import annotations

from dataclasses import dataclass

from segbatch.spec.augmentation import Augment
from segbatch.spec.course import Phase
from segbatch.spec.job import TrainJob
from segbatch.spec.optimizer import Schedule
from segbatch.training.schedules import Place, held, rate_at


@dataclass(frozen=True)
class Stretch:
    """One phase."""

    epochs: int
    """Epochs it has, unless it is stopped early."""
    learning_rate: float
    schedule: Schedule
    dropout: tuple[tuple[int, float], ...] | None
    """Pairs of epochs done and rate; None leaves the network's own rates."""
    freeze: bool
    """Whether the encoder keeps its weights."""
    fine_tune_from: str | None
    """Layer of the encoder from which on its weights are trained."""
    augment: Augment
    reset: bool
    """Whether the optimiser's state begins at nothing."""

    def rate(self, place: Place, factor: float) -> float:
        """Learning rate of the step that comes next; `factor` is what `plateau` has come to."""
        return rate_at(self.schedule, self.learning_rate, place, factor)

    def dropout_at(self, epoch: int) -> float | None:
        """Dropout rate after so many epochs of the phase; None where the network's own holds."""
        return None if self.dropout is None else held(self.dropout, epoch, self.dropout[0][1])


def stretches(job: TrainJob) -> tuple[Stretch, ...]:
    """The phases of a job, in order; a job without phases is one phase."""
    phases = job.phases or (Phase(),)
    given = job.train.dropout is not None or any(phase.dropout is not None for phase in phases)
    # What one phase has changed, another that does not speak of it has to change back.
    own_dropout = job.model.dropout if given else None
    return tuple(_stretch(job, *it, own_dropout) for it in zip(phases, job.phase_epochs, strict=True))


def augmentations(job: TrainJob, epochs: int) -> list[Augment]:
    """How samples are varied in each of the first epochs; after the last phase's as in its last."""
    planned = [stretch.augment for stretch in stretches(job) for _ in range(stretch.epochs)]
    return (planned + planned[-1:] * epochs)[:epochs]


def _stretch(job: TrainJob, phase: Phase, epochs: int, own_dropout: float | None) -> Stretch:
    dropout = next((it for it in (phase.dropout, job.train.dropout, own_dropout) if it is not None), None)
    return Stretch(
        epochs=epochs,
        learning_rate=phase.learning_rate or job.optimizer.learning_rate,
        schedule=job.optimizer.schedule if phase.schedule is None else phase.schedule,
        dropout=((0, dropout),) if isinstance(dropout, float | int) else dropout,
        freeze=job.model.freeze if phase.freeze is None else phase.freeze,
        # A phase that freezes all, or nothing, overrules the job's layer.
        fine_tune_from=phase.fine_tune_from or (job.model.fine_tune_from if phase.freeze is None else None),
        augment=job.augment if phase.augment is None else phase.augment,
        reset=phase.optimizer_state == "reset",
    )
