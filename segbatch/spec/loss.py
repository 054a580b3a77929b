"""What a train job minimises."""

from __future__ import annotations

from typing import Literal

from segbatch.spec.section import Section


class Loss(Section):
    """What training minimises."""

    name: Literal["auto", "sparse_crossentropy", "binary_crossentropy"] = "auto"
    """`binary_crossentropy` (two classes, one channel, from logits) or `sparse_crossentropy` (one channel a class, from
    logits). `auto` takes binary for two classes. Ignored pixels never count."""
