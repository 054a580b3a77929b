"""Where a training runs: one device, all GPUs of a node, or several nodes.

All replicas work on one global batch of `train.batch_size` samples, each on its slice, and have the same weights after
every step. Statistics of batch normalisation are those of the whole batch (`synchronized`), so that a batch cut over
replicas is the batch of one device. Dropout draws the same pattern on every replica, over other samples.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from segbatch.errors import SegbatchError
from segbatch.training.peers import Peers

_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
)
"""What TensorFlow raises when another process is gone."""


class Distribution:
    """The replicas of a training, and what its processes tell each other.

    Args:
        strategy: where steps run.
        peers: the processes; None for one alone.
    """

    def __init__(self, strategy: tf.distribute.Strategy, peers: Peers | None = None) -> None:
        self.strategy, self.peers = strategy, peers
        self.processes = len(peers.addresses) if peers else 1
        self.rank = peers.rank if peers else 0
        self.replicas: int = strategy.num_replicas_in_sync
        self._sum = tf.function(self._sum_everywhere, autograph=False, reduce_retracing=True)

    @property
    def chief(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    @property
    def local(self) -> int:
        """Replicas of this process."""
        return self.replicas // self.processes

    def total(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Add up what each process has to say; all of them must ask, and all get the same answer.

        Args:
            values: numbers, any shape, the same in every process; whole numbers up to 2^24 add up exactly.
        """
        if self.processes == 1:
            return np.asarray(values, np.float64)
        return np.asarray(self._sum(tf.constant(values, tf.float32)).numpy(), np.float64)

    def wait(self) -> None:
        """Go on when all processes have come here."""
        self.total(np.zeros(1))

    @contextmanager
    def chief_first(self) -> Iterator[None]:
        """Let the first process do something before the others, who then find what it has written."""
        if not self.chief:
            self.wait()
        yield
        if self.chief:
            self.wait()

    def part(self) -> None:
        """Let all processes end together; those that have come here may be gone before others notice."""
        with suppress(*_LOST):
            self.wait()

    def _sum_everywhere(self, values: tf.Tensor) -> tf.Tensor:
        def on_replica(values: tf.Tensor) -> tf.Tensor:
            context = tf.distribute.get_replica_context()
            first = tf.equal(context.replica_id_in_sync_group % self.local, 0)
            mine = tf.where(first, values, tf.zeros_like(values))
            return context.all_reduce(tf.distribute.ReduceOp.SUM, mine)

        return self.strategy.experimental_local_results(self.strategy.run(on_replica, args=(values,)))[0]

    def prepare(self, model: keras.Model) -> None:
        """Let batch normalisation look at the whole batch, however many replicas share it."""
        if self.replicas > 1:
            for layer in model._flatten_layers():
                if isinstance(layer, keras.layers.BatchNormalization):
                    layer.synchronized = True

    @contextmanager
    def losses_told(self) -> Iterator[None]:
        """Tell of the loss of another process in words.

        Raises:
            SegbatchError: another process is gone.
        """
        try:
            yield
        except _LOST as error:
            if self.processes == 1:
                raise
            raise SegbatchError(
                f"Another process of this training is gone ({type(error).__name__}); its own log lines say why. "
                f"All {self.processes} start again from the last checkpoint at the next attempt."
            ) from error


def distribution(gpus: int, peers: Peers | None, log: Callable[[str], None] = print) -> Distribution:
    """Set up TensorFlow for a training; to be called before anything is computed.

    Args:
        gpus: GPUs of a node that the job asks for; 0 leaves the choice to TensorFlow.
        peers: the processes of the training; None for one alone.
        log: told of GPUs that are missing.

    Raises:
        SegbatchError: a node's address is unknown here.
    """
    found = tf.config.list_physical_devices("GPU")
    if len(found) < gpus:
        log(f"the job asks for {gpus} GPUs, TensorFlow sees {len(found)}")
    if gpus and len(found) > gpus:
        tf.config.set_visible_devices(found[:gpus], "GPU")
    if peers is not None:
        _check_names(peers)
        os.environ["TF_CONFIG"] = peers.tf_config()
        log(f"process {peers.rank + 1} of {len(peers.addresses)}, {peers.addresses[peers.rank]}")
        return Distribution(tf.distribute.MultiWorkerMirroredStrategy(), peers)
    if min(gpus, len(found)) > 1:
        return Distribution(tf.distribute.MirroredStrategy())
    return Distribution(tf.distribute.get_strategy())


def _check_names(peers: Peers) -> None:
    """Refuse names that mean nothing here: TensorFlow would wait for them without a word."""
    for address in peers.addresses:
        host, _, port = address.rpartition(":")
        try:
            socket.getaddrinfo(host, int(port))
        except OSError as error:
            raise SegbatchError(
                f"The nodes of this training cannot find each other: {host} is unknown on {socket.gethostname()} "
                f"({error.strerror}). Ask your site which names or addresses its nodes have for each other."
            ) from error


def agreed(places: NDArray[np.float64], processes: int, own: Sequence[float]) -> bool:
    """Tell from the sums over all processes whether each has the same numbers as this one."""
    return bool((places == processes * np.array(own)).all())
