"""TIFF files of any number of bands: exactly what was written, or refused with its reason."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from segbatch.cli import cli
from segbatch.data.faults import PictureError
from segbatch.data.formats import ImageFormat
from segbatch.data.lint import lint
from segbatch.data.pictures import open_picture, raw_mask, shown_values, to_bands
from segbatch.data.rasters import need_rasterio, read_raster
from segbatch.data.reasons import READABLE_NOW, explain
from segbatch.errors import InputError
from segbatch.spec.job import KINDS
from tests.support.labels import TWO_CLASSES
from tests.support.tiffs import make_band_tiles, write_tiff
from tests.support.worlds import write_job

pytestmark = pytest.mark.usefixtures("rasterio")
SIX = ImageFormat(6, 16)


def noise(bands: int, kind: str = "uint16", size: tuple[int, int] = (20, 17)) -> np.ndarray:
    values = np.iinfo(kind)
    return np.random.default_rng(1).integers(values.min, values.max, (*size, bands), kind, endpoint=True)


@pytest.mark.parametrize("kind", ["uint8", "uint16"])
@pytest.mark.parametrize("bands", [1, 2, 3, 4, 6, 13, 32])
def test_what_was_written_is_read(tmp_path: Path, bands: int, kind: str) -> None:
    pixels = noise(bands, kind)
    raster = read_raster(write_tiff(tmp_path / "x.tif", pixels).read_bytes())
    assert raster.values.dtype == pixels.dtype
    assert np.array_equal(raster.values, pixels)
    assert (raster.size, raster.bits) == ((17, 20), 8 * pixels.itemsize)
    assert np.array_equal(to_bands(raster, bands), pixels)


@pytest.mark.parametrize(
    "options",
    [
        {"interleave": "band", "compress": "lzw", "predictor": 2},
        {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "deflate"},
        {"BIGTIFF": "YES"},
        {"ENDIANNESS": "BIG"},
        {"nodata": 7, "crs": "EPSG:32633"},
    ],
    ids=str,
)
def test_in_any_layout(tmp_path: Path, options: dict[str, Any]) -> None:
    pixels = noise(6)
    assert np.array_equal(read_raster(write_tiff(tmp_path / "x.tif", pixels, **options).read_bytes()).values, pixels)


@pytest.mark.data
@pytest.mark.parametrize("name", ["RGB.byte.tif", "cogeo.tif"])
def test_real_files(shared_data: Path, rasterio: Any, name: str) -> None:
    path = shared_data / "geotiff" / name
    with rasterio.open(path) as file:
        wanted = np.moveaxis(file.read(), 0, -1)
    assert np.array_equal(to_bands(open_picture(path.read_bytes()), 3), wanted)
    assert explain(path, None, ImageFormat(), None) == READABLE_NOW


def test_alpha_is_left_out_and_no_other_band(tmp_path: Path) -> None:
    pixels = noise(4, "uint8")
    with_alpha = write_tiff(tmp_path / "a.tif", pixels, photometric="RGB", alpha="yes")
    assert np.array_equal(to_bands(read_raster(with_alpha.read_bytes()), 3), pixels[..., :3])
    infrared = write_tiff(tmp_path / "b.tif", pixels, photometric="MINISBLACK", alpha="no")
    assert "4 bands of a TIFF, where the model takes 3" in explain(infrared, None, ImageFormat(3), None)
    assert np.array_equal(to_bands(read_raster(infrared.read_bytes()), 4), pixels)


@pytest.mark.parametrize(
    ("pixels", "said"),
    [
        (noise(5), "image of 5 bands of a TIFF, where the model takes 6"),
        (noise(6, "uint8"), "8-bit image, where the model takes 16 bits"),
        (noise(6, "int16"), "TIFF of int16 values; expected uint8 or uint16"),
        (noise(6).astype(np.float32), "TIFF of float32 values; expected uint8 or uint16"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_does_not_fit_is_refused_by_name(tmp_path: Path, pixels: np.ndarray, said: str) -> None:
    assert said in explain(write_tiff(tmp_path / "x.tif", pixels), None, SIX, None)


def test_pictures_have_no_six_bands(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "x.png")
    assert "3 bands (RGB), where the model takes 6" in explain(tmp_path / "x.png", None, ImageFormat(6), None)


@pytest.fixture(scope="module")
def tiff(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("tiff")
    return write_tiff(folder / "x.tif", noise(6), compress="deflate", interleave="band").read_bytes()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_cut_file_is_never_taken_for_whole(tiff: bytes, tmp_path: Path, share: float) -> None:
    content = tiff[: int(share * len(tiff))]
    path = tmp_path / "cut.tif"
    path.write_bytes(content)
    first, second = (explain(path, None, SIX, None) for _ in range(2))
    assert first != READABLE_NOW
    assert first == second, "reports of one run are the same to the byte"
    if content[4:]:
        assert f"damaged or truncated TIFF of {len(content):,} bytes: " in first


def test_masks_may_be_tiff(tmp_path: Path) -> None:
    mask = noise(1, "uint8") % 2
    path = write_tiff(tmp_path / "m.tif", mask)
    assert np.array_equal(raw_mask(open_picture(path.read_bytes())), mask[..., 0])
    for pixels, said in (
        (noise(1), "16-bit mask; expected 8 bits"),
        (noise(2, "uint8"), "mask of 2 bands"),
        (noise(3, "uint8"), "mask of colours"),
    ):
        with pytest.raises(PictureError, match=said):
            raw_mask(open_picture(write_tiff(path, pixels, photometric="MINISBLACK").read_bytes()))


def test_the_report_shows_tiffs(tmp_path: Path) -> None:
    pixels = noise(6)
    assert np.array_equal(shown_values(write_tiff(tmp_path / "x.tif", pixels)), pixels)


def train_job(root: Path, **data: Any) -> dict[str, Any]:
    places = {"root": str(root), "images": "images", "masks": "masks"}
    return {"kind": "train", "name": "x", "labels": TWO_CLASSES.model_dump(mode="json"), "data": places | data}


def test_check_looks_at_them(tmp_path: Path) -> None:
    make_band_tiles(tmp_path, 4)
    fitting = KINDS["train"].model_validate(train_job(tmp_path, bands=6, depth=16))
    assert lint(fitting, full=True, sample=1) == []
    other = KINDS["train"].model_validate(train_job(tmp_path, bands=5, depth=16))
    (found,) = lint(other, full=True, sample=1)
    assert (found.severity, found.count) == ("error", 4)
    assert found.message == "images of 6 bands of a TIFF (4), expected 5"


def test_without_rasterio_one_message_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ((path, _), *_) = make_band_tiles(tmp_path, 3)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "rasterio", None)
    (found,) = lint(KINDS["train"].model_validate(train_job(tmp_path, bands=6, depth=16)), full=True, sample=1)
    # Where tasks run there may be one.
    assert (found.severity, found.count) == ("warning", 3)
    assert "segbatch[geo]" in found.fix
    with pytest.raises(InputError, match="rasterio"):
        need_rasterio(6, [b"x"])
    with pytest.raises(InputError, match="rasterio"):
        need_rasterio(3, [b"x.png", b"y.TIFF"])
    need_rasterio(3, [b"x.png"])
    assert "segbatch[geo]" in explain(path, None, SIX, None)
    job = write_job(tmp_path / "job.yaml", **train_job(tmp_path, bands=6, depth=16))
    done = CliRunner().invoke(cli, ["submit", str(job), "--backend", "local"])
    assert "TIFF files, such as 00.tif, are read with rasterio" in str(done.exception)
    assert not list(tmp_path.glob("runs/*/*/run.json"))


@pytest.mark.parametrize(
    ("augment", "said"),
    [("basic", "`hue` is for images of 3 bands"), (["saturation"], "`saturation` is for images of 3 bands")],
)
def test_colour_changes_that_mean_nothing_are_refused(augment: Any, said: str, tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.yaml", **train_job(tmp_path, bands=6), augment=augment)
    done = CliRunner().invoke(cli, ["check", str(job), "--no-data"])
    assert said in str(done.exception)


@pytest.mark.parametrize("bands", [0, 33])
def test_numbers_of_bands_that_are_refused(bands: int, tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.yaml", **train_job(tmp_path, bands=bands))
    assert CliRunner().invoke(cli, ["check", str(job), "--no-data"]).exit_code != 0
