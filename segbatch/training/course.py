"""Where in its phases a training is, and what follows from it for the next step."""

from __future__ import annotations

from segbatch.spec.job import TrainJob
from segbatch.training.judging import figure_of
from segbatch.training.phases import Stretch, stretches
from segbatch.training.schedules import Place
from segbatch.training.state import EpochRecord, TrainState


class Course:
    """A job's phases, and the state that says how far they are.

    INVARIANT: the state changes at the end of an epoch (`finish_epoch`) and at the beginning of a phase (`advance`),
    and nowhere else; rates are functions of it and of the position in the epoch, so that a resumed training has the
    rates of an undisturbed one.

    Args:
        job: what is trained.
        state: how far it is; changed in place.
        tiles: samples of the training part.
    """

    def __init__(self, job: TrainJob, state: TrainState, tiles: int) -> None:
        self._job, self._state, self._tiles = job, state, tiles
        self._stretches = stretches(job)

    @property
    def stretch(self) -> Stretch:
        """The running phase; after the end, the last."""
        return self._stretches[min(self._state.phase, len(self._stretches) - 1)]

    @property
    def number(self) -> int:
        """The running phase, counted from 1."""
        return min(self._state.phase, len(self._stretches) - 1) + 1

    @property
    def phases(self) -> int:
        """Number of phases."""
        return len(self._stretches)

    @property
    def finished(self) -> bool:
        """Whether there is no epoch left."""
        return self._state.phase >= len(self._stretches) - 1 and self._phase_over

    @property
    def planned(self) -> int:
        """Epochs of the whole training: those that are finished, and those that are left unless it stops early."""
        left = 0 if self._phase_over else max(self.stretch.epochs - self._state.phase_epoch, 0)
        return self._state.epoch + left + sum(item.epochs for item in self._stretches[self._state.phase + 1 :])

    @property
    def _phase_over(self) -> bool:
        stop = self._job.train.early_stop
        stopped = stop is not None and self._state.stop.since >= stop.patience
        return stopped or self._state.phase_epoch >= self.stretch.epochs

    def advance(self) -> bool:
        """Begin the next phase if the running one is over; tell whether one began."""
        if self.finished or not self._phase_over:
            return False
        state = self._state
        state.phase, state.phase_epoch = state.phase + 1, 0
        state.stop, state.plateau, state.factor = type(state.stop)(), type(state.plateau)(), 1.0
        return True

    def rate(self) -> float:
        """Learning rate of the next step."""
        state, stretch, size = self._state, self.stretch, self._job.train.batch_size
        place = Place(state.phase_epoch, -(-state.position // size), stretch.epochs, -(-self._tiles // size))
        return stretch.rate(place, state.factor)

    def dropout(self) -> float | None:
        """Dropout rate of the running epoch; None where the network's own holds."""
        return self.stretch.dropout_at(self._state.phase_epoch)

    def finish_epoch(self, record: EpochRecord) -> bool:
        """Take in a finished epoch; tell whether it is the best so far."""
        state, train = self._state, self._job.train
        state.phase_epoch += 1
        if train.early_stop is not None:
            metric = train.early_stop.metric or train.best
            state.stop.see(self._figure(record, metric), metric, train.early_stop.min_gain)
        self._look_for_plateau(record)
        return state.judge(record, self._figure(record, train.best), train.best)

    def _look_for_plateau(self, record: EpochRecord) -> None:
        state, schedule = self._state, self.stretch.schedule
        if schedule.name != "plateau":
            return
        metric = schedule.metric or self._job.train.best
        state.plateau.see(self._figure(record, metric), metric, schedule.min_gain)
        if state.plateau.since >= schedule.patience:
            state.factor, state.plateau.since = state.factor * schedule.factor, 0

    def rejudge(self) -> None:
        """Look at the best epoch by the job's figure, after the job was changed to another one."""
        state = self._state
        if state.best_epoch is not None:
            state.best_value = self._figure(state.history[state.best_epoch - 1], self._job.train.best)

    def _figure(self, record: EpochRecord, metric: str) -> float | None:
        return figure_of(record.judged, metric, self._job.labels.names)
