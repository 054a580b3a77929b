"""How far a training is: everything but the variables."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from segbatch.training.judging import Watch, is_better
from segbatch.training.metrics import Figures, Totals
from segbatch.training.rejections import Rejected


@dataclass(frozen=True)
class EpochRecord:
    """What is known of a finished epoch; the same on every machine that computes the same."""

    epoch: int
    """Counted from 1."""
    train: Figures
    """Over the training part, while learning."""
    val: Figures | None
    """Over the validation part, afterwards; None without one."""
    learning_rate: float
    """Step size of the epoch's last step."""
    phase: int = 1
    """Counted from 1."""
    dropout: float | None = None
    """Rate of the dropout layers, where the job sets it."""

    @property
    def judged(self) -> Figures:
        """The figures that pick the best epoch: of validation, or of training where there is none."""
        return self.train if self.val is None else self.val


@dataclass(frozen=True)
class EpochTime:
    """How long an epoch took, over all attempts at it."""

    epoch: int
    """Counted from 1."""
    train_s: float
    """Seconds of learning."""
    val_s: float
    """Seconds of validation."""
    tiles: int
    """Tiles learned from."""

    @property
    def rate(self) -> float:
        """Training tiles a second."""
        return self.tiles / self.train_s if self.train_s > 0 else 0.0


@dataclass
class TrainState:
    """Where a training stands, between two steps."""

    running: Totals
    """Sums of the running epoch's steps."""
    epoch: int = 0
    """Epochs finished."""
    phase: int = 0
    """Phases finished."""
    phase_epoch: int = 0
    """Epochs of the running phase that are finished."""
    position: int = 0
    """Samples of the running epoch's order that are done with, read or rejected."""
    learned: int = 0
    """Samples of the running epoch that were learned from."""
    train_s: float = 0.0
    """Seconds spent on them, by earlier attempts too."""
    best_epoch: int | None = None
    """Epoch whose weights the bundle will hold, counted from 1."""
    best_value: float | None = None
    """Its figure of merit."""
    stop: Watch = field(default_factory=Watch)
    """The figure that stops the running phase early."""
    plateau: Watch = field(default_factory=Watch)
    """The figure whose standstill lowers the running phase's learning rate."""
    factor: float = 1.0
    """What that has come to."""
    history: list[EpochRecord] = field(default_factory=list)
    times: list[EpochTime] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)

    def judge(self, record: EpochRecord, value: float | None, metric: str) -> bool:
        """Tell whether a finished epoch is the best so far, and remember it if so.

        Of equal epochs the first stays; one whose figure is undefined is best only while there is no other.
        """
        if is_better(value, self.best_value, metric) or self.best_epoch is None:
            self.best_epoch, self.best_value = record.epoch, value
            return True
        return False

    def to_json(self) -> dict[str, Any]:
        """Plain values; floats keep every bit."""
        return asdict(self) | {"running": self.running.to_json()}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> TrainState:
        """The reverse of `to_json`."""
        return cls(
            **value
            | {
                "running": Totals.from_json(value["running"]),
                "stop": Watch(**value["stop"]),
                "plateau": Watch(**value["plateau"]),
                "history": [_record(item) for item in value["history"]],
                "times": [EpochTime(**item) for item in value["times"]],
                "rejected": [Rejected(**item) for item in value["rejected"]],
            }
        )


def _record(value: dict[str, Any]) -> EpochRecord:
    val = value["val"]
    return EpochRecord(**value | {"train": _figures(value["train"]), "val": None if val is None else _figures(val)})


def _figures(value: dict[str, Any]) -> Figures:
    return Figures(**value | {key: tuple(value[key]) for key in ("class_iou", "class_dice")})
