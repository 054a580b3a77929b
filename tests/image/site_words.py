"""What would give away where an image was built."""

from __future__ import annotations

import re
import socket
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

from tests.image.machine import TOP

sys.path.insert(0, str(TOP / "docker"))
from site_settings import certificates, pip_conf, pip_settings  # type: ignore[import-not-found]

_PLACES = ("index-url", "extra-index-url", "find-links", "trusted-host", "proxy")
_PUBLIC = ("https://pypi.org/simple", "https://pypi.org/simple/", "pypi.org", "files.pythonhosted.org")
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----\s+(.+?)\s+-----END", re.DOTALL)


def site_words() -> set[str]:
    """Return index addresses and proxies of pip's settings, this host's name and the checkout's folder."""
    found = {word for name in _PLACES for word in pip_settings().get(name, "").split()} - set(_PUBLIC)
    host = socket.gethostname()
    # A name such as `debian` proves nothing.
    if re.search(r"[\d.-]", host) and len(host) > 5 and host != "localhost":
        found.add(host)
    return found | {str(TOP)}


def certificates_of(base: Path) -> set[bytes]:
    """Return a line of each certificate that this machine trusts and the base does not: the site's own."""
    trusted = certificates(pip_settings())
    if trusted is None:
        return set()
    with tarfile.open(base) as files:
        known = {line for data in _bundles(files) for line in _lines(data)}
    known |= _lines(_certifi())
    return _lines(Path(trusted).read_bytes()) - known


def _bundles(files: tarfile.TarFile) -> Iterator[bytes]:
    for member in files:
        if member.isfile() and member.name.endswith((".crt", ".pem")):
            handle = files.extractfile(member)
            if handle:
                yield handle.read()


def _lines(data: bytes) -> set[bytes]:
    """Return the last whole line of each certificate, which is part of its signature."""
    return {body.split()[-2] for body in _CERTIFICATE.findall(data) if len(body.split()) > 1}


def _certifi() -> bytes:
    from pip._vendor import certifi

    return Path(certifi.where()).read_bytes()


__all__ = ["certificates", "certificates_of", "pip_conf", "pip_settings", "site_words"]
