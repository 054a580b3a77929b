"""Making the engine that a run uses."""

from __future__ import annotations

from segbatch.inference.engines.engine import Engine
from segbatch.models.bundle import Bundle
from segbatch.runs.engine import EngineRecord, claim_engine
from segbatch.runs.measured import fastest_engine
from segbatch.runs.run import Run
from segbatch.spec.engines import engine_version, missing_packages
from segbatch.spec.inference import Predict


def make_engine(name: str, bundle: Bundle, digest: str) -> Engine | None:
    """Make an engine by its name; None for TensorFlow, which runs the network within the step's own graph.

    Args:
        name: one of `segbatch.spec.engines.NEEDS`.
        bundle: the network, of the input size that will be used.
        digest: of the bundle.

    Raises:
        InputError: packages that it needs are missing.
    """
    # Each is imported only where it is used.
    if name == "openvino":
        from segbatch.inference.engines.openvino import OpenVino

        return OpenVino(bundle, digest)
    if name == "onnxruntime":
        from segbatch.inference.engines.onnx import OnnxRuntime

        return OnnxRuntime(bundle, digest)
    return None


def engine_of_run(run: Run, settings: Predict) -> EngineRecord:
    """Return the engine of a run: what its first task to ask decided, for all tasks and attempts.

    `auto` is what was measured fastest on this kind of node for this bundle, if its packages are here; else TensorFlow.
    """
    wanted = settings.engine
    if wanted == "auto":
        measured = fastest_engine(run.record.measured)
        wanted = measured if measured and not missing_packages(measured) else "tensorflow"
    return claim_engine(run.paths, EngineRecord(engine=wanted, version=engine_version(wanted)))
