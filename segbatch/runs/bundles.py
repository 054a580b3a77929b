"""What identifies a bundle, without TensorFlow."""

from __future__ import annotations

from pathlib import Path

from segbatch.errors import InputError
from segbatch.runs.files import digest, file_digest
from segbatch.spec.bundle import BUNDLE_FILE, MEAN_IMAGE_FILE, MODEL_FILE


def bundle_digest(path: Path) -> str:
    """SHA-256 of a bundle's two files (and its mean image) with their names, or of a Keras file's content.

    Args:
        path: a bundle folder, or a file.

    Returns:
        `sha256:` and 64 hexadecimal digits. Other files in the folder do not count.

    Raises:
        InputError: there is no such file or folder, or a file of the bundle is missing.
    """
    if path.is_file():
        return file_digest(path)
    names = [BUNDLE_FILE, MODEL_FILE, *([MEAN_IMAGE_FILE] if (path / MEAN_IMAGE_FILE).exists() else [])]
    try:
        return digest(*(f"{name} {file_digest(path / name)}\n".encode() for name in sorted(names)))
    except FileNotFoundError as error:
        raise InputError(
            f"{path}: no such bundle: {error.filename} is missing. Expected the `model` folder of a finished train "
            "run, or a Keras file."
        ) from error
