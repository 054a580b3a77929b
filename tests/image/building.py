"""Images, built as people build them: by docker/build.py."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.image.machine import TOOLS, TOP, Place
from tests.image.site_words import pip_settings

PLANTED_HOST = "packages.image-test.invalid"
"""A host in the settings of pip that every build of the test is given; no image may know it."""

REVISION, EPOCH = "image-test", "1767225600"
"""Given instead of the commit's, since one may be made while the test builds."""


@dataclass(frozen=True)
class Image:
    """An image in the test's store, and its files as layers."""

    place: Place
    tag: str
    requirements: str
    base: str

    @property
    def name(self) -> str:
        """Part of file names."""
        return self.tag.rpartition("/")[2].replace(":", "-")

    def build(self, *options: str | Path) -> str:
        """Build it, and return what the build printed."""
        words = ["--engine", "buildah", "--base", self.base, "--requirements", self.requirements, "--tag", self.tag]
        words += ["--revision", REVISION]
        parts = self.place.folder / f"{self.name}.cdx.json"
        command = [sys.executable, TOP / "docker/build.py", *words, "--parts", parts, "--tools", TOOLS, *options]
        trusted = f"{pip_settings().get('trusted-host', '')} {PLANTED_HOST}"
        return self.place.run(*command, PIP_TRUSTED_HOST=trusted, SOURCE_DATE_EPOCH=EPOCH)

    @property
    def parts(self) -> dict[str, Any]:
        """The list of parts that the build wrote."""
        found: dict[str, Any] = json.loads((self.place.folder / f"{self.name}.cdx.json").read_text())
        return found

    @property
    def identity(self) -> str:
        """The image's id."""
        form = "{{.FromImageID}}"
        return self.place.run("buildah", "inspect", "--type", "image", "--format", form, self.tag).strip()

    @cached_property
    def layout(self) -> Path:
        """The image as a folder in OCI layout, which anyone may read."""
        folder = self.place.folder / f"layout-{self.name}"
        self.place.run("buildah", "push", "--quiet", "--disable-compression", self.tag, f"oci:{folder}:test")
        for path in folder.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        return folder

    def _blob(self, digest: str) -> Path:
        return self.layout / "blobs" / digest.replace(":", "/")

    @cached_property
    def _manifest(self) -> dict[str, Any]:
        index = json.loads((self.layout / "index.json").read_text())
        found: dict[str, Any] = json.loads(self._blob(index["manifests"][0]["digest"]).read_text())
        return found

    @cached_property
    def description(self) -> str:
        """The image's configuration and history, as text."""
        return self._blob(self._manifest["config"]["digest"]).read_text()

    @cached_property
    def config(self) -> dict[str, Any]:
        """How the image wants to be run."""
        found: dict[str, Any] = json.loads(self.description)["config"]
        return found

    @cached_property
    def layers(self) -> list[Path]:
        """Tar files of the image's layers, the base's first."""
        return [self._blob(layer["digest"]) for layer in self._manifest["layers"]]

    def run(self, *arguments: str, options: tuple[str | Path, ...] = (), check: bool = True) -> str:
        """Run it in the strictest way: a root that is read only, no network, no capability, no new privilege."""
        strict = ["--read-only", "--tmpfs", "/tmp", "--network", "none", "--cap-drop", "all"]
        strict += ["--security-opt", "no-new-privileges"]
        return self.place.run("podman", "run", "--rm", *strict, *options, self.tag, *arguments, check=check)
