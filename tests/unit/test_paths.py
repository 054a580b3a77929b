"""`${VAR}` in job files, and the folders that paths start from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from segbatch.spec.job import PredictJob
from segbatch.spec.load import load_job
from tests.support.job_files import PREDICT, TRAIN, load, predict, problems, train, write

ENVIRON = {"CITY": "bonn", "N": "7", "EMPTY": "", "ROOT": "data", "HOME": "/home/me"}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("tiles/${CITY}/${N}", "tiles/bonn/7"),
        ("${MISSING:-none}/x", "none/x"),
        ("${EMPTY:-none}", "none"),
        ("${EMPTY}x", "x"),
        ("${MISSING:-}x", "x"),
        ("$${CITY}", "${CITY}"),
        ("$CITY", "$CITY"),
        ("a$b", "a$b"),
    ],
)
def test_references(written: str, value: str) -> None:
    text = f"kind: predict\nmodel: m\ndata:\n  images: {written}\n"
    assert load(text, [], ENVIRON).job.data.images == value


def test_numbers() -> None:
    assert predict(PREDICT + "predict: {batch_size: '${N}', tasks: \"${N}\"}\n", [], ENVIRON).predict.tasks == 7


def test_unset_and_broken_references_point_at_their_place() -> None:
    text = "kind: predict\nmodel: ${HOM}/m\ndata:\n  images: a ${NOPE} b ${CITTY} ${x y}\n"
    assert problems(text, [], ENVIRON | {"HOMER": "x"}) == [
        "job.yaml:2:8: the environment variable HOM is not set. Did you mean 'HOME'? `${HOM:-...}` gives a default",
        "job.yaml:4:13: the environment variable NOPE is not set. `${NOPE:-...}` gives a default",
        "job.yaml:4:23: the environment variable CITTY is not set. Did you mean 'CITY'? "
        "`${CITTY:-...}` gives a default",
        "job.yaml:4:32: broken reference '${x y}'; expected ${VAR} or ${VAR:-default}",
    ]


def test_paths_that_begin_in_the_environment_start_from_the_current_folder(tmp_path: Path) -> None:
    write("jobs/job.yaml", "kind: predict\nmodel: ${ROOT}/model\ndata: {root: 'x/${ROOT}', images: i}\n")
    job = load_job("jobs/job.yaml", [], ENVIRON).job
    assert isinstance(job, PredictJob)
    assert job.model.bundle == str(tmp_path / "data/model")
    assert job.data.root == str(tmp_path / "jobs/x/data")


def test_home() -> None:
    job = predict("kind: predict\nmodel: ~/m\ndata: {root: ~/d, images: ~/i}\n", [], ENVIRON)
    assert (job.model.bundle, job.data.root, job.data.images) == ("/home/me/m", "/home/me/d", "/home/me/i")


def test_spaces_quotes_commas_and_dots_stay(tmp_path: Path) -> None:
    folder = 'it\'s a, "folder"'
    write(f"{folder}/job.yaml", 'kind: predict\nmodel: "../a \'b\', c/m"\ndata: {images: "x, y/../z"}\n')
    job = load_job(f"{folder}/job.yaml", [], {}).job
    assert isinstance(job, PredictJob)
    assert job.model.bundle == str(tmp_path / folder / "../a 'b', c/m")
    assert job.data.root == str(tmp_path / folder)
    assert job.data.images == "x, y/../z"


def test_a_folder_whose_name_is_no_utf_8(tmp_path: Path) -> None:
    folder = os.fsdecode(os.fsencode(str(tmp_path)) + b"/caf\xe9")
    os.mkdir(folder)  # noqa: PTH102
    path = Path(folder, "job.yaml")
    path.write_text(PREDICT)
    assert load_job(path, [], {}).job.data.root == folder


def test_weights_and_images_may_be_names(tmp_path: Path) -> None:
    text = TRAIN + "model: {encoder: mobilenet_v2, weights: imagenet}\ncontainer: {runtime: docker, image: a/b:1}\n"
    assert train(text).model.weights == "imagenet"
    assert train(text).container.image == "a/b:1"
    text = TRAIN + "model: {encoder: vgg16, weights: w.keras}\ncontainer: {runtime: apptainer, image: seg.sif}\n"
    assert train(text).model.weights == str(tmp_path / "w.keras")
    assert train(text).container.image == str(tmp_path / "seg.sif")


def test_no_path_holds_a_null_byte() -> None:
    assert problems('kind: predict\nmodel: "a\\0b"\ndata: {images: i}\n') == [
        "job.yaml:2:8: a path cannot hold the character U+0000"
    ]


def test_each_source_of_a_list_is_a_path() -> None:
    text = 'kind: predict\nmodel: m\ndata:\n  images: [~/a, "b/**/*.jpg", "${CITY}"]\n'
    assert load(text, [], ENVIRON).job.data.images == ("/home/me/a", "b/**/*.jpg", ENVIRON["CITY"])
    assert problems(text.replace('"b/**/*.jpg"', "3"), [], ENVIRON) == [
        "job.yaml:4:17: expected a path, received 3; put it in quotes: '3'"
    ]
    text = "kind: predict\nmodel: m\ndata: {image_list: ~/l.txt}\n"
    assert load(text, [], ENVIRON).job.data.image_list == "/home/me/l.txt"
