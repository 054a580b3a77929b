"""The data of a job: where images and masks lie, how they pair, how they are split."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import takewhile
from typing import Annotated, Literal

from pydantic import Field

from segbatch.spec.section import Conflict, Expected, FileName, Section

Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = ("train", "val", "test")
Side = Annotated[int, Field(ge=1, le=65536)]
Size = Annotated[tuple[Side, Side], Expected("[height, width], each a whole number from 1 to 65536")]
MOST_BANDS = 32
Bands = Annotated[int, Field(ge=1, le=MOST_BANDS)]
"""Bands of an image."""

PAIRING_KEYS: Mapping[str, tuple[str, ...]] = {
    "suffix": ("image_suffix", "mask_suffix"),
    "csv": ("file", "image_column", "mask_column"),
}
"""Keys of `Pairing` that belong to one way of pairing."""


class Pairing(Section):
    """How an image finds its mask. Always by name, never by position."""

    by: Literal["stem", "suffix", "csv"] = "stem"
    """`stem`: same folder and name, any extension. `suffix`: same name up to the two suffixes. `csv`: two columns of a
    table."""
    image_suffix: Annotated[str, Field(min_length=1)] | None = None
    """With `suffix`: how image names end, such as "_leftImg8bit.png"."""
    mask_suffix: Annotated[str, Field(min_length=1)] | None = None
    """With `suffix`: how mask names end, such as "_gtFine_labelIds.png"."""
    file: FileName | None = None
    """With `csv`: the table, relative to `data.root`."""
    image_column: Annotated[str, Field(min_length=1)] = "image"
    """With `csv`: column that holds the image's path, relative to `data.images`."""
    mask_column: Annotated[str, Field(min_length=1)] = "mask"
    """With `csv`: column that holds the mask's path, relative to `data.masks`."""

    def conflicts(self) -> Iterator[Conflict]:
        """Keys that the chosen way of pairing lacks, and those that belong to another."""
        required = {"suffix": ("image_suffix", "mask_suffix"), "csv": ("file",)}.get(self.by, ())
        missing = [key for key in required if getattr(self, key) is None]
        if missing:
            names = " and ".join(f"`{key}`" for key in missing)
            yield Conflict(("by",), f"pairing by {self.by} needs {names}", tuple((key,) for key in missing))
        for owner, keys in PAIRING_KEYS.items():
            if self.by != owner:
                for key in self.given(*keys):
                    yield Conflict((key,), f"`{key}` belongs to pairing by {owner}, not by {self.by}", (("by",),))
        if self.by == "csv" and self.image_column == self.mask_column:
            message = f"images and masks cannot both come from the column {self.mask_column!r}"
            yield Conflict(("mask_column",), message, (("by",), ("image_column",)))


class Group(Section):
    """What must stay together in one part of the split: tiles of one scene, city or source image."""

    column: str | None = None
    """Column of the pairing table that names the group."""
    pattern: str | None = None
    """Regular expression searched in the image's path; its first group (or the whole match) names the group."""
    folder: Annotated[int, Field(ge=1)] | None = None
    """Number of leading folders of the image's path that name the group."""

    def conflicts(self) -> Iterator[Conflict]:
        """Not exactly one way of naming groups, or a pattern that is none."""
        keys = ("column", "pattern", "folder")
        given = [key for key in keys if getattr(self, key) is not None]
        if len(given) != 1:
            received = " and ".join(f"`{key}`" for key in given) or "none of them"
            message = f"expected exactly one of `column`, `pattern` and `folder`, received {received}"
            yield Conflict((given[-1],) if given else (), message, tuple((key,) for key in keys))
        if self.pattern is not None:
            try:
                re.compile(self.pattern)
            except re.error as error:
                yield Conflict(("pattern",), f"not a regular expression: {error}")


SPLIT_KEYS: Mapping[str, tuple[str, ...]] = {
    "fractions": ("hash",),
    "counts": ("counts",),
    "seed": ("hash", "counts"),
    "column": ("column",),
    "parts": ("column", "folder"),
}
"""Keys of `Split`, and the values of `by` that they belong to."""


class Split(Section):
    """How tiles are divided into train, val and test."""

    by: Literal["hash", "counts", "column", "folder"] = "hash"
    """`hash`: shares by hash of the group. `counts`: numbers of tiles, in order of hash. `column`: a column of the
    pairing table. `folder`: the first folder of the image's path."""
    fractions: dict[Part, Annotated[float, Field(ge=0, le=1)]] | None = None
    """With `hash`: share of each part; they add up to 1. Defaults to {train: 0.8, val: 0.2}."""
    counts: dict[Part, Annotated[int, Field(ge=0)]] | None = None
    """With `counts`: number of tiles of each part; tiles beyond their sum are left out."""
    column: Annotated[str, Field(min_length=1)] = "split"
    """With `column`: its name."""
    parts: dict[Part, tuple[str, ...]] | None = None
    """With `column` and `folder`: the values that mean each part. Defaults to the part's own name."""
    group: Group | None = None
    """What must stay in one part. Defaults to the tile itself."""
    seed: int = 0
    """Another seed gives another split by hash."""

    def conflicts(self) -> Iterator[Conflict]:
        """Keys that the chosen split lacks, those that belong to another, and shares or values that do not add up."""
        if self.by == "counts" and not self.counts:
            message = "a split by counts needs `counts`, such as {train: 2085, val: 521}"
            yield Conflict(("by",), message, (("counts",),))
        for key, owners in SPLIT_KEYS.items():
            if self.by not in owners and self.given(key):
                message = f"`{key}` belongs to a split by {' or '.join(owners)}, not by {self.by}"
                yield Conflict((key,), message, (("by",),))
        if self.by == "hash" and self.fractions is not None and abs(sum(self.fractions.values()) - 1) > 1e-6:
            message = f"expected fractions that add up to 1, received {sum(self.fractions.values()):g}"
            yield Conflict(("fractions",), message, (("by",),))
        owner: dict[str, str] = {}
        for part, values in (self.parts or {}).items():
            for position, value in enumerate(values):
                if owner.setdefault(value, part) != part:
                    message = f"{value!r} cannot mean both {owner[value]} and {part}"
                    yield Conflict(("parts", part, position), message, (("parts",),))

    def share(self, part: Part) -> bool:
        """Whether the split can give `part` any tiles."""
        if self.by == "hash":
            return bool((self.fractions or {"train": 0.8, "val": 0.2}).get(part))
        if self.by == "counts":
            return not self.counts or bool(self.counts.get(part))
        return self.parts is None or bool(self.parts.get(part))


