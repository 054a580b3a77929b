"""Weights in files such as Keras publishes."""

from __future__ import annotations

from pathlib import Path

import h5py
import keras


def write_published(path: Path, model: keras.Model) -> None:
    """Write weights as Keras publishes them: the groups of the layers at the top of an HDF5 file."""
    model.save(path.with_name("whole.h5"))
    with h5py.File(path.with_name("whole.h5")) as whole, h5py.File(path, "w") as file:
        for name, value in whole["model_weights"].attrs.items():
            file.attrs[name] = value
        for name, group in whole["model_weights"].items():
            file.copy(group, name)
