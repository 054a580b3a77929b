"""Which paths a runtime can be told, and how."""

from __future__ import annotations

import re
from collections.abc import Iterable

from segbatch.cluster.containers.mounts import Mount
from segbatch.errors import InputError


def refuse_odd(mounts: Iterable[Mount]) -> None:
    """Refuse paths that no runtime takes: with control characters, or bytes that are no UTF-8.

    Raises:
        InputError: naming the first one.
    """
    for mount in mounts:
        for path in (mount.source, mount.target):
            if any(letter < " " or letter == "\x7f" for letter in path):
                raise refusal(mount, path, "container runtimes take no line breaks and control characters in paths")
            if any("\ud800" <= letter <= "\udfff" for letter in path):
                raise refusal(mount, path, "container runtimes take only UTF-8 in paths")


def refuse_unless(mounts: Iterable[Mount], letters: re.Pattern[str], why: str) -> None:
    """Refuse paths that do not match `letters` as a whole.

    Raises:
        InputError: naming the first one and `why`.
    """
    for mount in mounts:
        for path in (mount.source, mount.target):
            if not letters.fullmatch(path):
                raise refusal(mount, path, why)


def refusal(mount: Mount, path: str, why: str) -> InputError:
    """Say that a mount is impossible, and what to do."""
    return InputError(
        f"container: {path!r} ({mount.origin}) cannot be shown inside: {why}. "
        "Rename the folder, or choose another `container.runtime`."
    )


def as_fields(mount: Mount) -> str:
    """Write a mount as `--mount` of apptainer, podman and docker takes it: fields of one CSV line."""
    fields = ["type=bind", f"source={mount.source}", f"destination={mount.target}"]
    return ",".join(map(_field, fields if mount.writable else [*fields, "ro"]))


def _field(text: str) -> str:
    if "," not in text and '"' not in text:
        return text
    doubled = text.replace('"', '""')
    return f'"{doubled}"'