class Predictions(Section):
    """Masks that were predicted earlier, to be evaluated."""

    folder: FileName
    """Folder of the predicted masks; each is found by its image's (or truth's) path and name, any extension."""
    values: Literal["ids", "raw"] = "ids"
    """What their pixels hold: class ids, or the labels' raw values."""


Images = Annotated[
    FileName | Annotated[tuple[FileName, ...], Field(min_length=1)],
    Expected("a path or pattern, or a list of one or more of them"),
]


def is_pattern(text: str) -> bool:
    """Tell whether a path holds wildcards."""
    return any(sign in text for sign in "*?[")


def fixed_folder(text: str) -> str:
    """Return a path, or what stands before the first folder or name with a wildcard."""
    parts = text.split("/")
    fixed = "/".join(takewhile(lambda part: not is_pattern(part), parts))
    return fixed or ("/" if text.startswith("/") else ".")


class Data(Section):
    """Images and masks on disk."""

    root: FileName = "."
    """Folder that the other paths start from, relative to the job file."""
    images: Images | None = None
    """Folder of the images, searched with all folders below it; or a pattern, such as "2019/**/*.jpg", where `*`, `?`
    and `[...]` stay within a name and `**` stands for any folders or none; or a list of folders and patterns. The
    names of tiles, and the paths of their masks, start from the deepest folder that holds all of these."""
    image_list: FileName | None = None
    """Text file of the images to use, one path a line, or each with a zero byte behind it as `find -print0` writes
    them; relative to `data.images`, or absolute. Relative to `data.root` itself."""
    masks: FileName | None = None
    """Folder of the ground truth masks."""
    labelled: FileName | None = None
    """In train jobs whose truth covers images only in part: folder of masks that are 0 where nobody labelled. Those
    pixels are ignored. Each mask is found by its image's (or truth's) path and name, any extension."""
    predictions: Predictions | None = None
    """Masks to evaluate, in a job of `kind: evaluate`."""
    pair: Pairing = Pairing()
    """How images find their masks."""
    split: Split | None = None
    """How tiles are divided into train, val and test."""
    part: Part | None = None
    """In predict and evaluate jobs: only this part of the split."""
    new_since: Literal["last"] | None = None
    """In train jobs that run again and again: tiles that the last training of this job had not are checked, every one,
    and where there are none there is nothing to do. It trains on all, old and new."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """Only this many tiles (of each part, when training), chosen by hash of their names: for a quick trial."""
    bands: Bands = 3
    """Bands of the images: 1, 3 or 4; any other number, up to 32, is read from (Geo)TIFF alone. Grey and palette
    pictures widen to three; alpha is dropped from four. A TIFF has as many bands as are said here, or alpha besides."""
    depth: Literal[8, 16] = 8
    """Bits of a band. 16-bit images are read from PNG and TIFF."""
    decode: Literal["accurate", "fast"] = "accurate"
    """JPEG decoding: `accurate` equals Pillow and libjpeg to the bit, `fast` saves a tenth of the time. Kept in the
    bundle, so that predict decodes as training did."""
    size: Size | None = None
    """Height and width that every tile has; tiles of another size are rejected. Defaults to any size."""

    def conflicts(self) -> Iterator[Conflict]:
        """A list or a table beside sources that are no single folder, or beside each other."""
        single = not isinstance(self.images, tuple) and not any(sign in (self.images or "") for sign in "*?")
        for key, what in (("image_list", "a list"), ("pair", "a table")):
            if not single and (self.image_list is not None if key == "image_list" else self.pair.by == "csv"):
                message = f"the paths of {what} start from one folder; `data.images` is a pattern or a list of sources"
                yield Conflict(("images",), message, ((key,),))
        if self.image_list is not None and self.pair.by == "csv":
            message = "the table names the images already; leave `image_list` out, or pair by stem or suffix"
            yield Conflict(("image_list",), message, (("pair", "by"),))

    def image_sources(self) -> tuple[str, ...]:
        """Folders and patterns of the images; none where they were not named."""
        return self.images if isinstance(self.images, tuple) else (self.images,) if self.images is not None else ()
