"""The registry's folders: the one place that knows their names, and what a version says of itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from segbatch.errors import InputError
from segbatch.spec.model_name import CHAMPION, is_plain_name
from segbatch.spec.section import Section

VERSION_FILE = "version.json"
SCHEMA_VERSION: Literal[1] = 1
RESERVED = (CHAMPION, "champions", "scores", "uses")
"""Names in a model's folder that are no versions."""


class ModelVersion(Section):
    """`version.json`: where a version comes from; written once, with the bundle beside it."""

    schema_version: Literal[1] = SCHEMA_VERSION
    model: str
    version: str
    created: str
    """UTC, ISO 8601."""
    digest: str
    """SHA-256 of the bundle, as `segbatch.runs.bundles.bundle_digest` gives it."""
    data_digest: str = ""
    """SHA-256 of what it was trained on; empty where that is not known."""
    parent: str = ""
    """The version that its training started from; empty where it started afresh."""
    run: str = ""
    """The train run that made it, as `job/run id`."""
    run_folder: str = ""
    scores: dict[str, Any] = {}
    """Figures of its training, by name; figures on a gate's holdout lie in `scores/`."""

    @property
    def name(self) -> str:
        """How jobs name the version."""
        return f"{self.model}@{self.version}"


@dataclass(frozen=True)
class ModelFolder:
    """Files of one model: `<registry>/<model>/`."""

    folder: Path

    @property
    def name(self) -> str:
        """The model's name."""
        return self.folder.name

    def version(self, name: str) -> Path:
        """A version's bundle."""
        return self.folder / name

    @property
    def link(self) -> Path:
        """A link to the champion for people and other programs; `events` has the word on which version it is."""
        return self.folder / CHAMPION

    @property
    def events(self) -> Path:
        """Folder of what happened to the champion: `00000001.json`, `00000002.json` and so on."""
        return self.folder / "champions"

    def event(self, number: int) -> Path:
        """One change of the champion."""
        return self.events / f"{number:08}.json"

    def scores(self, version: str) -> Path:
        """Folder of a version's figures, one file a holdout."""
        return self.folder / "scores" / version

    def uses(self, version: str) -> Path:
        """Folder of the runs that use a version, one file each."""
        return self.folder / "uses" / version

    def stored(self) -> Iterator[str]:
        """Yield the names of the versions that lie here, removed ones among them, unsorted."""
        if self.folder.is_dir():
            for entry in self.folder.iterdir():
                if entry.name not in RESERVED and is_plain_name(entry.name) and (entry / VERSION_FILE).is_file():
                    yield entry.name

    def unfinished(self) -> list[Path]:
        """Folders that were to become versions, or still are."""
        return [entry for entry in self.folder.glob(".*.tmp") if entry.is_dir() and not entry.is_symlink()]

    def read(self, version: str) -> ModelVersion:
        """Read what a version says of itself.

        Raises:
            InputError: it is damaged, or of another layout.
        """
        path = self.version(version) / VERSION_FILE
        try:
            return ModelVersion.model_validate(json.loads(path.read_bytes()))
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: not a registered version of layout {SCHEMA_VERSION}: {error}") from error


def registry_root(explicit: Path | None, job_says: str | None, site_says: str | None, runs_root: Path) -> Path:
    """Folder of the registry: what a command says, the job, the site, or `registry` beside the runs."""
    said = explicit or job_says or site_says
    return Path(said).absolute() if said else runs_root.absolute().parent / "registry"


@dataclass(frozen=True)
class Registry:
    """A folder of models and their versions."""

    root: Path

    def models(self) -> list[str]:
        """Names of the models, sorted."""
        if not self.root.is_dir():
            return []
        found = (entry for entry in self.root.iterdir() if is_plain_name(entry.name) and entry.is_dir())
        return sorted(entry.name for entry in found)

    def model(self, name: str) -> ModelFolder:
        """Files of one model, which need not exist.

        Raises:
            InputError: no model can have this name.
        """
        if not is_plain_name(name):
            raise InputError(
                f"{name!r} cannot name a model. Expected letters, digits, '.', '_' and '-', a letter or digit first."
            )
        return ModelFolder(self.root / name)
