"""ONNX Runtime: whole batches, on a GPU where its package has one."""

from __future__ import annotations

import os
from pathlib import Path

import keras
import numpy as np

from segbatch.inference.engines.engine import Scores
from segbatch.inference.engines.exported import exported
from segbatch.inference.lanes import ON_CPU, Lanes
from segbatch.models.bundle import Bundle
from segbatch.spec.engines import engine_version, require

_FILE = "network.onnx"
_PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")


class OnnxRuntime:
    """Runs a network by ONNX Runtime.

    Args:
        bundle: the network.
        digest: of the bundle.
    """

    name = "onnxruntime"

    def __init__(self, bundle: Bundle, digest: str) -> None:
        require(self.name)
        import onnxruntime

        self.version = engine_version(self.name)
        folder = exported(bundle, digest, f"{self.name}-{self.version}", lambda place: _export(bundle, place))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = len(os.sched_getaffinity(0))
        # Threads that spin while they wait take the processor from reading and writing.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        there = onnxruntime.get_available_providers()
        providers = [provider for provider in _PROVIDERS if provider in there]
        self._session = onnxruntime.InferenceSession(str(folder / _FILE), options, providers=providers)
        self._input = self._session.get_inputs()[0].name
        # On a GPU a call waits for its end, so that it has a thread of its own, however quick.
        self._lanes = Lanes(1, quick=0) if _PROVIDERS[0] in providers else Lanes(ON_CPU)

    def start(self, pixels: np.ndarray) -> Scores:
        """Start computing a batch; see `Engine`."""
        return self._lanes.start(lambda: self._run(pixels))

    def _run(self, pixels: np.ndarray) -> np.ndarray:
        return np.asarray(self._session.run(None, {self._input: pixels})[0], np.float32)


def _export(bundle: Bundle, folder: Path) -> None:
    # The exporter makes up a signature of its own only for networks that have computed something before.
    image = keras.InputSpec("float32", (None, *bundle.info.input, bundle.info.bands), name="image")
    bundle.model.export(str(folder / _FILE), format="onnx", verbose=False, input_signature=[image])
