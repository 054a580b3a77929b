"""What happens to a mask between the decision and its file: holes and small regions."""

from __future__ import annotations

from dataclasses import dataclass

from segbatch.inference.regions import Mask, absorb_small, fill_holes
from segbatch.spec.mask_rules import MaskRules


@dataclass(frozen=True)
class Cleaning:
    """Fills holes, then gives small regions away, by a job's rules."""

    rules: MaskRules

    def __call__(self, mask: Mask) -> Mask:
        """Clean a tile's mask, class indices [h, w]; one that has nothing to clean is returned itself."""
        return absorb_small(fill_holes(mask, self.rules.fill_holes), self.rules.min_region)
