"""Streams: batches are fixed ranges of the list whatever fails; samples depend on their arguments alone."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from segbatch.data.decode import ImageFormat
from segbatch.data.streams import epoch_order, sample_stream
from segbatch.data.tile_stream import TileStream
from segbatch.spec.augmentation import AugmentStep
from tests.support.labels import TWO_CLASSES
from tests.support.traps import write_traps

pytestmark = pytest.mark.tensorflow

FORMAT = ImageFormat(3, 8, "accurate")
TABLE = TWO_CLASSES.raw_to_index()
FLIPS = [AugmentStep(op="flip_left_right"), AugmentStep(op="flip_up_down")]


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[bytes, bytes]]:
    """Twelve tiles; every fourth cannot be read. An image's red is its mask."""
    folder = tmp_path_factory.mktemp("ti les,")
    rng = np.random.default_rng(0)
    pairs = []
    for number in range(12):
        truth = rng.integers(0, 2, (6, 6), dtype=np.uint8)
        pixels = np.stack([truth * 255, np.full_like(truth, number), truth], -1)
        image, mask = folder / f"{number}\n'.png", folder / f"{number}-mask.png"
        Image.fromarray(pixels).save(image)
        Image.fromarray(truth).save(mask)
        if number % 4 == 3:
            image.write_bytes(image.read_bytes()[:40])
        pairs.append((os.fsencode(image), os.fsencode(mask)))
    return pairs


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chosen=st.lists(st.integers(-1, 11), min_size=1, max_size=12), batch=st.sampled_from([1, 3, 4]))
def test_a_slot_never_moves(tiles: list[tuple[bytes, bytes]], chosen: list[int], batch: int) -> None:
    chosen += [-1] * (-len(chosen) % batch)
    slots = [(number, *tiles[number]) if number >= 0 else (-1, b"", b"") for number in chosen]
    batches = list(TileStream(slots, FORMAT, TABLE, batch_size=batch, readers=3))
    assert [number for found in batches for number in found["index"].numpy().tolist()] == chosen
    sizes = np.concatenate([found["size"].numpy() for found in batches])
    for number, (height, width), position in zip(chosen, sizes.tolist(), range(len(chosen)), strict=True):
        readable = number >= 0 and number % 4 != 3
        assert (height, width) == ((6, 6) if readable else (0, 0))
        if readable:
            found, slot = batches[position // batch], position % batch
            assert (found["image"].numpy()[slot, :6, :6, 1] == number).all()
            assert np.array_equal(found["truth"].numpy()[slot, :6, :6] * 255, found["image"].numpy()[slot, :6, :6, 0])


def test_a_folder_of_traps_harms_no_good_tile(tmp_path: Path) -> None:
    traps = write_traps(tmp_path)
    slots = [(n, os.fsencode(tmp_path / trap.name), b"") for n, trap in enumerate(traps)]
    slots += [(-1, b"", b"")] * (-len(slots) % 4)
    batches = list(TileStream(slots, FORMAT, None, batch_size=4, readers=2))
    for number, trap in enumerate(traps):
        found, slot = batches[number // 4], number % 4
        height, width = found["size"].numpy()[slot]
        assert bool(trap.reason) == (height == 0), trap.name
        if not trap.reason:
            assert np.array_equal(found["image"].numpy()[slot, :height, :width], trap.expected), trap.name


def test_tiles_of_another_size_than_declared_are_blank(tmp_path: Path) -> None:
    for number, side in enumerate((8, 9)):
        Image.new("RGB", (side, side)).save(tmp_path / f"{number}.png")
    slots = [(n, os.fsencode(tmp_path / f"{n}.png"), b"") for n in range(2)]
    found = next(iter(TileStream(slots, FORMAT, None, batch_size=2, readers=1, size=(8, 8))))
    assert found["size"].numpy().tolist() == [[8, 8], [0, 0]]


def test_a_tile_whose_mask_does_not_fit_is_blank_and_sizes_may_differ(tmp_path: Path) -> None:
    """Pixels beyond a tile are zero, and truth there is ignored."""
    slots = []
    for number, (image, mask) in enumerate([((3, 5), (3, 5)), ((4, 2), (4, 3)), ((2, 6), None)]):
        Image.new("RGB", image[::-1], (9, 9, 9)).save(tmp_path / f"{number}.bmp")
        if mask is not None:
            Image.new("L", mask[::-1], 1).save(tmp_path / f"{number}-mask.png")
        mask_path = os.fsencode(tmp_path / f"{number}-mask.png") if mask is not None else b""
        slots.append((number + 70, os.fsencode(tmp_path / f"{number}.bmp"), mask_path))
    (found,) = TileStream([*slots, (-1, *slots[0][1:])], FORMAT, TABLE, batch_size=4, readers=2)
    image, truth, size = found["image"].numpy(), found["truth"].numpy(), found["size"].numpy()
    assert found["index"].numpy().tolist() == [70, 71, 72, -1]
    assert size.tolist() == [[3, 5], [0, 0], [2, 6], [0, 0]]
    assert image.shape == (4, 3, 6, 3)
    for slot, (height, width) in enumerate(size):
        inside = np.zeros((3, 6), bool)
        inside[:height, :width] = True
        assert (image[slot] == np.where(inside, 9, 0)[..., None]).all()
        assert (truth[slot] == np.where(inside & (slot == 0), 1, 255)).all()


@pytest.mark.parametrize(("batch", "size"), [(1, None), (3, None), (3, (5, 4))])
def test_batches_of_nothing_are_pictures_still(batch: int, size: tuple[int, int] | None) -> None:
    slots = [(n, b"/nowhere/at all.png", b"") for n in range(6)]
    stream = TileStream(slots, FORMAT, None, batch_size=batch, readers=2, size=size)
    assert len(stream) == 6 // batch
    height, width = size or (1, 1)
    for found in stream:
        assert found["image"].shape == (batch, height, width, 3)
        assert not found["size"].numpy().any()
        assert (found["truth"].numpy() == 255).all()
    assert list(TileStream([], FORMAT, None, batch_size=4, readers=2)) == []
    with pytest.raises(ValueError, match="expected a multiple of 4 slots, received 6"):
        TileStream(slots, FORMAT, None, batch_size=4, readers=2)


@pytest.mark.parametrize("readers", [2, 64])
def test_readers_change_nothing(tiles: list[tuple[bytes, bytes]], readers: int) -> None:
    slots = [(n, *tiles[n]) for n in range(12)]
    expected, found = (
        [
            {key: part.numpy() for key, part in batch.items()}
            for batch in TileStream(slots, FORMAT, TABLE, batch_size=3, readers=number)
        ]
        for number in (1, readers)
    )
    for left, right in zip(expected, found, strict=True):
        assert all(np.array_equal(left[key], right[key]) for key in left)


def test_deep_tiles_stay_deep(tmp_path: Path) -> None:
    values = (np.arange(12).reshape(3, 4) * 5000).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    path = os.fsencode(tmp_path / "deep.png")
    (found,) = TileStream([(0, path, b""), (1, b"", b"")], ImageFormat(1, 16), None, batch_size=2, readers=1)
    assert np.array_equal(found["image"].numpy()[0, ..., 0], values)
    Image.fromarray(np.ones((3, 4), np.uint8)).save(tmp_path / "mask.png")
    pair = (path, os.fsencode(tmp_path / "mask.png"))
    stream = sample_stream(
        [pair],
        ImageFormat(1, 16),
        TABLE,
        order=np.array([0]),
        size=(3, 4),
        resize="bilinear",
        augment=[],
        batch_size=1,
        seed=0,
        epoch=0,
        readers=1,
    )
    (sample,) = stream
    assert np.array_equal(sample["image"].numpy()[0, ..., 0], values.astype(np.float32))


@pytest.mark.data
def test_real_tiles_come_as_pillow_reads_them(shared_data: Path) -> None:
    folder = shared_data / "aerial_buildings"
    names = sorted(path.name for path in (folder / "images").iterdir())[:: 840 // 24][:24]
    masks = [folder / "masks" / f"{Path(name).stem}.png" for name in names]
    slots = [(n, os.fsencode(folder / "images" / name), os.fsencode(masks[n])) for n, name in enumerate(names)]
    table = bytes([0, *[254] * 254, 1])
    for batch in TileStream(slots, FORMAT, table, batch_size=8, readers=2, size=(256, 256)):
        found = {key: part.numpy() for key, part in batch.items()}
        for slot, number in enumerate(found["index"].tolist()):
            pillow = np.asarray(Image.open(folder / "images" / names[number]).convert("RGB"))
            assert np.array_equal(found["image"][slot], pillow)
            assert np.array_equal(found["truth"][slot] * 255, np.asarray(Image.open(masks[number])))


def samples(tiles: list[tuple[bytes, bytes]], **changes: object) -> list[dict[str, np.ndarray]]:
    arguments: dict[str, object] = {
        "order": np.arange(len(tiles)),
        "size": (6, 6),
        "resize": "bilinear",
        "augment": FLIPS,
        "batch_size": 5,
        "seed": 1,
        "epoch": 0,
        "readers": 2,
    } | changes
    stream = sample_stream(tiles, FORMAT, TABLE, **arguments)  # type: ignore[arg-type]
    return [{key: value.numpy() for key, value in batch.items()} for batch in stream]


def test_image_and_mask_move_together_and_bad_samples_are_missing(tiles: list[tuple[bytes, bytes]]) -> None:
    batches = samples(tiles)
    assert [n for batch in batches for n in batch["index"].tolist()] == [0, 1, 2, 4, 5, 6, 8, 9, 10]
    for batch in batches:
        assert np.array_equal(batch["image"][..., 0], batch["truth"] * 255.0)


def test_flips_come_about_as_often_as_asked(tiles: list[tuple[bytes, bytes]]) -> None:
    """Drawn anew for each sample and epoch, not once when the graph is traced."""
    plain = np.concatenate([batch["truth"] for batch in samples(tiles, augment=[])])
    flipped = 0
    for epoch in range(20):
        found = samples(tiles, augment=FLIPS[:1], epoch=epoch)
        now = np.concatenate([batch["truth"] for batch in found])
        same = (now == plain).all(axis=(1, 2))
        mirrored = (now == plain[:, :, ::-1]).all(axis=(1, 2))
        assert (same | mirrored).all()
        flipped += int(mirrored.sum())
    assert 60 <= flipped <= 120, "180 draws of one half"


def test_a_sample_depends_on_seed_epoch_and_index_alone(tiles: list[tuple[bytes, bytes]]) -> None:
    whole = {n: t for b in samples(tiles) for n, t in zip(b["index"].tolist(), b["truth"], strict=True)}
    tail = samples(tiles, order=np.array([10, 4, 0]), readers=1, batch_size=1)
    assert [batch["index"].tolist() for batch in tail] == [[10], [4], [0]]
    for batch in tail:
        assert np.array_equal(batch["truth"][0], whole[int(batch["index"][0])])


def test_readers_batches_and_the_start_change_no_sample(tiles: list[tuple[bytes, bytes]]) -> None:
    order = epoch_order(12, 3, 4)
    whole = samples(tiles, order=order, epoch=4, readers=5, batch_size=12)[0]
    rest = samples(tiles, order=order[5:], epoch=4, readers=1, batch_size=2)
    for key, values in whole.items():
        tail = np.concatenate([batch[key] for batch in rest])
        assert np.array_equal(values[-len(tail) :], tail)
    assert [index for index in order.tolist() if index % 4 != 3] == whole["index"].tolist()


def test_samples_of_another_size_than_declared_are_missing(tiles: list[tuple[bytes, bytes]]) -> None:
    assert samples(tiles, tile_size=(6, 7)) == []
    assert len(samples(tiles, tile_size=(6, 6))) == 2


def test_the_order_is_the_same_everywhere() -> None:
    """Frozen: another order would make a resumed run see samples twice."""
    assert epoch_order(8, 0, 0).tolist() == [0, 1, 7, 5, 4, 3, 2, 6]
    assert epoch_order(0, 0, 0).tolist() == []
    first = [int(epoch_order(100, 7, epoch)[0]) for epoch in range(2000)]
    assert np.bincount(first, minlength=100).max() < 50, "20 expected, and 50 next to impossible"


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    assert sorted(epoch_order(50, 1, 2)) == list(range(50))
    assert np.array_equal(epoch_order(50, 1, 2), epoch_order(50, 1, 2))
    assert not np.array_equal(epoch_order(50, 1, 2), epoch_order(50, 1, 3))
    assert not np.array_equal(epoch_order(50, 1, 2), epoch_order(50, 2, 2))


def test_masks_are_resized_without_new_values_and_stay_aligned(tmp_path: Path) -> None:
    truth = np.kron([[0, 1], [1, 0]], np.ones((32, 32))).astype(np.uint8)
    Image.fromarray(np.stack([truth * 255] * 3, -1)).save(tmp_path / "i.png")
    Image.fromarray(truth).save(tmp_path / "m.png")
    pair = (os.fsencode(tmp_path / "i.png"), os.fsencode(tmp_path / "m.png"))
    for method in ("bilinear", "area", "lanczos3"):
        (batch,) = samples([pair], size=(16, 16), resize=method, augment=[])
        assert np.array_equal(batch["truth"][0], batch["image"][0, ..., 0] > 127)
