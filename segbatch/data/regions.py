"""Masks of labelled regions: 0 where nobody labelled."""

from __future__ import annotations

from segbatch.spec.labels import IGNORED

REGION_TABLE = bytes([IGNORED]) + bytes(255)
"""Value on disk to what it does to the truth there: IGNORED makes it ignored, 0 leaves it."""
