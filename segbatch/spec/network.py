"""What a train job says of the network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from segbatch.spec.data import Size
from segbatch.spec.normalization import Normalize
from segbatch.spec.problems import listed
from segbatch.spec.section import Conflict, Expected, FileName, KeyPath, Section

Count = Annotated[int, Field(ge=1)]

EFFICIENTNETS = tuple(f"efficientnet_b{number}" for number in range(8))
ENCODERS = (*EFFICIENTNETS, "mobilenet_v2", "resnet50", "vgg16")
DECODERS = ("pix2pix", "unet")
ON_ENCODERS = ("deeplab_v3_plus", "encoder_decoder", "fpn")
"""Architectures that work with the features of an encoder."""
WHOLE = ("segnet", "unet")
"""Architectures of their own."""
ARCHITECTURES = (*ON_ENCODERS, *WHOLE)

_SHAPE = ("filters", "depth", "dropout", "norm", "upsampling")
"""Keys that shape a network, and below who takes which of them."""
_TAKES: dict[str, tuple[str, ...]] = {
    "the architecture unet": _SHAPE,
    "the architecture segnet": ("filters", "depth", "dropout", "norm"),
    "the architecture deeplab_v3_plus": ("filters", "dropout", "norm"),
    "the architecture fpn": ("filters", "dropout"),
    "the decoder unet": ("filters", "dropout", "norm", "upsampling"),
    "the decoder pix2pix": (),
}


class Model(Section):
    """The network to train."""

    architecture: Annotated[str, Field(examples=list(ARCHITECTURES))] | None = None
    """Registered architecture: `unet`, `segnet`, or on an encoder `encoder_decoder`, `deeplab_v3_plus` or `fpn`.
    Defaults to `encoder_decoder` when `encoder` is given, else `unet`."""
    encoder: Annotated[str, Field(examples=list(ENCODERS))] | None = None
    """Registered encoder: `mobilenet_v2`, `vgg16`, `resnet50`, or `efficientnet_b0` to `efficientnet_b7`."""
    decoder: Annotated[str, Field(examples=list(DECODERS))] | None = None
    """`encoder_decoder`: registered decoder, `pix2pix` or `unet`. Defaults to `pix2pix`."""
    weights: Annotated[FileName, Expected("`imagenet` or the path of a weights file")] | None = None
    """Weights of the encoder: `imagenet`, a `.keras` or `.weights.h5` file, or nothing for random weights."""
    freeze: bool = False
    """Keep the encoder's weights as they are."""
    fine_tune_from: Annotated[str, Field(min_length=1)] | None = None
    """Layer of the encoder, by its name in Keras, such as `block_13_expand`: weights before it stay as they are."""
    input: Size = (128, 128)
    """Height and width the network works at; sides that it cannot halve often enough are padded inside it."""
    resize: Literal["bilinear", "area", "lanczos3"] = "bilinear"
    """How images are brought to the input size; masks always use the nearest pixel."""
    normalize: Normalize = "unit"
    """How pixel values become the network's input. `unit`: divided by the largest the type can hold, giving 0 to 1.
    `standardize`: then minus each band's mean, over its deviation. `standardize_image`: minus the mean image, pixel by
    pixel, over one deviation for all. `imagenet`: minus ImageNet's mean, over its deviation, for 3 bands. Means and
    deviations are those of the training part alone, and are kept in the bundle."""
    filters: Count | None = None
    """Filters of the first level, which further levels double (`unet`, `segnet`: 64; decoder `unet`: 16, at full
    size), or of all layers on the encoder (`deeplab_v3_plus`: 256; `fpn`: 128)."""
    depth: Annotated[int, Field(ge=1, le=8)] | None = None
    """Number of times the picture is halved (`unet`: 4; `segnet`: 5)."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of activations dropped: after each pooling and upsampling, in `deeplab_v3_plus` and `fpn` near the end."""
    norm: Literal["batch", "group", "layer", "none"] = "batch"
    """Normalisation of activations; `group` and `layer` do not depend on the batch size."""
    upsampling: Literal["transpose", "bilinear", "nearest"] = "transpose"
    """`unet`: how the picture is doubled: a transposed convolution, or a resize and a convolution."""

    @property
    def chosen(self) -> str:
        """Name of the architecture, where none is given the one that the other keys ask for."""
        return self.architecture or ("encoder_decoder" if self.encoder else "unet")

    @property
    def chosen_decoder(self) -> str:
        """Name of the decoder, where the architecture has one."""
        return self.decoder or "pix2pix"

    def conflicts(self) -> Iterator[Conflict]:
        """Keys of one architecture given to another; names that are not built in are left to their own makers."""
        needs: tuple[KeyPath, ...] = (("architecture",), ("encoder",))
        if self.chosen in ON_ENCODERS and self.encoder is None:
            message = f"the architecture {self.chosen} needs an `encoder`, such as mobilenet_v2"
            yield Conflict(("architecture",), message, needs)
        elif self.chosen in WHOLE and self.encoder is not None:
            message = (
                f"the architecture {self.chosen} has no `encoder`; leave out `architecture`, or say encoder_decoder"
            )
            yield Conflict(("encoder",), message, needs)
        if self.weights == "imagenet" and self.normalize != "unit":
            message = "encoders bring 0 to 1 to what their ImageNet weights expect themselves; leave out `normalize`"
            yield Conflict(("normalize",), message, (("weights",),))
        yield from self._shape_conflicts((*needs, ("decoder",)))
        if self.encoder is None and self.chosen in ARCHITECTURES:
            for key in [*self.given("decoder", "weights", "fine_tune_from"), *(["freeze"] if self.freeze else [])]:
                yield Conflict((key,), f"`{key}` needs an `encoder`, such as mobilenet_v2", needs)
        elif self.decoder is not None and self.chosen in ARCHITECTURES and self.chosen != "encoder_decoder":
            message = f"`decoder` belongs to the architecture encoder_decoder, not to {self.chosen}"
            yield Conflict(("decoder",), message, needs)
        if self.freeze and self.fine_tune_from is not None:
            message = "`freeze` keeps the whole encoder as it is; leave out one of `freeze` and `fine_tune_from`"
            yield Conflict(("fine_tune_from",), message, (("freeze",),))

    def _shape_conflicts(self, needs: tuple[KeyPath, ...]) -> Iterator[Conflict]:
        joined = self.chosen == "encoder_decoder"
        part = f"the decoder {self.chosen_decoder}" if joined else f"the architecture {self.chosen}"
        for key in self.given(*_SHAPE) if part in _TAKES else ():
            if key not in _TAKES[part]:
                owners = [owner for owner, keys in _TAKES.items() if key in keys]
                yield Conflict((key,), f"`{key}` belongs to {listed(owners, 'or')}, not to {part}", needs)
