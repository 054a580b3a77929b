"""How pixel values become a network's input: the ways that jobs and bundles name."""

from __future__ import annotations

from typing import Literal

Normalize = Literal["unit", "standardize", "standardize_image", "imagenet"]
MEASURED: tuple[Normalize, ...] = ("standardize", "standardize_image")
"""Ways that need statistics of the training part."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Mean of red, green and blue over ImageNet's training pictures, in units of 0 to 1; these three figures and the
next are those that came with ResNet for Torch (fb.resnet.torch, 2016) and that torchvision's models expect."""
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
"""Their standard deviation."""
