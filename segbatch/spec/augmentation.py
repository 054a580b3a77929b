"""How a train job varies its samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field

from segbatch.spec.problems import did_you_mean, listed
from segbatch.spec.section import Conflict, Expected, Section

Op = Literal[
    "flip_left_right",
    "flip_up_down",
    "quarter_turns",
    "rotate",
    "zoom",
    "crop",
    "hue",
    "saturation",
    "brightness",
    "contrast",
    "noise",
]
Factor = Annotated[float, Field(ge=0.1, le=10)]

OWN_KEYS: Mapping[str, tuple[Op, ...]] = {
    "degrees": ("rotate",),
    "range": ("zoom",),
    "share": ("crop",),
    "amount": ("hue", "saturation", "brightness", "contrast", "noise"),
}
"""Keys of `AugmentStep`, and the operations that they belong to."""
AMOUNTS: Mapping[str, float] = {"hue": 0.1, "saturation": 0.3, "brightness": 0.2, "contrast": 0.3, "noise": 0.05}
"""What `amount` is where none is given."""
GEOMETRIC: frozenset[str] = frozenset(("flip_left_right", "flip_up_down", "quarter_turns", "rotate", "zoom", "crop"))
"""Operations that move pixels, of image and mask alike; the others change colours, of the image alone."""
_MOST_HUE = 0.5


class AugmentStep(Section):
    """One operation; image and mask move together."""

    op: Op
    """What is done; `quarter_turns` turns by one, two or three of them. Neighbours in the list that move pixels (flips,
    turns, rotate, zoom, crop) are put together into one move; what it uncovers is ignored in the mask and mirrored in
    the image."""
    p: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Chance for each sample, drawn anew every time."""
    degrees: Annotated[float, Field(gt=0, le=180)] = 30.0
    """With `rotate`: largest angle, to either side."""
    range: Annotated[tuple[Factor, Factor], Expected("[smallest, largest] factor, each a number from 0.1 to 10")] = (
        0.8,
        1.25,
    )
    """With `zoom`: smallest and largest factor; above 1 enlarges, below 1 shrinks."""
    share: Annotated[float, Field(ge=0.1, lt=1)] = 0.8
    """With `crop`: share of height and width that is cut out, anywhere, and brought back to the input size."""
    amount: Annotated[float, Field(gt=0, le=1)] | None = None
    """Largest change of colours. `hue`: part of the colour circle, at most 0.5 (default 0.1). `saturation` and
    `contrast`: factors from 1 - amount to 1 + amount (0.3). `brightness`: part of the range of values, added (0.2).
    `noise`: standard deviation, as a part of that range (0.05)."""

    @property
    def strength(self) -> float:
        """`amount`, or its default for the operation."""
        return AMOUNTS[self.op] if self.amount is None else self.amount

    def plain(self) -> dict[str, Any]:
        """All that shapes the operation, as plain JSON values."""
        values = {"degrees": self.degrees, "range": [*self.range], "share": self.share}
        own = {key: values.get(key) for key, owners in OWN_KEYS.items() if self.op in owners}
        if "amount" in own:
            own["amount"] = self.strength
        return {"op": self.op, "p": self.p} | own

    def conflicts(self) -> Iterator[Conflict]:
        """Keys that belong to other operations, and amounts and ranges that mean nothing."""
        for key, owners in OWN_KEYS.items():
            if self.op not in owners and self.given(key):
                yield Conflict((key,), f"`{key}` belongs to {listed(owners)}, not to {self.op}", (("op",),))
        if self.range[0] > self.range[1]:
            yield Conflict(("range",), f"expected the smaller factor first, received {[*self.range]}")
        if self.op == "hue" and self.strength > _MOST_HUE:
            message = f"expected at most {_MOST_HUE} for hue, half the colour circle to either side"
            yield Conflict(("amount",), f"{message}, received {self.strength:g}", (("op",),))


PRESETS: Mapping[str, tuple[AugmentStep, ...]] = {
    "basic": (AugmentStep(op="hue", amount=0.1),),
    "advanced": (AugmentStep(op="hue", amount=0.1), AugmentStep(op="brightness"), AugmentStep(op="contrast")),
    "bad": (AugmentStep(op="flip_left_right"), AugmentStep(op="flip_up_down")),
}
"""Lists by name, each operation with a chance of one half: three of street scenes, the last one wrong for a camera that
stands upright on its street."""
Preset = Literal["basic", "advanced", "bad"]
_PRESET_WORDS = "basic, advanced or bad, or a list of operations"


def _from_preset(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value not in PRESETS:
        raise ValueError(f"expected {_PRESET_WORDS}, received {value!r}.{did_you_mean(value, PRESETS)}")
    return PRESETS[value]


def _from_name(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value in PRESETS:
        raise ValueError(
            f"expected an operation, received {value!r}, which stands for a whole list: `augment: {value}`"
        )
    if value not in get_args(Op):
        meant = did_you_mean(value, get_args(Op))
        raise ValueError(f"expected one of {', '.join(get_args(Op))}, received {value!r}.{meant}")
    return {"op": value}


_Item = Annotated[AugmentStep, BeforeValidator(_from_name, json_schema_input_type=AugmentStep | Op)]
Augment = Annotated[
    tuple[_Item, ...],
    BeforeValidator(_from_preset, json_schema_input_type=tuple[_Item, ...] | Preset),
    Expected(_PRESET_WORDS),
]
"""Operations in order: a list of them (a name alone stands for its defaults), or one of `PRESETS` by name."""


def unfit(steps: Sequence[AugmentStep], bands: int, size: tuple[int, int]) -> Iterator[tuple[int, str]]:
    """Yield position and reason of steps that images of these bands, and of this height and width, rule out."""
    for position, step in enumerate(steps):
        if step.op in ("hue", "saturation") and bands != 3:
            yield position, f"`{step.op}` is for images of 3 bands, red, green and blue, not of {bands}"
        if step.op == "quarter_turns" and size[0] != size[1]:
            message = f"`quarter_turns` need an input as high as wide, not {[*size]}; both flips together turn by half"
            yield position, message
