"""Names for encoders, decoders and architectures, and what each of them must offer."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import keras

from segbatch.errors import InputError
from segbatch.spec.data import Size
from segbatch.spec.network import Model

T = TypeVar("T")


class Registry(Generic[T]):
    """Things of one kind, each under a name.

    Args:
        kind: what they are, as users call it: "encoder".
        load: called when a name is not found, before giving up; it may register more.
    """

    def __init__(self, kind: str, load: Callable[[], None] | None = None) -> None:
        self.kind = kind
        self._load = load
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorate a class or function to make it known as `name`.

        Raises:
            ValueError: the name is taken.
        """

        def add(entry: T) -> T:
            if name in self._entries:
                raise ValueError(f"{self.kind} {name!r} is registered already, by {self._entries[name]!r}")
            self._entries[name] = entry
            return entry

        return add

    def get(self, name: str) -> T:
        """Return what is registered under `name`.

        Raises:
            InputError: nothing is; the message names what is there.
        """
        if name not in self._entries and self._load is not None:
            self._load()
        if name not in self._entries:
            raise InputError(f"model.{self.kind}: {self._unknown(name)}")
        return self._entries[name]

    def names(self) -> list[str]:
        """Return all names, sorted."""
        if self._load is not None:
            self._load()
        return sorted(self._entries)

    def _unknown(self, name: str) -> str:
        names = self.names()
        close = difflib.get_close_matches(name, names, n=1)
        guess = f" Did you mean {close[0]!r}?" if close else ""
        return f"unknown {self.kind} {name!r}.{guess} Expected one of: {', '.join(names) or '(none registered)'}."


@dataclass(frozen=True)
class Published:
    """A weights file that Keras publishes."""

    name: str
    """File name, the one that Keras caches it under."""
    url: str
    """Where it is fetched from."""
    bands: int = 3
    """Bands of the images it was trained on."""


class Encoder(Protocol):
    """A classification network whose inner features a decoder works with."""

    multiple: int
    """Height and width of the input must be multiples of this."""
    taps: tuple[str, ...]
    """Layers whose outputs go to the decoder, finest first, each half as high and wide as the one before. The last one
    is the bottom, at 1/`multiple`; the first is at the input's own height and width or at half of them."""

    def backbone(self, bands: int) -> keras.Model:
        """Return the network with random weights, up to and including the last layer of its weights files.

        Its input is float32 (B, any, any, bands), 0 to 1.
        """

    def published(self, size: Size) -> Published | None:
        """Return the ImageNet weights that suit an input of this height and width, or None where there are none."""


class Decoder(Protocol):
    """Brings an encoder's features back to the input's height and width."""

    def __call__(
        self, features: Sequence[keras.KerasTensor], channels: int, model: Model, stride: int
    ) -> keras.KerasTensor:
        """Return logits.

        Args:
            features: (B, h, w, any), finest first, each half as high and wide as the one before.
            channels: channels of the result.
            model: the job's `model` section, for the settings that are the decoder's own.
            stride: of the first features: 1 where they have the input's height and width, 2 where they have half.

        Returns:
            float32 (B, height, width, channels).
        """


class Architecture(Protocol):
    """A whole network, made from the job's `model` section."""

    def multiple(self, model: Model) -> int:
        """Return what height and width must be multiples of inside the network; other inputs are padded to it.

        Raises:
            InputError: a setting that it needs is missing or unknown.
        """

    def connect(self, model: Model, inputs: keras.KerasTensor, channels: int) -> keras.KerasTensor:
        """Return logits, float32 (B, height, width, channels), of inputs, float32 (B, height, width, bands), 0 to 1.

        Raises:
            InputError: the settings cannot be met.
        """


def load_builtin() -> None:
    """Import every file of this package, so that each registers what it holds."""
    package = importlib.import_module("segbatch.models")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")


ENCODERS: Registry[type[Encoder]] = Registry("encoder", load_builtin)
DECODERS: Registry[Decoder] = Registry("decoder", load_builtin)
ARCHITECTURES: Registry[type[Architecture]] = Registry("architecture", load_builtin)
