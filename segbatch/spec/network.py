"""What a train job says of the network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from segbatch.spec.data import Size
from segbatch.spec.normalization import Normalize
from segbatch.spec.section import Conflict, Expected, FileName, Section

Count = Annotated[int, Field(ge=1)]


class Model(Section):
    """The network to train."""

    architecture: str | None = None
    """Registered architecture, such as `unet`. Defaults to `encoder_decoder` when `encoder` is given, else `unet`."""
    encoder: str | None = None
    """Registered encoder, such as `mobilenet_v2`."""
    decoder: str | None = None
    """Registered decoder, such as `pix2pix`. Defaults to `pix2pix` when `encoder` is given."""
    weights: Annotated[FileName, Expected("`imagenet` or the path of a weights file")] | None = None
    """Weights of the encoder: `imagenet`, a `.keras` or `.weights.h5` file, or nothing for random weights."""
    freeze: bool = False
    """Keep the encoder's weights as they are."""
    input: Size = (128, 128)
    """Height and width the network works at."""
    resize: Literal["bilinear", "area", "lanczos3"] = "bilinear"
    """How images are brought to the input size; masks always use the nearest pixel."""
    normalize: Normalize = "unit"
    """How pixel values become the network's input. `unit`: divided by the largest the type can hold, giving 0 to 1.
    `standardize`: then minus each band's mean, over its deviation. `standardize_image`: minus the mean image, pixel by
    pixel, over one deviation for all. `imagenet`: minus ImageNet's mean, over its deviation, for 3 bands. Means and
    deviations are those of the training part alone, and are kept in the bundle."""
    filters: Count = 64
    """`unet`: filters of the first level; each further level doubles them."""
    depth: Annotated[int, Field(ge=1, le=8)] = 4
    """`unet`: number of times the picture is halved."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """`unet`: share of activations dropped after each pooling and each upsampling."""

    @property
    def multiple(self) -> int | None:
        """What height and width of the input must be multiples of; None where only the network's maker knows."""
        if self.chosen == "unet":
            return 1 << self.depth
        return 32 if self.encoder == "mobilenet_v2" else None

    @property
    def chosen(self) -> str:
        """Name of the architecture, where none is given the one that the other keys ask for."""
        return self.architecture or ("encoder_decoder" if self.encoder else "unet")

    def conflicts(self) -> Iterator[Conflict]:
        """Keys of one architecture given to another; names that are not built in are left to their own makers."""
        needs = (("architecture",), ("encoder",))
        if self.chosen == "encoder_decoder":
            if self.encoder is None:
                message = "the architecture encoder_decoder needs an `encoder`, such as mobilenet_v2"
                yield Conflict(("architecture",), message, needs)
            for key in self.given("filters", "depth", "dropout"):
                yield Conflict((key,), f"`{key}` belongs to the architecture unet, not to encoder_decoder", needs)
        elif self.chosen == "unet" and self.encoder is not None:
            message = "the architecture unet has no `encoder`; leave out `architecture`, or say encoder_decoder"
            yield Conflict(("encoder",), message, needs)
        if self.multiple is not None and any(side % self.multiple for side in self.input):
            message = f"expected a height and width that are multiples of {self.multiple}, received {[*self.input]}"
            yield Conflict(("input",), message, (*needs, ("depth",)))
        if self.weights == "imagenet" and self.normalize != "unit":
            message = "encoders bring 0 to 1 to what their ImageNet weights expect themselves; leave out `normalize`"
            yield Conflict(("normalize",), message, (("weights",),))
        if self.encoder is None and self.chosen in ("unet", "encoder_decoder"):
            for key in [*self.given("decoder", "weights"), *(["freeze"] if self.freeze else [])]:
                yield Conflict((key,), f"`{key}` needs an `encoder`, such as mobilenet_v2", needs)
