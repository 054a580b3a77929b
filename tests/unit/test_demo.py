"""The painted world, the thresholds it is measured by, and the command that makes it."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

import segbatch.demo.world as world_module
from segbatch.cli.demo import demo
from segbatch.demo.baseline import INDICES, baseline, best_score, count_levels
from segbatch.demo.landscape import FOREST, ROAD, Scene, paint_scene
from segbatch.demo.world import LABELS, STARTED_FILE, WORLD_FILE, make_world
from segbatch.errors import InputError
from segbatch.spec.labels import Labels

SETTINGS = {"scenes": 2, "archive_scenes": 1, "tile": 128, "seed": 5}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "a world, with spaces"
    make_world(folder, **SETTINGS)
    return folder


@pytest.fixture(scope="module")
def scene() -> Scene:
    return paint_scene(0, 0, 1024)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def masks(folder: Path) -> list[np.ndarray]:
    return [np.asarray(Image.open(path)) for path in sorted(folder.glob("*/masks/*.png"))]


class TestScene:
    def test_is_the_same_on_every_machine(self):
        scene = paint_scene(seed=7, number=3, size=256)
        digest = hashlib.sha256(scene.image.tobytes() + scene.mask.tobytes()).hexdigest()
        assert digest == "3cf8366b50ccc56e52fa9b1c95ddfad5f1d785c97c5b1b378b9c317b73fa9962"

    def test_shapes_and_types(self):
        scene = paint_scene(0, 0, 64)
        assert (scene.image.shape, scene.image.dtype) == ((64, 64, 3), np.uint8)
        assert (scene.mask.shape, scene.mask.dtype) == ((64, 64), np.uint8)

    @pytest.mark.parametrize("other", [(1, 0), (0, 1)])
    def test_another_seed_or_number_is_another_scene(self, other):
        one, two = paint_scene(0, 0, 128), paint_scene(*other, 128)
        assert not np.array_equal(one.image, two.image)
        assert not np.array_equal(one.mask, two.mask)

    def test_roads_in_the_shadow_of_trees_are_roads(self, scene):
        light = scene.image.astype(int).sum(axis=-1)[scene.mask == ROAD]
        assert (light < 0.7 * np.median(light)).mean() > 0.01

    def test_some_fields_are_greener_than_the_forest(self, scene):
        red, green, blue = (scene.image[..., band].astype(int) for band in range(3))
        excess = 2 * green - red - blue
        forest = np.median(excess[scene.mask == FOREST])
        assert (excess[scene.mask == 0] > forest).mean() > 0.1


class TestWorld:
    def test_every_image_has_its_mask_by_stem(self, world):
        for part, tiles in (("train", 32), ("archive", 16)):
            images = {path.stem for path in (world / part / "images").iterdir()}
            assert images == {path.stem for path in (world / part / "masks").iterdir()}
            assert len(images) == tiles
        assert (world / "train" / "images" / "scene001_r3_c0.jpg").is_file()
        assert (world / "archive" / "images" / "scene002_r0_c3.jpg").is_file()

    def test_tiles_are_jpeg_and_palette_png_of_the_asked_size(self, world):
        for path in (world / "archive" / "images").iterdir():
            with Image.open(path) as image:
                assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (128, 128))
        for path in (world / "archive" / "masks").iterdir():
            with Image.open(path) as mask:
                assert (mask.format, mask.mode, mask.size) == ("PNG", "P", (128, 128))
                assert bytes(mask.getpalette()[:12]) == LABELS.palette()[:12]

    def test_all_classes_occur_and_nothing_else(self, world):
        for part in ("train", "archive"):
            values = np.unique([np.asarray(Image.open(path)) for path in (world / part / "masks").iterdir()])
            assert values.tolist() == [item.id for item in LABELS.classes]

    def test_tiles_of_one_scene_join_to_the_painted_scene(self, world):
        scene = paint_scene(5, 2, 512)
        rows = [
            [np.asarray(Image.open(world / f"archive/masks/scene002_r{row}_c{column}.png")) for column in range(4)]
            for row in range(4)
        ]
        np.testing.assert_array_equal(np.block(rows), scene.mask)

    def test_image_shows_its_scene(self, world):
        scene = paint_scene(5, 2, 512)
        tile = np.asarray(Image.open(world / "archive/images/scene002_r1_c3.jpg")).astype(int)
        assert np.abs(tile - scene.image[128:256, 384:]).mean() < 5

    def test_scenes_differ(self, world):
        first, second = ((world / f"train/images/scene00{number}_r0_c0.jpg").read_bytes() for number in (0, 1))
        assert first != second

    def test_labels_file_is_the_labels(self, world):
        assert Labels.model_validate(yaml.safe_load((world / "labels.yaml").read_text())) == LABELS

    def test_same_settings_give_the_same_bytes(self, world, tmp_path):
        make_world(tmp_path / "again", **SETTINGS)
        assert content(tmp_path / "again") == content(world)

    def test_second_call_paints_nothing(self, world, monkeypatch):
        before = content(world)
        monkeypatch.setattr(world_module, "paint_scene", None)
        make_world(world, **SETTINGS)
        assert content(world) == before

    def test_files_added_beside_the_tiles_do_no_harm(self, tmp_path):
        make_world(tmp_path, scenes=1, archive_scenes=1, tile=16)
        (tmp_path / "notes.txt").write_text("mine")
        make_world(tmp_path, scenes=1, archive_scenes=1, tile=16)
        assert (tmp_path / "notes.txt").read_text() == "mine"

    def test_progress_counts_tiles(self, tmp_path):
        seen = []
        make_world(tmp_path, scenes=2, archive_scenes=1, tile=16, progress=lambda *both: seen.append(both))
        assert seen == [(16, 48), (32, 48), (48, 48)]

    def test_refuses_a_folder_that_is_not_its_own(self, tmp_path):
        (tmp_path / "thesis.txt").write_text("years of work")
        with pytest.raises(InputError, match="holds no demo world"):
            make_world(tmp_path, **SETTINGS)
        assert content(tmp_path) == {"thesis.txt": b"years of work"}

    def test_refuses_a_file(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(InputError, match="found a file"):
            make_world(tmp_path / "file", **SETTINGS)

    @pytest.mark.parametrize(("key", "value"), [("seed", 6), ("scenes", 3), ("archive_scenes", 2), ("tile", 64)])
    def test_refuses_other_settings(self, world, key, value):
        before = content(world)
        with pytest.raises(InputError, match=f"{key} {SETTINGS[key]} there, {value} asked"):
            make_world(world, **{**SETTINGS, key: value})
        assert content(world) == before

    def test_refuses_a_world_that_was_changed(self, tmp_path):
        make_world(tmp_path, scenes=1, archive_scenes=1, tile=16)
        changed = tmp_path / "train/masks/scene000_r0_c0.png"
        changed.write_bytes(b"edited by hand")
        with pytest.raises(InputError, match="changed or removed"):
            make_world(tmp_path, scenes=1, archive_scenes=1, tile=16)
        assert changed.read_bytes() == b"edited by hand"

    def test_paints_an_interrupted_world_again(self, tmp_path):
        def stop(done: int, total: int) -> None:
            raise KeyboardInterrupt

        settings = {"scenes": 1, "archive_scenes": 1, "tile": 16}
        with pytest.raises(KeyboardInterrupt):
            make_world(tmp_path / "one", **settings, progress=stop)
        assert not (tmp_path / "one" / WORLD_FILE).exists()
        with pytest.raises(InputError, match="other settings"):
            make_world(tmp_path / "one", **settings, seed=9)
        make_world(tmp_path / "one", **settings)
        make_world(tmp_path / "two", **settings)
        assert content(tmp_path / "one") == content(tmp_path / "two")
        assert STARTED_FILE not in content(tmp_path / "one")


def brute_force(tiles):
    """Best forest IoU over all rules, each tried on the pixels themselves."""
    best = 0.0
    for index in INDICES:
        values = np.concatenate([index.values(image.astype(np.int16).transpose(2, 0, 1)).ravel() for image, _ in tiles])
        truth = np.concatenate([forest.ravel() for _, forest in tiles])
        for value in range(index.low, index.high + 1):
            for selected in (values >= value, values <= value):
                best = max(best, (selected & truth).sum() / max(1, (selected | truth).sum()))
    return best


class TestBaseline:
    def test_equals_a_search_through_every_threshold(self):
        rng = np.random.default_rng(1)
        tiles = [(rng.integers(0, 256, (9, 7, 3), dtype=np.uint8), rng.random((9, 7)) < 0.4) for _ in range(3)]
        found = best_score(count_levels(iter(tiles)))
        assert found.iou == pytest.approx(brute_force(tiles), abs=1e-12)

    def test_equals_a_search_on_painted_tiles(self):
        scene = paint_scene(1, 1, 64)
        tiles = [(scene.image, scene.mask == FOREST)]
        assert best_score(count_levels(iter(tiles))).iou == pytest.approx(brute_force(tiles), abs=1e-12)

    def test_worked_example(self):
        """Forest has green 10, 20, 30; the rest 25, 40. Green <= 30 takes all forest and one other: 3/4."""
        image = np.zeros((1, 5, 3), np.uint8)
        image[0, :, 1] = (10, 20, 30, 25, 40)
        image[0, :, 0] = 100
        image[0, :, 2] = image[0, :, 1]
        found = best_score(count_levels(iter([(image, np.array([[True, True, True, False, False]]))])))
        assert (found.rule.index, found.rule.above, found.rule.value) == ("green", False, 30)
        assert (found.tp, found.fp, found.fn, found.iou) == (3, 1, 0, 0.75)

    def test_extreme_colors_stay_within_range(self):
        image = np.array([[[255, 0, 255], [0, 255, 0], [0, 0, 0], [255, 255, 255]]], np.uint8)
        counts = count_levels(iter([(image, np.array([[True, False, True, False]]))]))
        assert [count.sum() for count in counts] == [4] * len(INDICES)

    def test_the_rule_of_the_training_tiles_is_scored_on_the_archive(self, world):
        result = baseline(world)
        assert result.honest.rule == result.train.rule
        assert result.honest.iou <= result.generous.iou
        forest = sum(int((np.asarray(Image.open(path)) == FOREST).sum()) for path in world.glob("archive/masks/*.png"))
        for score in (result.honest, result.generous):
            assert score.tp + score.fn == forest

    def test_no_single_color_solves_the_world(self, tmp_path):
        make_world(tmp_path, scenes=3, archive_scenes=2, tile=128)
        result = baseline(tmp_path)
        assert max(result.honest.iou, result.generous.iou) < 0.65

    def test_needs_a_world(self, tmp_path):
        with pytest.raises(InputError, match="Paint the demo world first"):
            baseline(tmp_path)

    def test_names_a_missing_mask(self, tmp_path):
        make_world(tmp_path, scenes=1, archive_scenes=1, tile=16)
        (tmp_path / "train/masks/scene000_r2_c1.png").unlink()
        with pytest.raises(InputError, match=r"masks/scene000_r2_c1\.png: cannot be read"):
            baseline(tmp_path)


def invoke(*arguments: object):
    return CliRunner().invoke(demo, [str(argument) for argument in arguments])


def report(run: Path, rows: str) -> Path:
    (run / "report").mkdir(parents=True)
    (run / "report" / "classes.csv").write_text(f"id,name,tp,fp,fn,IoU,Dice\n{rows}")
    return run


class TestCommand:
    def test_paints_then_leaves_alone(self, tmp_path):
        arguments = (tmp_path / "world", "--scenes", 1, "--archive-scenes", 1, "--seed", 3)
        first = invoke(*arguments)
        assert first.exit_code == 0, first.output
        assert "painted 16 tiles to train on, 16 held out" in first.output
        assert json.loads((tmp_path / "world" / WORLD_FILE).read_text())["seed"] == 3
        assert "there already: 16 tiles" in invoke(*arguments).output

    def test_compare_prints_the_three_scores_and_the_report(self, world, tmp_path):
        truth = baseline(world)
        forest = truth.honest.tp + truth.honest.fn
        run = report(tmp_path / "run", f"0,field,1,1,1,,\n1,forest,{forest - 10},5,10,,\n")
        output = invoke(world, "--compare", run).output
        assert f"{(forest - 10) / (forest + 5):.4f}" in output
        assert f"{truth.honest.rule}" in output
        assert f"{truth.honest.iou:.4f}" in output
        assert f"{truth.generous.iou:.4f}" in output
        assert str(run / "report" / "index.html") in output
        assert "note" not in output

    def test_compare_says_when_the_run_scored_other_tiles(self, world, tmp_path):
        run = report(tmp_path / "run", "1,forest,80,10,10,0.8,0.88\n")
        assert "note: the run was scored on other pixels than the thresholds: 90 of forest" in (
            invoke(world, "--compare", run).output
        )

    @pytest.mark.parametrize("rows", ["0,field,1,1,1,,\n", "1,forest,many,1,1,,\n", "1,forest\n"])
    def test_compare_refuses_a_report_without_forest(self, world, tmp_path, rows):
        result = invoke(world, "--compare", report(tmp_path / "run", rows))
        assert isinstance(result.exception, InputError)
        assert "expected one row of class 'forest'" in str(result.exception)

    def test_compare_refuses_a_run_without_report(self, world, tmp_path):
        result = invoke(world, "--compare", tmp_path)
        assert isinstance(result.exception, InputError)
        assert "classes.csv: cannot be read (No such file or directory)" in str(result.exception)

    def test_names_the_extra_to_install(self, tmp_path, monkeypatch):
        find = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "PIL" else find(name))
        result = invoke(tmp_path / "world")
        assert isinstance(result.exception, InputError)
        assert str(result.exception) == "segbatch demo needs pillow: pip install 'segbatch[worker]'"
        assert not (tmp_path / "world").exists()

    def test_help_shows_an_example(self):
        assert "segbatch demo demo/world --compare" in invoke("--help").output
