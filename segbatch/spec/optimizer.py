"""How a train job updates weights, and how large its steps are when."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field

from segbatch.spec.metrics import Metric
from segbatch.spec.section import Conflict, Expected, Section

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Epoch = Annotated[int, Field(ge=0)]
Rates = Annotated[
    tuple[tuple[Epoch, Positive], ...],
    Expected("a list of [epochs done, learning rate], such as [[20, 1e-4]]"),
]


class Schedule(Section):
    """How the learning rate changes over a phase; `optimizer.learning_rate` is where it begins, after any warm-up."""

    name: Literal["constant", "step", "cosine", "polynomial", "plateau"] = "constant"
    """`constant`; `step`: the `rates` from their epochs on; `cosine`: half a cosine down to `final`; `polynomial`: down
    to `final` as (1 - share done) ^ `power`; `plateau`: times `factor` whenever `metric` has not gained for `patience`
    epochs. All but `step` and `plateau` change with every step."""
    rates: Rates = ()
    """`step`: [epochs done, learning rate] pairs, in order; before the first the optimiser's own rate holds."""
    final: Annotated[float, Field(ge=0)] = 0.0
    """`cosine`, `polynomial`: the rate at the phase's end."""
    power: Positive = 0.9
    """`polynomial`: 1 is a straight line."""
    metric: Metric | None = None
    """`plateau`: the validation figure to look at. Defaults to `train.best`."""
    patience: Count = 5
    """`plateau`: epochs without gain after which the rate falls, and falls again."""
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """`plateau`: what the rate is multiplied by."""
    min_gain: Annotated[float, Field(ge=0)] = 0.0
    """`plateau`: smaller gains count as none."""
    min_rate: Annotated[float, Field(ge=0)] = 0.0
    """`plateau`: the rate falls no lower."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Steps in which the rate grows in a straight line from nearly 0; cosine and polynomial begin after them."""
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.0
    """The same in epochs."""

    def conflicts(self) -> Iterator[Conflict]:
        """Keys of one schedule given to another; rates that are not in order."""
        own = {
            "rates": ("step",),
            "final": ("cosine", "polynomial"),
            "power": ("polynomial",),
            **dict.fromkeys(("metric", "patience", "factor", "min_gain", "min_rate"), ("plateau",)),
        }
        for key, owners in own.items():
            if self.name not in owners and getattr(self, key) != type(self).model_fields[key].default:
                message = f"`{key}` belongs to the schedule {' or '.join(owners)}, not to {self.name}"
                yield Conflict((key,), message, (("name",),))
        if self.name == "step" and not self.rates:
            message = "a step schedule needs `rates`, such as [[20, 1e-4]]: 1e-4 once 20 epochs are done"
            yield Conflict(("name",), message, (("rates",),))
        yield from in_order("rates", self.rates)
        if self.warmup_steps and self.warmup_epochs:
            message = "give the warm-up in steps or in epochs, not both"
            yield Conflict(("warmup_steps",), message, (("warmup_epochs",),))


def in_order(key: str, pairs: tuple[tuple[int, float], ...]) -> Iterator[Conflict]:
    """Yield a conflict if the epochs of a list of pairs do not grow."""
    epochs = [epoch for epoch, _ in pairs]
    if any(later <= sooner for sooner, later in pairwise(epochs)):
        yield Conflict((key,), f"expected epochs that grow from pair to pair, received {epochs}")


class Clip(Section):
    """Bounds on the gradients; at most one."""

    norm: Positive | None = None
    """Largest norm of each variable's gradient."""
    value: Positive | None = None
    """Largest absolute value of each entry."""
    global_norm: Positive | None = None
    """Largest norm of all gradients together."""

    def conflicts(self) -> Iterator[Conflict]:
        """More than one bound."""
        given = self.given("norm", "value", "global_norm")
        if len(given) > 1:
            received = " and ".join(f"`{key}`" for key in given)
            message = f"expected one of `norm`, `value` and `global_norm`, received {received}"
            yield Conflict((given[1],), message, tuple((key,) for key in given))


class Optimizer(Section):
    """How weights are updated."""

    name: Literal["adam", "adamw", "sgd", "rmsprop", "nadam", "adagrad", "lion"] = "adam"
    """The optimiser, with Keras' defaults but for the keys here."""
    learning_rate: Positive = 1e-3
    """Step size."""
    schedule: Schedule = Schedule()
    """How the step size changes."""
    momentum: Share = 0.0
    """`sgd`, `rmsprop`: share of the last update that is repeated."""
    nesterov: bool = False
    """`sgd`: look ahead along the momentum."""
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    """Share of each weight, times the learning rate, taken away at every step. Defaults to 0.004 for `adamw`, else
    to none."""
    clip: Clip = Clip()
    """Bounds on the gradients of a whole step."""
    ema: Share | None = None
    """Keep an exponential moving average of the weights with this momentum, such as 0.999; validation, the best epoch
    and the bundle then use it."""

    def conflicts(self) -> Iterator[Conflict]:
        """Keys that the named optimiser does not have."""
        owners = {"momentum": ("sgd", "rmsprop"), "nesterov": ("sgd",)}
        for key, names in owners.items():
            if self.name not in names and getattr(self, key):
                yield Conflict((key,), f"`{key}` belongs to {' and '.join(names)}, not to {self.name}", (("name",),))
        if self.name == "sgd" and self.nesterov and not self.momentum:
            yield Conflict(("nesterov",), "`nesterov` needs a `momentum`, such as 0.9", (("momentum",),))
