"""What may run a network besides TensorFlow: names, and the packages that each needs."""

from __future__ import annotations

import importlib.util
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from segbatch.errors import InputError

EngineName = Literal["tensorflow", "openvino", "onnxruntime"]
NEEDS: dict[str, tuple[str, ...]] = {
    "tensorflow": ("tensorflow",),
    "openvino": ("openvino",),
    "onnxruntime": ("onnxruntime", "onnx", "tf2onnx"),
}
"""Modules by engine: those that run it, and those that export a bundle for it."""
EXTRAS = {"tensorflow": "worker", "openvino": "openvino", "onnxruntime": "onnx"}
LARGEST_DIFFERENCE = 1e-4
"""Share of pixels in which an engine that is chosen by itself may differ from TensorFlow."""


def missing_packages(engine: str) -> list[str]:
    """Return the modules that an engine needs and this Python does not have; nothing is imported."""
    return [module for module in NEEDS[engine] if importlib.util.find_spec(module) is None]


def require(engine: str) -> None:
    """Refuse an engine whose packages are not there.

    Raises:
        InputError: which are missing, and how to get them.
    """
    missing = missing_packages(engine)
    if missing:
        raise InputError(
            f"predict.engine: {engine} needs {', '.join(missing)}, which this Python does not have: "
            f"pip install 'segbatch[{EXTRAS[engine]}]' where tasks run, or say `engine: tensorflow`."
        )


def engine_version(engine: str) -> str:
    """Version of an engine's package, read without importing it."""
    names = ("tensorflow", "tensorflow-cpu", "tf-nightly") if engine == "tensorflow" else (engine, f"{engine}-gpu")
    for name in names:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "unknown"
