"""How weights are updated: Keras optimisers by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from segbatch.errors import InputError
from segbatch.spec.optimizer import Optimizer

OPTIMIZERS: dict[str, Callable[..., keras.optimizers.Optimizer]] = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "sgd": keras.optimizers.SGD,
    "rmsprop": keras.optimizers.RMSprop,
    "nadam": keras.optimizers.Nadam,
    "adagrad": keras.optimizers.Adagrad,
    "lion": keras.optimizers.Lion,
}
"""Name in a job file -> what makes the optimiser."""
_OWN_KEYS = {"sgd": ("momentum", "nesterov"), "rmsprop": ("momentum",)}


def make_optimizer(spec: Optimizer) -> keras.optimizers.Optimizer:
    """Make the optimiser that a job names.

    Clipping and averaging of weights are not its business: they concern the gradient of a whole step, over all
    devices, which the optimiser of one device does not see.

    Raises:
        InputError: the name is unknown.
    """
    if spec.name not in OPTIMIZERS:
        raise InputError(f"optimizer.name: expected one of {', '.join(sorted(OPTIMIZERS))}, received {spec.name!r}.")
    settings: dict[str, Any] = {key: getattr(spec, key) for key in _OWN_KEYS.get(spec.name, ())}
    if spec.weight_decay is not None:
        settings["weight_decay"] = spec.weight_decay
    return OPTIMIZERS[spec.name](learning_rate=spec.learning_rate, **settings)
