"""Augmentation: image and mask move as one, chances are drawn for each sample, and draws depend on their seed alone."""

from __future__ import annotations

import colorsys
import os
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, get_args

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from segbatch.data.augment import OPERATIONS, apply
from segbatch.data.formats import ImageFormat
from segbatch.data.order import epoch_key
from segbatch.data.streams import sample_stream
from segbatch.spec.augmentation import GEOMETRIC, AugmentStep, Op

pytestmark = pytest.mark.tensorflow

Change = Callable[[NDArray[Any], NDArray[Any], int, int], tuple[NDArray[Any], NDArray[Any]]]
SIDE = 48
CLASSES = 5
STEP = 40.0
"""Grey levels between classes, where an image shows its own mask."""
ALL = get_args(Op)
MOVES = sorted(GEOMETRIC)


@cache
def changer(steps: tuple[AugmentStep, ...], peak: float = 255.0) -> Change:
    """Run steps compiled, as training does, on arrays."""

    @tf.function(autograph=False)
    def compiled(image, truth, seed):
        return apply(steps, image, truth, seed, peak)

    def change(image, truth, epoch, index):
        seed = tf.constant([epoch_key(1, epoch), index], tf.int64)
        moved, mask = compiled(tf.constant(image, tf.float32), tf.constant(truth, tf.uint8), seed)
        return moved.numpy(), mask.numpy()

    return change


def always(*ops: str, **settings: Any) -> tuple[AugmentStep, ...]:
    return tuple(AugmentStep(op=op, p=1, **settings) for op in ops)


