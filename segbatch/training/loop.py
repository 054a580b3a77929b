"""The training loop: one epoch after another, able to stop and go on between any two steps."""

from __future__ import annotations

import time
from collections.abc import Callable

from segbatch.errors import SegbatchError
from segbatch.training.course import Course
from segbatch.training.feed import Feed
from segbatch.training.metrics import Figures, Totals
from segbatch.training.rejections import Rejections
from segbatch.training.state import EpochRecord, EpochTime, TrainState
from segbatch.training.steps import Steps


class Loop:
    """Runs epochs and keeps the state true after every step.

    Args:
        steps: the compiled steps; their variables are those of `state`.
        train: the part to learn from.
        val: the part to validate on; may be empty.
        state: where to go on from; changed in place.
        course: says how the next step is made.
        rejections: told of the samples that could not be read.
        after_step: called after every step of learning or validation; may raise to stop there.
    """

    def __init__(
        self,
        steps: Steps,
        train: Feed,
        val: Feed,
        state: TrainState,
        course: Course,
        rejections: Rejections,
        after_step: Callable[[], None],
    ) -> None:
        self._steps, self._train, self._val = steps, train, val
        self._course = course
        self._state, self._rejections, self._after_step = state, rejections, after_step
        self._validated = 0
        self._started: float | None = None
        steps.training.set(state.running)

    @property
    def done(self) -> int:
        """Tiles of both parts that are done with, over all epochs."""
        whole = len(self._train.pairs) + len(self._val.pairs)
        return self._state.epoch * whole + self._state.position + self._validated

    def current(self) -> TrainState:
        """Bring the state up to date and return it; waits for the steps that are under way.

        Raises:
            SegbatchError: the loss is no number any more.
        """
        state = self._state
        state.running = self._steps.training.read()
        state.running.figures()
        state.rejected = list(self._rejections.found)
        self._stop_clock()
        return state

    def learn(self) -> Figures:
        """Learn what is left of the running epoch, and return what was measured on the way.

        Raises:
            SegbatchError: the loss is no number any more, or not one tile could be read.
            TooManyRejectedError: more tiles are unreadable than the job allows.
        """
        state, augment = self._state, self._course.stretch.augment
        self._started = time.monotonic()
        for batch in self._train.batches(state.epoch, state.position, self._rejections.add, augment):
            self._steps.set_learning_rate(self._course.rate())
            self._steps.learn(batch.image, batch.truth, batch.slots)
            state.position = batch.position
            state.learned += batch.slots
            self._after_step()
        state.position = len(self._train.pairs)
        if not state.learned:
            raise SegbatchError("Not one tile of the training part could be read; see rejected.csv for the reasons.")
        figures = self._steps.training.read().figures()
        self._stop_clock()
        self._started = None
        return figures

    def finish_epoch(self, train: Figures) -> EpochRecord:
        """Validate, and begin the next epoch.

        Args:
            train: what `learn` returned.

        Returns:
            The finished epoch's record; state, history and times hold it too.

        Raises:
            SegbatchError: the loss is no number any more.
            TooManyRejectedError: more tiles are unreadable than the job allows.
        """
        started = time.monotonic()
        val = self._validate()
        state, course = self._state, self._course
        rate, dropout = self._steps.learning_rate, course.dropout()
        record = EpochRecord(state.epoch + 1, train, val, rate, course.number, dropout)
        state.history.append(record)
        state.times.append(EpochTime(record.epoch, state.train_s, time.monotonic() - started, state.learned))
        state.epoch, state.position, state.learned, state.train_s = record.epoch, 0, 0, 0.0
        self._validated = 0
        self._steps.training.reset()
        return record

    def _stop_clock(self) -> None:
        if self._started is not None:
            now = time.monotonic()
            self._state.train_s += now - self._started
            self._started = now

    def _validate(self) -> Figures | None:
        if not self._val.pairs:
            return None
        tally = self._steps.validation
        tally.reset()
        for batch in self._val.batches(self._state.epoch, 0, self._rejections.add):
            self._steps.validate(batch.image, batch.truth, batch.slots)
            self._validated = batch.position
            self._after_step()
        return tally.read().figures()


def begin(classes: int) -> TrainState:
    """State of a training that has not begun."""
    return TrainState(running=Totals.nothing(classes))
