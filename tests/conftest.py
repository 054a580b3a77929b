"""Fixtures that several test files share."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.support.needs import lacking

# A busy machine is no failure.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

REPO = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def repo() -> Path:
    """The checkout."""
    return REPO


@pytest.fixture(scope="session")
def shellcheck() -> Callable[[Path], None]:
    """Asserts that shellcheck finds nothing in a script."""
    if not shutil.which("shellcheck"):
        lacking("shellcheck is missing: apt-get install shellcheck")

    def check(path: Path) -> None:
        done = subprocess.run(["shellcheck", "--external-sources", path], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout

    return check


@pytest.fixture(scope="session")
def rasterio() -> Any:
    """The package, which reads and writes TIFF."""
    try:
        import rasterio
    except ImportError:
        lacking("rasterio is missing: pip install -e '.[dev]'")
    return rasterio


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real aerial tiles and street scenes: SEGBATCH_DATA, or shared/data beside the checkout.

    They may not be passed on with the project, so elsewhere than in CI a missing folder only skips the test.
    """
    folder = Path(os.environ.get("SEGBATCH_DATA") or REPO.parent / "shared" / "data")
    if not (folder / "aerial_buildings" / "metadata.csv").is_file():
        lacking(f"no example data in {folder}; set SEGBATCH_DATA")
    return folder


@pytest.fixture(autouse=True)
def _no_site(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the tester's own site file and runs folder out of the tests."""
    for name in ("SEGBATCH_SITE", "SEGBATCH_RUNS", "SEGBATCH_REGISTRY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path_factory.getbasetemp() / "home"))
