"""What of this machine's pip settings a build needs: the site's package indexes and certificates, and nothing else."""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping
from pathlib import Path

WHERE_FROM = ("index-url", "extra-index-url", "find-links", "trusted-host", "proxy", "no-index", "timeout", "retries")
"""Settings of pip that say where packages come from."""
CERTIFICATES = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_FILES = ("/etc/pip.conf", "~/.pip/pip.conf", "~/.config/pip/pip.conf")


def pip_settings(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the settings of pip's files and variables, later ones over earlier ones as pip takes them."""
    found: dict[str, str] = {}
    for name in (*_FILES, environ.get("PIP_CONFIG_FILE", "")):
        parser = configparser.RawConfigParser(strict=False)
        if name and parser.read(Path(name).expanduser()):
            for section in ("global", "install"):
                if parser.has_section(section):
                    found |= dict(parser.items(section))
    for name, value in environ.items():
        if name.startswith("PIP_"):
            found[name.removeprefix("PIP_").lower().replace("_", "-")] = value
    return found


def pip_conf(settings: Mapping[str, str]) -> str:
    """Return a pip.conf for the inside of a build, without this machine's own files; empty if it says nothing."""
    lines = []
    for name in WHERE_FROM:
        words = settings.get(name, "").split()
        words = [word for word in words if not word.startswith(("/", ".", "~", "file:"))]
        if words:
            lines.append(f"{name} = {' '.join(words)}")
    return "\n".join(["[global]", *lines, ""]) if lines else ""


def certificates(settings: Mapping[str, str], environ: Mapping[str, str] = os.environ) -> Path | None:
    """Return the file of certificates that this machine trusts, if it has settings that name one."""
    named = [settings.get("cert", ""), *(environ.get(name, "") for name in CERTIFICATES)]
    return next((Path(name) for name in named if name and Path(name).is_file()), None)