def blocks(seed: int, height: int = SIDE, width: int = SIDE) -> NDArray[np.uint8]:
    """A mask of squares of 12 pixels, one of them ignored already."""
    drawn = np.random.default_rng(seed).integers(0, CLASSES, (-(-height // 12), -(-width // 12)))
    drawn[0, 0] = 255
    return np.kron(drawn, np.ones((12, 12), int))[:height, :width].astype(np.uint8)


def shown(mask: NDArray[np.uint8], bands: int = 3) -> NDArray[np.float32]:
    """An image that tells its own mask."""
    return np.repeat(mask[..., None].astype(np.float32) * STEP, bands, -1)


def inside(mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Pixels whose neighbours, two to each side, are of their own class."""
    padded = np.pad(mask, 2, constant_values=255)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5))
    return (windows == mask[..., None, None]).all(axis=(2, 3)) & (mask != 255)


def places(height: int, width: int) -> NDArray[np.float32]:
    """An image whose bands are the column and the row of every pixel."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([columns, rows], -1).astype(np.float32)


def test_every_operation_of_a_job_is_known() -> None:
    assert set(ALL) == OPERATIONS


step_of = st.builds(
    lambda op, p, degrees, low, ratio, share: AugmentStep(
        op=op,
        p=p,
        **({"degrees": degrees} if op == "rotate" else {}),
        **({"range": (low, low * ratio)} if op == "zoom" else {}),
        **({"share": share} if op == "crop" else {}),
    ),
    st.sampled_from(MOVES),
    st.sampled_from([0.5, 1.0]),
    st.sampled_from([5.0, 45.0, 180.0]),
    st.sampled_from([0.7, 1.0, 1.5]),
    st.sampled_from([1.0, 1.5]),
    st.sampled_from([0.6, 0.95]),
)


@settings(max_examples=25)
@given(
    steps=st.lists(step_of, min_size=1, max_size=4).map(tuple),
    seed=st.integers(0, 10_000),
    bands=st.sampled_from([1, 3, 4, 6]),
)
def test_an_image_that_shows_its_mask_goes_on_showing_it(steps: tuple[AugmentStep, ...], seed: int, bands: int) -> None:
    """Whatever the moves, and however many: away from edges that are interpolated, the image is the mask's."""
    truth = blocks(seed)
    for index in range(4):
        image, mask = changer(steps)(shown(truth, bands), truth, seed, index)
        assert set(np.unique(mask)) <= {*np.unique(truth), 255}
        sure = inside(mask)
        assert np.abs(image - shown(mask, bands))[sure].max(initial=0) < 0.05
        kept = (mask != 255).mean()
        assert sure.mean() > 0.1 or kept < 0.7, "or else nothing was compared"


@settings(max_examples=15)
@given(
    ops=st.lists(st.sampled_from([op for op in MOVES if op != "quarter_turns"]), min_size=1, max_size=4).map(tuple),
    size=st.sampled_from([(40, 64), (57, 33)]),
    seed=st.integers(0, 10_000),
)
def test_inputs_need_not_be_square(ops: tuple[str, ...], size: tuple[int, int], seed: int) -> None:
    truth = blocks(seed, *size)
    image, mask = changer(always(*ops))(shown(truth), truth, 0, seed)
    assert mask.shape == size
    assert np.abs(image - shown(mask))[inside(mask)].max(initial=0) < 0.05


@pytest.mark.parametrize("op", MOVES)
def test_every_move_alone_shows_its_mask(op: str) -> None:
    for index in range(10):
        truth = blocks(index)
        image, mask = changer(always(op))(shown(truth), truth, 0, index)
        sure = inside(mask)
        assert sure.mean() > 0.15
        assert np.abs(image - shown(mask))[sure].max() < 0.05


def linear(steps: Sequence[AugmentStep], index: int, size: tuple[int, int] = (41, 63)) -> tuple[Any, Any, Any]:
    """What a move does to places, fitted to an image of places; and its mask of random classes, checked by NumPy."""
    truth = np.random.default_rng(index).integers(0, CLASSES, size).astype(np.uint8)
    read, mask = changer(tuple(steps))(places(*size), truth, 3, index)
    rows, columns = np.mgrid[: size[0], : size[1]]
    # At the very border, places are mirrored ones.
    middle = (mask != 255) & (read > 0.6).all(-1) & (read < np.array(size[::-1]) - 1.6).all(-1)
    terms = np.stack([columns, rows, np.ones(size)], -1)[middle]
    matrix, *_ = np.linalg.lstsq(terms, read[middle], rcond=None)
    assert np.abs(terms @ matrix - read[middle]).max() < 1e-3
    everywhere = np.stack([columns, rows, np.ones(size)], -1) @ matrix
    off = np.abs(everywhere - np.floor(everywhere) - 0.5).min(-1)  # a place halfway may go to either pixel
    nearest = np.rint(everywhere).astype(int)
    out = ((nearest < 0) | (nearest >= np.array(size[::-1]))).any(-1)
    expected = np.where(out, 255, truth[nearest[..., 1] % size[0], nearest[..., 0] % size[1]])
    assert np.array_equal(mask[off > 1e-3], expected[off > 1e-3])
    return matrix[:2].T, matrix[2], out.mean()


def centre_kept(scale: Any, shift: Any, size: tuple[int, int] = (41, 63)) -> bool:
    middle = np.array([(size[1] - 1) / 2, (size[0] - 1) / 2])
    return bool(np.abs(scale @ middle + shift - middle).max() < 1e-2)


def test_rotate_turns_about_the_centre_up_to_its_angle() -> None:
    angles = []
    for index in range(30):
        turn, shift, out = linear(always("rotate", degrees=50), index)
        assert np.allclose(turn @ turn.T, np.eye(2), atol=1e-3)
        assert np.linalg.det(turn) > 0
        assert centre_kept(turn, shift)
        angles.append(np.degrees(np.arctan2(turn[1, 0], turn[0, 0])))
        assert (out > 0.01) or abs(angles[-1]) < 2
    assert max(np.abs(angles)) <= 50.01
    assert min(angles) < -25
    assert max(angles) > 25


def test_zoom_keeps_within_its_range() -> None:
    factors = []
    for index in range(30):
        scale, shift, out = linear(always("zoom", range=(0.5, 2)), index)
        assert np.allclose(scale, np.eye(2) * scale[0, 0], atol=1e-4)
        assert centre_kept(scale, shift)
        factors.append(1 / scale[0, 0])
        assert (out > 0) == (factors[-1] < 0.99) or 0.9 < factors[-1] < 1
    assert 0.499 < min(factors) < 0.7
    assert 1.5 < max(factors) < 2.001


def test_crop_cuts_out_its_share_anywhere_and_uncovers_nothing() -> None:
    shifts = []
    for index in range(30):
        scale, shift, out = linear(always("crop", share=0.5), index)
        assert np.allclose(scale, np.eye(2) / 2, atol=1e-4)
        assert out == 0
        shifts.append(shift)
    low, high = np.min(shifts, axis=0), np.max(shifts, axis=0)
    # Half of the 63 columns and 41 rows lies left of, or above, what is cut; pixels begin at -1/2.
    assert (low >= -0.26).all()
    assert (low < [6, 4]).all()
    assert (high > [25, 16]).all()
    assert (high <= [31.26, 20.26]).all()


def test_flips_and_turns_keep_every_value_to_the_bit() -> None:
    truth, image = blocks(1), np.random.default_rng(0).uniform(0, 255, (SIDE, SIDE, 3)).astype(np.float32)
    for ops, right in {
        ("flip_left_right",): lambda a: a[:, ::-1],
        ("flip_up_down",): lambda a: a[::-1],
        ("flip_left_right", "flip_up_down"): lambda a: a[::-1, ::-1],
    }.items():
        moved, mask = changer(always(*ops))(image, truth, 0, 0)
        assert np.array_equal(moved, right(image))
        assert np.array_equal(mask, right(truth))
    seen = set()
    for index in range(30):
        moved, mask = changer(always("quarter_turns"))(image, truth, 0, index)
        (turns,) = [turns for turns in range(4) if np.array_equal(mask, np.rot90(truth, turns))]
        assert np.array_equal(moved, np.rot90(image, turns))
        seen.add(turns)
    assert seen == {1, 2, 3}


def test_what_a_rotation_uncovers_is_ignored_and_shows_the_mirrored_image() -> None:
    truth, image = np.ones((SIDE, SIDE), np.uint8), np.full((SIDE, SIDE, 3), 77, np.float32)
    for index in range(10):
        moved, mask = changer(always("rotate", degrees=180))(image, truth, 0, index)
        assert set(np.unique(mask)) == {1, 255}
        assert np.allclose(moved, 77, atol=1e-3), "no black corners"


def middling(size: tuple[int, ...] = (20, 30, 3)) -> NDArray[np.float32]:
    """Colours far from both ends of the range."""
    return np.random.default_rng(8).uniform(100, 150, size).astype(np.float32)


def hsv(image: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.array([colorsys.rgb_to_hsv(*pixel) for pixel in (image / 255).reshape(-1, 3).tolist()])


@pytest.mark.parametrize("op", sorted(set(ALL) - GEOMETRIC))
def test_colours_leave_the_mask_alone_and_stay_in_range(op: str) -> None:
    truth = blocks(0)
    image = np.random.default_rng(0).choice([0.0, 65535.0, 30000.0], (SIDE, SIDE, 3))
    most = 0.5 if op == "hue" else 1.0
    for index in range(10):
        moved, mask = changer(always(op, amount=most), 65535.0)(image, truth, 0, index)
        assert np.array_equal(mask, truth)
        assert moved.min() >= 0
        assert 255 < moved.max() <= 65535


def test_hue_turns_all_pixels_alike() -> None:
    image = middling()
    turns = []
    for index in range(30):
        before, after = hsv(image), hsv(changer(always("hue", amount=0.1))(image, blocks(0, 20, 30), 0, index)[0])
        turn = (after[:, 0] - before[:, 0] + 0.5) % 1 - 0.5
        assert np.ptp(turn) < 1e-4
        assert np.allclose(after[:, 1:], before[:, 1:], atol=1e-4)
        turns.append(turn.mean())
    assert -0.1001 < min(turns) < -0.05
    assert 0.05 < max(turns) < 0.1001


def test_saturation_keeps_brightness_and_hue() -> None:
    image, luma = middling(), np.array([0.299, 0.587, 0.114])
    factors = []
    for index in range(30):
        moved, _ = changer(always("saturation", amount=0.5))(image, blocks(0, 20, 30), 0, index)
        assert np.allclose(moved @ luma, image @ luma, atol=1e-2)
        turned = (hsv(moved)[:, 0] - hsv(image)[:, 0] + 0.5) % 1 - 0.5
        assert np.abs(turned).max() < 1e-3
        factors.append(np.ptp(moved, axis=-1).sum() / np.ptp(image, axis=-1).sum())
    assert 0.499 < min(factors) < 0.75
    assert 1.25 < max(factors) < 1.501


@pytest.mark.parametrize(("peak", "bands"), [(255.0, 3), (65535.0, 1), (255.0, 4)])
def test_brightness_adds_a_part_of_the_range(peak: float, bands: int) -> None:
    image = middling((20, 30, bands)) * (peak / 255)
    added = []
    for index in range(30):
        moved, _ = changer(always("brightness", amount=0.2), peak)(image, blocks(0, 20, 30), 0, index)
        difference = (moved - image) / peak
        assert np.ptp(difference) < 1e-5
        added.append(difference.mean())
    assert -0.2001 < min(added) < -0.1
    assert 0.1 < max(added) < 0.2001


def test_contrast_stretches_about_the_mean_of_each_band() -> None:
    image = middling()
    mean = image.mean(axis=(0, 1))
    factors = []
    for index in range(30):
        moved, _ = changer(always("contrast", amount=0.4))(image, blocks(0, 20, 30), 0, index)
        factor = np.sum((moved - mean) * (image - mean)) / np.sum((image - mean) ** 2)
        assert np.allclose(moved, mean + (image - mean) * factor, atol=1e-2)
        factors.append(factor)
    assert 0.599 < min(factors) < 0.8
    assert 1.2 < max(factors) < 1.401


def test_noise_is_gaussian_of_the_given_deviation() -> None:
    image = np.full((100, 100, 3), 30000, np.float32)
    moved, _ = changer(always("noise", amount=0.05), 65535.0)(image, np.zeros((100, 100), np.uint8), 0, 4)
    noise = (moved - image) / 65535
    assert abs(noise.mean()) < 0.0015, "five standard errors"
    assert abs(noise.std() - 0.05) < 0.001
    assert abs((np.abs(noise) < 0.05).mean() - 0.6827) < 0.015
    assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]) < 0.05


def changed(op: str, p: float, epochs: int, count: int) -> NDArray[np.bool_]:
    """[epochs, count]: which samples an operation has changed, in a parallel map as in training."""
    image = tf.constant(np.random.default_rng(2).uniform(60, 190, (6, 6, 3)), tf.float32)
    truth = tf.zeros((6, 6), tf.uint8)
    found = []
    for epoch in range(epochs):
        key = tf.constant(epoch_key(0, epoch), tf.int64)

        def differs(index, key=key):
            moved, _ = apply([AugmentStep(op=op, p=p)], image, truth, tf.stack([key, index]))
            return tf.reduce_any(moved != image)

        drawn = tf.data.Dataset.range(count).map(differs, num_parallel_calls=4).batch(count)
        found.append(next(iter(drawn)).numpy())
    return np.array(found)


@pytest.mark.parametrize("op", ALL)
def test_an_operation_comes_about_as_often_as_asked_and_anew_in_each_epoch(op: str) -> None:
    drawn = changed(op, 0.3, 4, 500)
    assert 0.25 < drawn.mean() < 0.35, "2000 draws: five standard errors"
    assert len({epoch.tobytes() for epoch in drawn}) == 4
    assert 0.03 < (drawn[0] & drawn[1]).mean() < 0.16, "independent: 0.09"
    assert not changed(op, 0, 1, 50).any()
    assert changed(op, 1, 1, 50).all()


def test_operations_of_one_list_draw_apart() -> None:
    """Both flips of a list happen together in a quarter of the samples, not in half of them."""
    image = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    truth = np.array([[0, 1], [2, 3]], np.uint8)
    steps = (AugmentStep(op="flip_left_right"), AugmentStep(op="flip_up_down"))
    corners = np.bincount([changer(steps)(image, truth, 0, index)[1][0, 0] for index in range(400)], minlength=4)
    assert (np.abs(corners - 100) < 45).all(), "five standard deviations"


def test_a_chance_drawn_while_tracing_is_drawn_once_for_ever() -> None:
    """The way of many notebooks: every sample of every epoch gets the same."""
    truth = np.array([[0, 1]], np.uint8)
    for seed in range(4):
        generator = np.random.default_rng(seed)

        def flip_at_times(index, generator=generator):
            return tf.reverse(truth, [1]) if generator.random() < 0.5 else tf.constant(truth)

        stream = tf.data.Dataset.range(50).map(flip_at_times)
        first = {mask.numpy().tobytes() for _ in range(3) for mask in stream}
        assert len(first) == 1


def test_two_layers_that_share_a_seed_part_and_ours_do_not() -> None:
    """Each layer's state advances with its own calls: after one more of the image's, masks are flipped and images not.

    In a parallel map that takes no extra call, since calls come in any order; ours draws by the sample's number.
    """
    truth = np.zeros((64, 64, 1), np.float32)
    truth[:, :32] = 1
    of_image, of_mask = (keras.layers.RandomFlip("horizontal", seed=7) for _ in range(2))

    def by_layers() -> int:
        pairs = [(of_image(truth, training=True), of_mask(truth, training=True)) for _ in range(50)]
        return sum(np.abs(image - mask).mean() > 0.1 for image, mask in pairs)

    def by_us(index):
        image, mask = apply(
            always("flip_left_right", "rotate", "crop"),
            tf.constant(truth),
            tf.constant(truth[..., 0].astype(np.uint8)),
            tf.stack([tf.constant(5, tf.int64), index]),
        )
        return tf.where(mask[..., None] == 255, 0.0, image), tf.where(mask == 255, tf.constant(0, tf.uint8), mask)

    assert by_layers() == 0
    of_image(truth, training=True)
    assert by_layers() > 10
    stream = tf.data.Dataset.range(300).map(by_us, num_parallel_calls=8)
    parted = [np.abs(image[..., 0] - mask).mean() > 0.1 for image, mask in stream.as_numpy_iterator()]
    assert not any(parted)


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[bytes, bytes]]:
    folder = tmp_path_factory.mktemp("tiles")
    pairs = []
    for number in range(9):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        image, mask = folder / f"{number}.png", folder / f"{number}-mask.png"
        Image.fromarray(pixels).save(image)
        Image.fromarray(blocks(number, 40, 40)).save(mask)
        pairs.append((os.fsencode(image), os.fsencode(mask)))
    return pairs


@pytest.mark.parametrize("size", [(32, 32), (24, 40)])
def test_a_sample_is_the_same_whatever_the_batch_and_the_readers(
    tiles: list[tuple[bytes, bytes]], size: tuple[int, int]
) -> None:
    ops = [op for op in ALL if size[0] == size[1] or op != "quarter_turns"]

    def samples(order: Sequence[int], epoch: int = 3, **changes: int) -> dict[int, bytes]:
        stream = sample_stream(
            tiles,
            ImageFormat(3, 8, "accurate"),
            bytes(range(256)),
            order=np.array(order),
            size=size,
            resize="bilinear",
            augment=[AugmentStep(op=op) for op in ops],
            seed=4,
            epoch=epoch,
            **({"batch_size": 9, "readers": 4} | changes),  # type: ignore[arg-type]
        )
        return {
            index: image.tobytes() + truth.tobytes()
            for batch in stream.as_numpy_iterator()
            for index, image, truth in zip(batch["index"].tolist(), batch["image"], batch["truth"], strict=True)
        }

    whole = samples(range(9))
    assert len(set(whole.values())) == 9
    again = samples([8, 2, 5], batch_size=1, readers=1) | samples([7, 6, 4, 3, 1, 0], batch_size=2, readers=2)
    assert again == whole
    other = samples(range(9), epoch=4)
    assert all(other[index] != whole[index] for index in range(9))


@pytest.mark.data
def test_real_tiles_keep_their_classes(shared_data: Path) -> None:
    folder = shared_data / "camvid"
    pairs = [
        (os.fsencode(path), os.fsencode(folder / "trainannot" / path.name))
        for path in sorted((folder / "train").iterdir())[::40]
    ]
    stream = sample_stream(
        pairs,
        ImageFormat(3, 8, "accurate"),
        bytes([*range(11), *[255] * 245]),
        order=np.arange(len(pairs)),
        size=(96, 128),
        resize="bilinear",
        augment=always("flip_left_right", "rotate", "zoom", "hue", "noise"),
        batch_size=4,
        seed=0,
        epoch=0,
        readers=2,
    )
    for batch in stream.as_numpy_iterator():
        assert set(np.unique(batch["truth"])) <= {*range(11), 255}
        assert batch["image"].min() >= 0
        assert batch["image"].max() <= 255
