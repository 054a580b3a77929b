"""What a predict or evaluate job says of masks and reports."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from segbatch.spec.data import Side
from segbatch.spec.model_name import is_model_name, parse_model_name
from segbatch.spec.section import Conflict, Expected, FileName, KeyPath, Section

Layout = Literal["mirror", "sharded", "tar"]
Count = Annotated[int, Field(ge=1)]
Limit = Annotated[
    Annotated[int, Field(ge=0)] | Annotated[float, Field(ge=0, lt=1)],
    Expected("a count of at least 0, or a share below 1"),
]

Probability = Annotated[float, Field(gt=0, lt=1)]
Threshold = Annotated[Probability | Literal["best_iou"], Expected("a number above 0 and below 1, or best_iou")]


def _no_truth_value(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("true and false are no numbers of pixels")
    return value


def _bits(value: object) -> object:
    """Turn what a reference to the environment gives into a number."""
    return int(value) if value in ("8", "16") else value  # type: ignore[call-overload]


Pixels = Annotated[int, BeforeValidator(_no_truth_value), Field(ge=1)]
MinRegion = Annotated[
    Pixels | dict[str, Pixels],
    Expected("a number of pixels, or a mapping of classes to numbers of pixels such as {building: 20}"),
]
FillHoles = Annotated[
    Pixels | dict[str, Pixels | Literal["all"]],
    Expected("a number of pixels, or a mapping of classes to numbers of pixels, or to all, such as {building: all}"),
]


class TrainedModel(Section):
    """The model to predict with; a plain path stands for `{bundle: path}`."""

    bundle: FileName
    """Bundle folder of a train run (`.../model`), a registered model (`forest@champion`, `forest@2026-11-20`), or a
    Keras file (`.keras`, `.h5`) with the job's own labels."""
    normalize: Literal["unit", "imagenet"] = "unit"
    """For Keras files, which do not say: how their inputs were normalised. `unit`: 0 to 1. `imagenet`: that minus
    ImageNet's mean, over its deviation."""
    output: Literal["auto", "logits", "probabilities"] = "auto"
    """For Keras files: what they give. `auto` looks at the last activation."""

    def conflicts(self) -> Iterator[Conflict]:
        """What looks like a registered model's name and is none."""
        yield from wrong_model_name(("bundle",), self.bundle)


def wrong_model_name(key: KeyPath, text: str) -> Iterator[Conflict]:
    """Yield a conflict where a text looks like a registered model's name and is none."""
    if is_model_name(text) and parse_model_name(text) is None:
        message = (
            f"expected a registered model such as forest@champion or forest@2026-11-20, received {text!r}; "
            "before a folder whose name has an @ goes ./"
        )
        yield Conflict(key, message)


