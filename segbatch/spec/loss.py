"""What a train job minimises."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from segbatch.spec.section import Conflict, Expected, Section

Scheme = Literal["rank", "inverse", "median", "effective"]
SCHEMES: tuple[Scheme, ...] = ("rank", "inverse", "median", "effective")
"""Ways to make class weights of the training part's pixel counts."""
BETA = 0.9999
"""Default of `beta`."""
GAMMA = 2.0
"""Default of `gamma`."""
WEIGHTED = ("auto", "sparse_crossentropy", "binary_crossentropy", "partial_crossentropy", "focal")
"""Losses that class weights apply to: those that are a mean over pixels."""

Weight = Annotated[float, Field(ge=0)]
ClassWeights = Annotated[
    Scheme | dict[str, Weight] | tuple[Weight, ...],
    Expected(
        "rank, inverse, median or effective, a mapping of class names to weights of at least 0, or a list of such "
        "weights, one a class"
    ),
]


class Term(Section):
    """One loss."""

    name: Literal[
        "auto", "sparse_crossentropy", "binary_crossentropy", "partial_crossentropy", "dice", "focal", "sum"
    ] = "auto"
    """`binary_crossentropy` (two classes, one channel) or `sparse_crossentropy` (one channel a class); `auto` takes
    binary for two classes. `partial_crossentropy`: `auto` for truth that is labelled in part (`data.labelled`, or
    ignored values). `dice`: one minus soft Dice, mean over the classes present. `focal`: cross entropy in which easy
    pixels weigh little. `sum`: the weighted sum of `parts`. All work from logits, and ignored pixels never count."""
    class_weights: ClassWeights | None = None
    """Cross entropies and focal: factor of each pixel's loss by its true class. `rank` (6, 5, 4, 3, 2, 1 by rarity),
    `inverse`, `median` or `effective` are made of the training part's pixel counts; or weights by class name (1 where
    none is given), or a list, one a class. The loss is divided by the number of pixels, not by the sum of weights."""
    beta: Annotated[float, Field(ge=0, lt=1)] | None = None
    """With `class_weights: effective`: nearer to 1 sets weights further apart. Defaults to 0.9999."""
    gamma: Annotated[float, Field(ge=0)] | None = None
    """`focal`: how strongly easy pixels are weighed down; 0 gives cross entropy. Defaults to 2."""
    alpha: Annotated[float, Field(gt=0, lt=1)] | None = None
    """`focal` of two classes: factor of the second class; the first has 1 - alpha. Defaults to no such factors."""

    @property
    def scheme(self) -> Scheme | None:
        """How class weights are made of pixel counts; None where they are not."""
        return self.class_weights if isinstance(self.class_weights, str) else None

    def conflicts(self) -> Iterator[Conflict]:
        """Keys of one loss given to another, and weights that leave nothing to learn."""
        if self.name not in WEIGHTED:
            for key in self.given("class_weights"):
                message = "`class_weights` belong to cross entropies and focal"
                message += "; give them to the parts of the sum" if self.name == "sum" else f", not to {self.name}"
                yield Conflict((key,), message, (("name",),))
        if self.scheme != "effective":
            for key in self.given("beta"):
                yield Conflict((key,), "`beta` needs `class_weights: effective`", (("class_weights",),))
        if self.name != "focal":
            for key in self.given("gamma", "alpha"):
                yield Conflict((key,), f"`{key}` belongs to the loss focal, not to {self.name}", (("name",),))
        elif self.alpha is not None and self.class_weights is not None:
            message = "`alpha` and `class_weights` both weigh the classes; keep one of them"
            yield Conflict(("alpha",), message, (("class_weights",),))
        if isinstance(self.class_weights, tuple) and not any(self.class_weights):
            yield Conflict(("class_weights",), "every class weighs 0, so nothing would be learned")


class LossPart(Term):
    """One loss of a weighted sum."""

    weight: Annotated[float, Field(gt=0)] = 1.0
    """Its factor in the sum."""

    def conflicts(self) -> Iterator[Conflict]:
        """A sum within a sum."""
        yield from super().conflicts()
        if self.name == "sum":
            yield Conflict(("name",), "a part of a sum cannot be a sum; list its parts here")


class Loss(Term):
    """What training minimises."""

    parts: tuple[LossPart, ...] = ()
    """`sum`: the losses to add up, such as [{name: auto}, {name: dice, weight: 0.5}]."""

    @property
    def terms(self) -> tuple[Term, ...]:
        """The losses that are computed: the parts of a sum, else this one alone."""
        return self.parts if self.name == "sum" else (self,)

    @property
    def needs_counts(self) -> bool:
        """Whether class weights are made of the training part's pixel counts."""
        return any(term.scheme is not None for term in self.terms)

    def head(self, classes: int) -> Literal["binary", "multiclass"]:
        """What the network's channels mean: one for both of two classes, unless sparse cross entropy wants each."""
        sparse = any(term.name == "sparse_crossentropy" for term in self.terms)
        return "multiclass" if sparse or classes != 2 else "binary"

    def conflicts(self) -> Iterator[Conflict]:
        """Parts without a sum, a sum without parts, and parts that want different channels."""
        yield from super().conflicts()
        if self.name != "sum" and self.parts:
            message = f"`parts` belong to the loss sum, not to {self.name}"
            yield Conflict(("parts",), message, (("name",),))
        if self.name == "sum" and not self.parts:
            message = "a sum needs `parts`, such as [{name: auto}, {name: dice, weight: 0.5}]"
            yield Conflict(("name",), message, (("parts",),))
        names = [part.name for part in self.parts]
        if {"binary_crossentropy", "sparse_crossentropy"} <= set(names):
            position = max(names.index("binary_crossentropy"), names.index("sparse_crossentropy"))
            message = "binary_crossentropy and sparse_crossentropy want different channels; keep one of them"
            yield Conflict(("parts", position, "name"), message, (("parts",),))
