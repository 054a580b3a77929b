"""The demo's folder: painted tiles to train on, tiles to predict, and the labels of both."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image

from segbatch.demo.landscape import FIELD, FOREST, ROAD, WATER, Scene, paint_scene
from segbatch.demo.settings import ARCHIVE_SCENES, LABELS_FILE, SCENES, SEED, SIDE, TILE, Settings, tile_names
from segbatch.errors import InputError
from segbatch.runs.files import write_bytes, write_json, write_text
from segbatch.spec.labels import LabelClass, Labels

QUALITY = 90
WORLD_FILE = "world.json"
STARTED_FILE = "world.started.json"
"""Stands in the folder while it is being painted, so that an interrupted world is known as ours and painted again."""
LABELS = Labels(
    name="landscape",
    classes=(
        LabelClass(id=FIELD, name="field", color=(222, 205, 135)),
        LabelClass(id=FOREST, name="forest", color=(38, 108, 52)),
        LabelClass(id=WATER, name="water", color=(52, 120, 190)),
        LabelClass(id=ROAD, name="road", color=(150, 150, 150)),
    ),
)

Progress = Callable[[int, int], None]
"""Told the tiles written so far and those there will be."""


def make_world(
    folder: Path,
    *,
    scenes: int = SCENES,
    archive_scenes: int = ARCHIVE_SCENES,
    tile: int = TILE,
    seed: int = SEED,
    progress: Progress | None = None,
) -> None:
    """Paint a world, or do nothing where the same one lies already.

    Writes `train/` and `archive/`, each with `images/*.jpg` (RGB) and `masks/*.png` (palette, pixels are class ids),
    `labels.yaml`, and last `world.json` with the settings and a digest of all files. A world that was interrupted is
    painted again.

    Args:
        folder: new or empty, or one that holds this world.
        scenes: scenes to train on; each is cut into 4 x 4 tiles.
        archive_scenes: scenes held out, numbered after those.
        tile: height and width of a tile in pixels.
        seed: another one gives another world.
        progress: called after every scene.

    Raises:
        InputError: the folder holds something else; nothing is written then.
    """
    settings = Settings(seed, scenes, archive_scenes, tile)
    if _stands(folder, settings):
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / STARTED_FILE, asdict(settings))
    for part in ("train", "archive"):
        for kind in ("images", "masks"):
            (folder / part / kind).mkdir(parents=True, exist_ok=True)
    for done, (part, number) in enumerate(settings.parts(), start=1):
        _write_scene(folder, part, number, tile, paint_scene(seed, number, SIDE * tile))
        if progress is not None:
            progress(done * SIDE * SIDE, settings.tiles)
    write_text(folder / LABELS_FILE, labels_yaml(LABELS))
    write_json(folder / WORLD_FILE, {**asdict(settings), "digest": _digest(folder, settings)})
    (folder / STARTED_FILE).unlink(missing_ok=True)


def _stands(folder: Path, settings: Settings) -> bool:
    """Whether the folder holds this world, whole; False where it may be painted."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: expected a folder, found a file. Name a new or empty folder.")
    if not folder.exists() or not any(folder.iterdir()):
        return False
    made = _read(folder / WORLD_FILE)
    begun = made if made is not None else _read(folder / STARTED_FILE)
    if begun is None:
        raise InputError(
            f"{folder}: the folder is not empty and holds no demo world; nothing was written. "
            "Name a new or empty folder."
        )
    wanted = asdict(settings)
    differing = [
        f"{key} {begun.get(key)!r} there, {value!r} asked" for key, value in wanted.items() if begun.get(key) != value
    ]
    if differing:
        raise InputError(
            f"{folder}: holds a demo world of other settings ({'; '.join(differing)}); nothing was written. "
            "Name another folder, or delete this one."
        )
    if made is not None and made.get("digest") != _digest(folder, settings):
        raise InputError(
            f"{folder}: files of this demo world were changed or removed since it was painted; nothing was written. "
            "Name another folder, or delete this one."
        )
    return made is not None


def _read(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _digest(folder: Path, settings: Settings) -> str:
    """SHA-256 over the names and contents of all files; a missing one counts as empty."""
    hasher = hashlib.sha256()
    for name in settings.files():
        try:
            content = (folder / name).read_bytes()
        except OSError:
            content = b""
        hasher.update(f"{name}\0{len(content)}\0".encode())
        hasher.update(content)
    return f"sha256:{hasher.hexdigest()}"


def _write_scene(folder: Path, part: str, number: int, tile: int, scene: Scene) -> None:
    """Cut a scene into tiles."""
    palette = LABELS.palette()
    for row in range(SIDE):
        for column in range(SIDE):
            window = slice(row * tile, (row + 1) * tile), slice(column * tile, (column + 1) * tile)
            image_name, mask_name = tile_names(part, number, row, column)
            mask = Image.fromarray(scene.mask[window])
            mask.putpalette(palette)
            write_bytes(folder / mask_name, _encoded(mask, "PNG", compress_level=4), durable=False)
            image = Image.fromarray(scene.image[window])
            write_bytes(folder / image_name, _encoded(image, "JPEG", quality=QUALITY), durable=False)


def _encoded(image: Image.Image, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def labels_yaml(labels: Labels) -> str:
    """The labels as the YAML file that a job names."""
    lines = [f"name: {labels.name}", "classes:"]
    lines += [
        f'  - {{id: {item.id}, name: {item.name}, color: "#{bytes(item.color).hex()}"}}' for item in labels.classes
    ]
    return "\n".join(lines) + "\n"