class Predict(Section):
    """How masks are made."""

    fit: Literal["resize", "window"] = "resize"
    """`resize`: the whole tile is brought to the network's size and the result back. `window`: overlapping windows at
    native resolution, blended."""
    window: Side | None = None
    """With `fit: window`: side of a window in pixels. Defaults to the network's input size."""
    overlap: Limit = 0.25
    """With `fit: window`: overlap of neighbours, in pixels or as a share of the window."""
    batch_size: Count = 16
    """Tiles (or windows) in one forward pass; the last batch is padded to this size."""
    test_time_augmentation: tuple[Literal["flips", "quarter_turns"], ...] = ()
    """Views of each tile (or window) whose probabilities are averaged before the decision. `flips`: as it is, mirrored,
    upside down, and both; `quarter_turns`: turned by 0, 90, 180 and 270 degrees; both: all 8. The network runs once for
    each view. Quarter turns need a network with a square input, or `fit: window`."""
    threshold: Threshold | None = None
    """For two classes: probability from which a pixel is the second class. `best_iou`: the one that training chose on
    validation data, refused where the bundle has none. Defaults to the bundle's, which is that one where it has one."""
    thresholds: dict[str, Probability] = {}
    """Probability that a class needs, by its name; classes not named share evenly what is left to 1. A pixel becomes
    the class whose probability, divided by its threshold, is the largest: no class is chosen below its own threshold,
    and of two classes `{second: t}` means `threshold: t`."""
    fill_holes: FillHoles | None = None
    """Holes of up to this many pixels become the class around them: pixels of other classes, connected by their sides,
    wholly inside one class and away from the tile's edges. A number counts for every class, so that small islands go
    as well; `{building: 50}` or `{building: all}` for holes in one class alone. Done on the finished mask."""
    min_region: MinRegion | None = None
    """Smaller regions (pixels of one class, connected by their sides) become the neighbouring class with which they
    share the longest border. A number counts for every class; `{building: 20}` for one alone. Done after `fill_holes`;
    what a tile's edge cuts off is not seen."""
    values: Literal["ids", "raw"] = "ids"
    """What mask pixels hold: class ids, or the first raw value of each class (0 and 255 for `buildings`)."""
    palette: bool = True
    """Write palette PNGs, which show the classes' colours in any viewer; their pixels hold the same numbers."""
    layout: Layout = "mirror"
    """Where masks go. `mirror`: a file each, in the images' own folders. `sharded`: a file each, numbered as in the
    tile list, at most 1,000 in a folder. `tar`: archives of 10,000 masks each under the images' names, a pack that
    `data.predictions` and `data.masks` take as a folder. For `sharded` and `tar`, report/masks.csv says where."""
    probabilities: Annotated[bool | Literal[8, 16], BeforeValidator(_bits), Expected("true, false, 8 or 16")] = False
    """Also write PNGs of the probability (of the second class, or of the chosen class): times 255 in 8 bits (or true),
    times 65535 in 16. They show what the network says, before holes and small regions are dealt with."""
    shard_size: Count | None = None
    """Tiles in one task, rounded up to whole batches. Defaults to the tiles divided by `tasks`."""
    tasks: Count | Literal["auto"] = 1
    """Number of tasks that share the tiles. `auto`: as many as make each last about half of `resources.time`, or half
    an hour where the job does not say it. How fast the model is was measured by `segbatch bench JOB --save`; where
    that was not done, a pilot measures it first, on the first tiles and where tasks run."""
    concurrency: Count | None = None
    """Tasks at once on a cluster, at most. Defaults to as many as it gives."""
    max_rejected: Limit | None = None
    """Unreadable tiles that a task may leave out before it stops: a count, or a share below 1. Defaults to no limit."""
    readers: Count | None = None
    """Tiles read and decoded at once. Defaults to the processors of the task."""
    writers: Count | None = None
    """Threads that compress and write masks. Defaults to 2."""
    engine: Literal["auto", "tensorflow", "openvino", "onnxruntime"] = "auto"
    """What runs the network. `auto`: what `segbatch bench JOB --save` measured fastest on this kind of node, of those
    whose masks differ from TensorFlow's in at most one of 10,000 pixels; without measurements TensorFlow. A run keeps
    the engine that its first task took."""

    def conflicts(self) -> Iterator[Conflict]:
        """Window keys without windows, an overlap that leaves no step, two ways of cutting up the work or deciding."""
        if self.fit != "window":
            for key in self.given("window", "overlap"):
                yield Conflict((key,), f"`{key}` needs `fit: window`", (("fit",),))
        elif self.window is not None and self.overlap >= self.window:
            message = f"expected an overlap below the window's {self.window} pixels, received {self.overlap}"
            yield Conflict(("overlap",), message, (("window",), ("fit",)))
        if self.layout == "tar" and self.probabilities:
            message = "`probabilities` are written as files; expected `layout: mirror` or `sharded` with them"
            yield Conflict(("probabilities",), message, (("layout",),))
        if len(self.given("shard_size", "tasks")) == 2:
            message = "`shard_size` and `tasks` both say how the tiles are cut up; keep one of them"
            yield Conflict(("shard_size",), message, (("tasks",),))
        if self.threshold is not None and self.thresholds:
            message = "`threshold` and `thresholds` both say when a class is chosen; keep one of them"
            yield Conflict(("threshold",), message, (("thresholds",),))
        if sum(self.thresholds.values()) >= 1:
            message = (
                f"expected thresholds that sum to less than 1, received {sum(self.thresholds.values()):g}; "
                "the classes not named share what is left"
            )
            yield Conflict(("thresholds",), message)
        for position, name in enumerate(self.test_time_augmentation):
            if name in self.test_time_augmentation[:position]:
                yield Conflict(("test_time_augmentation", position), f"{name} is given twice")

    @property
    def probability_bits(self) -> Literal[0, 8, 16]:
        """Bits of a probability that is written; 0 for none."""
        return 8 if self.probabilities is True else self.probabilities or 0


class Report(Section):
    """What a report shows."""

    pictures: Annotated[int, Field(ge=0, le=100)] = 6
    """Best and worst tiles shown as pictures, each."""
