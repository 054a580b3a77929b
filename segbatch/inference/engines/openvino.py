"""OpenVINO: one tile a request, one request a processor."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from segbatch.inference.engines.engine import Scores
from segbatch.inference.engines.exported import exported
from segbatch.models.bundle import Bundle
from segbatch.spec.engines import engine_version, require

_FILE = "network.xml"


class OpenVino:
    """Runs a network by OpenVINO on the CPU.

    Every tile is a request of its own on one thread, so that its scores depend neither on its batch nor on the number
    of processors; that is also what was measured fastest.

    Args:
        bundle: the network.
        digest: of the bundle.
    """

    name = "openvino"

    def __init__(self, bundle: Bundle, digest: str) -> None:
        require(self.name)
        import openvino

        self.version = engine_version(self.name)
        folder = exported(bundle, digest, f"{self.name}-{self.version}", lambda place: _export(bundle, place))
        core = openvino.Core()
        network = core.read_model(str(folder / _FILE))
        network.reshape([1, *bundle.info.input, bundle.info.bands])
        processors = len(os.sched_getaffinity(0))
        settings = {
            "NUM_STREAMS": str(processors),
            "INFERENCE_NUM_THREADS": str(processors),
            # On processors that have bfloat16 it would be taken, and the masks would differ.
            "INFERENCE_PRECISION_HINT": "f32",
        }
        compiled = core.compile_model(network, "CPU", settings)
        # Each batch has its own requests, so that the next begins while the last ends.
        self._free = [_Requests(openvino.AsyncInferQueue(compiled, processors)) for _ in range(2)]

    def start(self, pixels: np.ndarray) -> Scores:
        """Start computing a batch; see `Engine`."""
        requests = self._free[0]
        self._free.reverse()
        return requests.start(pixels)


class _Requests:
    """A queue of requests, for one batch at a time."""

    def __init__(self, queue: Any) -> None:
        self._queue = queue
        queue.set_callback(_keep)

    def start(self, pixels: np.ndarray) -> Scores:
        # The scores of the batch before may still be on their way; its own `Scores` waits for the same queue.
        self._queue.wait_all()
        found: list[np.ndarray | None] = [None] * len(pixels)
        for slot in range(len(pixels)):
            self._queue.start_async({0: pixels[slot : slot + 1]}, (found, slot))

        def wait() -> np.ndarray:
            if any(scores is None for scores in found):
                self._queue.wait_all()
            return np.stack([scores for scores in found if scores is not None])

        return wait


def _keep(request: Any, place: tuple[list[np.ndarray | None], int]) -> None:
    found, slot = place
    # A copy, since the next request writes to the same memory.
    found[slot] = np.array(request.get_output_tensor(0).data[0], np.float32)


def _export(bundle: Bundle, folder: Path) -> None:
    bundle.model.export(str(folder / _FILE), format="openvino", verbose=False)
