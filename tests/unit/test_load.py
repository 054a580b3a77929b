"""Job files -> jobs: inheritance, overrides, environment, paths, labels; and all errors of a file at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segbatch.spec.job import EvaluateJob, PredictJob, TrainJob, to_plain
from segbatch.spec.load import load_job, name_from
from segbatch.spec.problems import JobFileError
from segbatch.spec.yaml_source import dump_yaml
from tests.support.job_files import PREDICT, TRAIN, load, predict, problems, train, write


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_plain_job(tmp_path: Path) -> None:
    loaded = load(TRAIN)
    assert isinstance(loaded.job, TrainJob)
    assert loaded.job.name == "job"
    assert loaded.job.data.root == str(tmp_path)
    assert loaded.job.data.images == "images"
    assert loaded.job.labels.names == ("background", "building")
    assert loaded.path == tmp_path / "job.yaml"
    assert loaded.files == (tmp_path / "job.yaml",)


@pytest.mark.parametrize("name", ["buildings-predict", "buildings-train", "camvid-predict", "camvid-train",
                                  "demo-predict", "evaluate"])  # fmt: skip
def test_the_ready_jobs_are_valid(name: str, repo: Path) -> None:
    environ = {"AERIAL": "/a", "CAMVID": "/c", "TRUTH": "/t", "MASKS": "/m"}
    assert load_job(repo / "jobs" / f"{name}.yaml", environ=environ).job.name == name


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("forest.yaml", "forest"),
        ("my job (2).yaml", "my-job-2"),
        ("Wälder, alle.yml", "Walder-alle"),
        ("森.yaml", "job"),
        (".hidden", "hidden"),
        ("x" * 150 + ".yaml", "x" * 100),
    ],
)
def test_a_job_is_named_after_its_file(file: str, name: str) -> None:
    assert name_from(Path("folder") / file) == name


def test_sections_whose_keys_are_all_commented_out_are_empty_ones() -> None:
    job = train(TRAIN + "train:\n  #epochs: 3\nslurm:\naugment:\nmodel:\n")
    assert job.train.epochs == 10
    assert job.augment == ()


class TestExtends:
    def test_mappings_merge_and_the_rest_replaces(self, tmp_path: Path) -> None:
        write("base/site/base.yaml", TRAIN + "augment: [{op: flip_up_down}, {op: flip_left_right}]\n"
              "train: {epochs: 3, batch_size: 4}\nname: kept\n")  # fmt: skip
        write("base/middle.yaml", "extends: site/base.yaml\ntrain: {epochs: 5}\n")
        loaded = load("extends: base/middle.yaml\ntrain: {previews: 0}\naugment: [{op: flip_left_right, p: 1}]\n")
        job = loaded.job
        assert isinstance(job, TrainJob)
        assert (job.train.epochs, job.train.batch_size, job.train.previews) == (5, 4, 0)
        assert [(step.op, step.p) for step in job.augment] == [("flip_left_right", 1.0)]
        assert job.name == "kept"
        assert loaded.files == (
            tmp_path / "job.yaml", tmp_path / "base/middle.yaml", tmp_path / "base/site/base.yaml"
        )  # fmt: skip

    def test_paths_start_from_the_file_that_says_them(self, tmp_path: Path) -> None:
        write("deep/down/base.yaml", "kind: predict\nmodel: model\ndata: {root: ../data, images: i}\n")
        job = predict("extends: deep/down/base.yaml\noutput: {runs: out}\n")
        assert job.data.root == str(tmp_path / "deep/down/../data")
        assert job.model.bundle == str(tmp_path / "deep/down/model")
        assert job.output.runs == str(tmp_path / "out")

    def test_problems_point_at_the_file_they_are_in(self) -> None:
        write("base.yaml", TRAIN + "train:\n  epochs: 0\n")
        assert problems("extends: base.yaml\ntrain: {bacth_size: 3}\n") == [
            "job.yaml:2:9: unknown key 'bacth_size' under 'train'. Did you mean 'batch_size'?",
            "base.yaml:5:11: expected a whole number of at least 1, received 0",
        ]

    def test_circles_name_the_chain(self) -> None:
        write("a.yaml", "extends: folder/b.yaml\n")
        write("folder/b.yaml", "extends: ../folder/../a.yaml\n")
        assert problems("extends: a.yaml\nkind: train\n") == [
            "folder/b.yaml:1:10: these files extend each other in a circle: a.yaml -> folder/b.yaml -> a.yaml"
        ]

    def test_a_missing_base_hides_no_other_problem_and_invents_none(self) -> None:
        assert problems("extends: nowhere/base.yaml\nkind: train\ntrain: {epochs: 0}\n") == [
            "job.yaml:1:10: nowhere/base.yaml: no such file",
            "job.yaml:3:17: expected a whole number of at least 1, received 0",
        ]

    def test_a_broken_base(self) -> None:
        write("base.yaml", "kind: train\n\tdata: x\n")
        assert problems("extends: base.yaml\nkind: train\ntrain: {best: iuo}\n") == [
            "job.yaml:3:15: expected loss, accuracy, iou, dice, or one class's iou or dice such as iou:building, "
            "received 'iuo'. Did you mean 'iou'?",
            "base.yaml:2:1: a tab in the indentation; YAML wants spaces",
        ]

    def test_not_a_path(self) -> None:
        assert problems("extends: [a.yaml]\nkind: train\n")[0] == (
            "job.yaml:1:10: expected the path of a job file, received ['a.yaml']"
        )

    def test_names_from_the_environment(self) -> None:
        write("base.yaml", TRAIN)
        assert load("extends: ${BASE}.yaml\n", environ={"BASE": "base"}).job.kind == "train"
        assert problems("extends: ${BASE}.yaml\n")[0].startswith(
            "job.yaml:1:10: the environment variable BASE is not set."
        )


class TestSet:
    def test_values_are_yaml(self) -> None:
        sets = ["train.epochs=3", "optimizer.learning_rate=1e-4", "model.input=[64, 96]", "slurm.exclusive=true",
                "name=x", "data.split={by: counts, counts: {train: 5}}", "model.freeze=false"]  # fmt: skip
        job = train(sets=sets)
        assert job.train.epochs == 3
        assert job.optimizer.learning_rate == 1e-4
        assert job.model.input == (64, 96)
        assert job.slurm == {"exclusive": True}
        assert job.name == "x"
        assert job.data.split is not None
        assert job.data.split.counts == {"train": 5}

    def test_positions_in_lists(self) -> None:
        text = TRAIN + "augment: [{op: flip_up_down}, {op: flip_left_right}]\n"
        assert [step.p for step in train(text, ["augment.1.p=1"]).augment] == [0.5, 1.0]
        assert problems(text, ["augment.2.p=1", "augment.x.p=1"]) == [
            "--set augment.2.p=1: 'augment' is a list with positions 0 to 1, which '2' is not one of",
            "--set augment.x.p=1: 'augment' is a list with positions 0 to 1, which 'x' is not one of",
        ]

    def test_an_empty_value_takes_a_setting_back(self) -> None:
        text = PREDICT + "predict: {threshold: 0.7}\n"
        assert predict(text, ["predict.threshold="]).predict.threshold is None

    def test_the_model_of_a_predict_job(self, tmp_path: Path) -> None:
        job = predict(sets=["model=other.keras", "labels=forest", "model.output=logits"])
        assert job.model.bundle == str(tmp_path / "other.keras")
        assert job.model.output == "logits"

    def test_paths_start_from_the_current_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write("jobs/job.yaml", PREDICT)
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        monkeypatch.chdir(elsewhere)
        job = load_job("../jobs/job.yaml", ["output.runs=out", "data.root=data"], {}).job
        assert isinstance(job, PredictJob)
        assert job.output.runs == str(elsewhere / "out")
        assert job.data.root == str(elsewhere / "data")
        assert job.model.bundle == str(elsewhere / "../jobs/model")

    def test_what_is_wrong_with_an_override(self) -> None:
        assert problems(TRAIN, ["train.epochs", "=3", "train.epochs=[1", "train.epochs=0", "train.bacth_size=3",
                                "extends=x.yaml", "kind.x=3"]) == [
            "--set train.epochs: expected a key and a value, such as --set train.epochs=5",
            "--set =3: expected a key and a value, such as --set train.epochs=5",
            "--set train.epochs=[1: expected ',' or ']' in the list that starts with '['",
            "--set train.epochs=0: expected a whole number of at least 1, received 0",
            "--set train.bacth_size=3: unknown key 'bacth_size' under 'train'. Did you mean 'batch_size'?",
            "--set extends=x.yaml: `extends` cannot be set; write a file that extends the one you mean",
            "--set kind.x=3: 'kind' is 'train' in the file and has no keys; set it as a whole",
        ]  # fmt: skip

    def test_any_bytes(self) -> None:
        job = predict(sets=["data.images=caf\udce9 'x', \"y\"\nz"])
        assert job.data.images == "caf\udce9 'x', \"y\"\nz"
        assert to_plain(job)["data"]["images"] == job.data.images


class TestLabels:
    FILE = "classes:\n  - {id: 0, name: land, color: '#000000'}\n  - {id: 1, name: water, color: [0, 0, 255]}\n"

    def job(self, labels: str) -> str:
        return f"kind: train\nlabels: {labels}\ndata: {{images: i, masks: m}}\n"

    def test_a_file_beside_the_one_that_names_it(self, tmp_path: Path) -> None:
        write("base/sets/lakes.yaml", self.FILE)
        write("base/base.yaml", self.job("sets/lakes.yaml"))
        loaded = load("extends: base/base.yaml\n")
        assert isinstance(loaded.job, TrainJob)
        assert loaded.job.labels.name == "lakes"
        assert loaded.job.labels.names == ("land", "water")
        assert loaded.files[-1] == tmp_path / "base/sets/lakes.yaml"

    def test_given_in_the_job(self) -> None:
        job = train(self.job("{classes: [{id: 0, name: a, color: '#000000'}, {id: 9, name: b, color: '#ffffff'}]}"))
        assert job.labels.name == "job"
        assert [item.id for item in job.labels.classes] == [0, 9]

    def test_a_word_that_is_neither(self) -> None:
        with pytest.raises(JobFileError) as caught:
            load(self.job("citiscapes"))
        assert str(caught.value) == (
            f"job.yaml:2:9: no labels 'citiscapes': neither built in nor a file {Path.cwd()}/citiscapes. "
            "Did you mean 'cityscapes'?\n"
            "    labels: citiscapes\n"
            "            ^\n"
            "    Built in: buildings, camvid, cityscapes, cityscapes-19, forest."
        )

    def test_a_missing_file(self) -> None:
        assert problems(self.job("../lakes.yaml")) == ["job.yaml:2:9: ../lakes.yaml: no such file"]

    def test_problems_stand_in_the_labels_file(self) -> None:
        write("lakes.yaml", self.FILE + "  - {id: 1, nmae: ice, color: white}\n  - {id: 300, name: water, "
              "color: '#fff000', values: 9-300}\n")  # fmt: skip
        assert problems(self.job("lakes.yaml") + "train: {epochs: 0}\n") == [
            "job.yaml:4:17: expected a whole number of at least 1, received 0",
            "lakes.yaml:4:6: class id 1 is given twice, to classes 2 and 3",
            "lakes.yaml:4:13: unknown key 'nmae' under 'labels.classes[2]'. Did you mean 'name'?",
            "lakes.yaml:4:31: expected [r, g, b] of 0-255, or \"#rrggbb\", received 'white'",
            "lakes.yaml:5:10: expected a whole number from -1 to 255, received 300",
            "lakes.yaml:5:15: class name 'water' is given twice, to classes 2 and 4",
            "lakes.yaml:5:54: expected values from 0 to 255, ranges upwards, received '9-300'",
        ]


class TestKind:
    def test_missing(self) -> None:
        assert problems("data: {images: i, masks: m}\nlabels: forest\ntrain: {epochs: 0}\n") == [
            "job.yaml:1:1: missing key 'kind'. What the job does: 'train', 'predict', 'evaluate' or 'gate'.",
            "job.yaml:3:17: expected a whole number of at least 1, received 0",
        ]

    def test_misspelt(self) -> None:
        assert problems("kind: pedict\nmodel: m\npredict: {tasks: 0}\ndata: {images: i}\n") == [
            "job.yaml:1:7: expected 'train', 'predict', 'evaluate' or 'gate', received 'pedict'. "
            "Did you mean 'predict'?",
            "job.yaml:3:18: expected a whole number of at least 1 or 'auto', received 0",
        ]

    def test_inherited_and_set(self) -> None:
        write("base.yaml", "kind: evaluate\n")
        text = "extends: base.yaml\nlabels: forest\ndata: {masks: m, predictions: {folder: p}}\n"
        assert isinstance(load(text).job, EvaluateJob)
        assert load("data: {images: i}\nmodel: m\n", ["kind=predict"]).job.kind == "predict"

    def test_keys_of_another_kind(self) -> None:
        text = PREDICT + "train: {epochs: 3}\nloss: {name: auto}\n"
        assert problems(text) == [
            "job.yaml:4:1: 'train' belongs to kind: train; this job is kind: predict",
            "job.yaml:5:1: 'loss' belongs to kind: train; this job is kind: predict",
        ]
        assert problems("kind: predict\nmodel: {bundle: m, encoder: mobilenet_v2}\ndata: {images: i}\n") == [
            "job.yaml:2:20: 'model.encoder' belongs to kind: train; this job is kind: predict"
        ]


def test_missing_keys_point_at_their_section() -> None:
    assert problems("name: x\nkind: predict\n") == [
        "job.yaml:1:1: missing key 'data'. Images and masks.",
        "job.yaml:1:1: missing key 'model'. The model: a bundle folder, a registered model, or a Keras file.",
    ]
    assert problems("kind: evaluate\nlabels: forest\ndata:\n  masks: m\n  predictions: {values: ids}\n") == [
        "job.yaml:5:3: missing key 'folder' under 'data.predictions'. Folder of the predicted masks; each is found by "
        "its image's (or truth's) path and name, any extension."
    ]


def test_a_key_in_the_wrong_section() -> None:
    assert problems(TRAIN + "epochs: 3\nloss: {learning_rate: 0.1}\n") == [
        "job.yaml:4:1: unknown key 'epochs'; it belongs under 'train'",
        "job.yaml:5:8: unknown key 'learning_rate' under 'loss'; it belongs under 'optimizer'",
    ]


def test_a_misspelt_key_is_looked_at_under_its_right_name() -> None:
    text = "kind: predict\nmodel: m\ndata: {images: i, size: [64, 64]}\npredict: {fitt: window, windwo: 128}\n"
    assert problems(text) == [
        "job.yaml:4:11: unknown key 'fitt' under 'predict'. Did you mean 'fit'?",
        "job.yaml:4:25: unknown key 'windwo' under 'predict'. Did you mean 'window'?",
        "job.yaml:4:25: the window of 128 pixels is larger than the tiles, which `data.size` says are 64x64",
    ]


def test_nothing_is_concluded_from_a_wrong_value() -> None:
    text = "kind: predict\nmodel: m\ndata: {images: i}\npredict: {fit: windwo, window: 128, overlap: 200}\n"
    assert problems(text) == ["job.yaml:4:16: expected 'resize' or 'window', received 'windwo'. Did you mean 'window'?"]


def test_a_later_check_can_point_at_a_line() -> None:
    error = load(TRAIN).error(("data", "images"), "no such folder")
    assert str(error) == (
        "job.yaml:3:16: no such folder\n    data: {images: images, masks: masks}\n                   ^"
    )


def test_a_resolved_job_reads_back_the_same() -> None:
    write("lakes.yaml", TestLabels.FILE)
    text = "kind: train\nlabels: lakes.yaml\ndata: {root: ../d, images: i, masks: m, split: {by: counts, "
    job = train(text + "counts: {train: 3}}}\nresources: {time: 1-12:00:00, memory: 3G}\nslurm: {exclude: 'no'}\n")
    assert load_job(write("elsewhere/again.yaml", dump_yaml(to_plain(job))), [], {}).job == job


PIECES = [
    "\t",
    ":",
    " ",
    "\n",
    "- ",
    "{",
    "}",
    "[",
    "]",
    "'",
    "${",
    "${X}",
    "&a ",
    "*a",
    "<<: ",
    "null",
    "true",
    "-1",
    "#",
    "~",
]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_file_is_a_job_or_a_list_of_problems_whatever_stands_in_it(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from([TRAIN + "augment: [{op: flip_up_down}]\n", PREDICT + "predict: {tasks: 2}\n"]))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        stop = start + data.draw(st.integers(0, 8))
        text = text[:start] + data.draw(st.sampled_from(PIECES)) + text[stop:]
    loaded, found = None, ()
    try:
        loaded = load(text, ["data.limit=3"], {"X": "7"})
    except JobFileError as error:
        found = error.problems
    assert bool(found) != bool(loaded)
    assert all(problem.origin.file.startswith(("job.yaml", "--set")) for problem in found)
    assert loaded is None or loaded.job.data.limit == 3
