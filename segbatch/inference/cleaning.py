"""What happens to a mask after the decision: holes and small regions, and its counts anew."""

from __future__ import annotations

from dataclasses import dataclass, replace

from segbatch.evaluation.counts import class_pixels, confusion
from segbatch.inference.regions import absorb_small, fill_holes
from segbatch.inference.step import TileResult
from segbatch.spec.mask_rules import MaskRules


@dataclass(frozen=True)
class Cleaning:
    """Fills holes, then gives small regions away; the counts are those of the mask that comes out."""

    rules: MaskRules

    def __call__(self, result: TileResult) -> TileResult:
        """Clean one tile's mask.

        Args:
            result: what the step says, with the truth where there is any; its counts do not matter.

        Returns:
            The same with its mask and counts final, and without truth.
        """
        classes = len(self.rules.min_region)
        mask = absorb_small(fill_holes(result.mask, self.rules.fill_holes), self.rules.min_region)
        counts = None if result.truth is None else confusion(result.truth, mask, classes)
        return replace(result, mask=mask, counts=counts, truth=None, predicted=class_pixels(mask, classes))
