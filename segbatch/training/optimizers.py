"""How weights are updated: Keras optimisers by name."""

from __future__ import annotations

from collections.abc import Callable

import keras

from segbatch.errors import InputError
from segbatch.spec.course import Optimizer


def _adam(spec: Optimizer) -> keras.optimizers.Optimizer:
    return keras.optimizers.Adam(learning_rate=spec.learning_rate)


OPTIMIZERS: dict[str, Callable[[Optimizer], keras.optimizers.Optimizer]] = {"adam": _adam}
"""Name in a job file -> what makes the optimiser."""


def make_optimizer(spec: Optimizer) -> keras.optimizers.Optimizer:
    """Make the optimiser that a job names.

    Raises:
        InputError: the name is unknown.
    """
    if spec.name not in OPTIMIZERS:
        raise InputError(f"optimizer.name: expected one of {', '.join(sorted(OPTIMIZERS))}, received {spec.name!r}.")
    return OPTIMIZERS[spec.name](spec)
