"""A PyTorch pipeline from files to masks: a program of its own, in an environment that holds no TensorFlow.

`python torch_pipeline.py IMAGES TILES`: segmentation_models.pytorch's U-Net with MobileNetV2 at random weights, tiles
brought to 128x128 and masks back, every setting tried in turn; prints one JSON line each.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch  # type: ignore[import-not-found]
from PIL import Image

try:
    import torchvision  # type: ignore[import-not-found]  # noqa: F401
except RuntimeError:
    # A torchvision built for another PyTorch lacks its operators, of which its import wants these declared.
    DECLARED = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        DECLARED.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import segmentation_models_pytorch as smp  # type: ignore[import-not-found]

SIDE, BATCH, CLASSES = 128, 16, 4
PALETTE = bytes(range(3 * CLASSES))


class Tiles(torch.utils.data.Dataset):  # type: ignore[misc]
    """Tiles by position: uint8 [3, H, W]."""

    def __init__(self, paths: list[Path], reader: str) -> None:
        self._paths, self._reader = paths, reader

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, position: int) -> Any:
        path = self._paths[position]
        if self._reader == "torchvision":
            from torchvision.io import ImageReadMode, decode_image, read_file  # type: ignore[import-not-found]

            return decode_image(read_file(str(path)), ImageReadMode.RGB), position
        return torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1), position


def network(form: str) -> Any:
    """Build the network, as it is or traced and frozen."""
    model = smp.Unet("mobilenet_v2", encoder_weights=None, classes=CLASSES).eval()
    model = model.to(memory_format=torch.channels_last)
    if form == "eager":
        return model
    example = torch.zeros(BATCH, 3, SIDE, SIDE).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        return torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(model, example)))


def save(mask: np.ndarray, path: Path) -> None:
    """Write one mask as a palette PNG."""
    picture = Image.fromarray(mask)
    picture.putpalette(PALETTE)
    picture.save(path, compress_level=1)


def run(model: Any, paths: list[Path], workers: int, reader: str, folder: Path) -> None:
    """Predict all tiles."""
    loader = torch.utils.data.DataLoader(Tiles(paths, reader), BATCH, num_workers=workers)
    with torch.inference_mode(), ThreadPoolExecutor(2) as pool:
        for images, positions in loader:
            pixels = images.to(memory_format=torch.channels_last).float().div_(255)
            fitted = torch.nn.functional.interpolate(pixels, (SIDE, SIDE), mode="bilinear", align_corners=False)
            small = model(fitted).argmax(1, keepdim=True).to(torch.uint8)
            masks = torch.nn.functional.interpolate(small, images.shape[2:], mode="nearest")[:, 0].numpy()
            for position, mask in zip(positions.tolist(), masks, strict=True):
                pool.submit(save, mask, folder / f"{paths[position].stem}.png")


def main() -> None:
    """Try every setting."""
    paths = sorted(Path(sys.argv[1]).iterdir())[: int(sys.argv[2])]
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    for form, workers, reader in itertools.product(("eager", "frozen"), (0, 1, 2), ("pillow", "torchvision")):
        with tempfile.TemporaryDirectory() as folder:
            try:
                model = network(form)
                run(model, paths[:BATCH], workers, reader, Path(folder))
                before, begun = os.times(), time.perf_counter()
                run(model, paths, workers, reader, Path(folder))
                after, seconds = os.times(), time.perf_counter() - begun
            except Exception as error:
                print(json.dumps({"setting": [form, workers, reader], "failed": str(error)[:200]}), flush=True)
                continue
        cpu = sum(after[:4]) - sum(before[:4])
        print(json.dumps({"setting": [form, workers, reader], "seconds": seconds, "cpu": cpu}), flush=True)


if __name__ == "__main__":
    main()
