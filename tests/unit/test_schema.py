"""The JSON Schema agrees with what the loader takes; keys and starter files come from the same declarations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from segbatch.spec import declared
from segbatch.spec.builtin import builtin_document, builtin_names
from segbatch.spec.help import keys_below, keys_text
from segbatch.spec.job import KINDS
from segbatch.spec.labels import Labels
from segbatch.spec.load import load_job
from segbatch.spec.problems import JobFileError, Origin
from segbatch.spec.schema import job_schema, labels_schema, site_schema
from segbatch.spec.site import Site, load_site
from segbatch.spec.starter import STARTER_VALUES, starter
from segbatch.spec.yaml_source import parse_yaml

JOB = jsonschema.Draft202012Validator(job_schema())
SITE = jsonschema.Draft202012Validator(site_schema())
LABELS = jsonschema.Draft202012Validator(labels_schema())


def plain(text: str) -> Any:
    return parse_yaml(text, Origin("job.yaml")).value


@pytest.mark.parametrize("schema", [job_schema(), site_schema(), labels_schema()])
def test_the_schemas_are_schemas(schema: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)


def test_the_ready_jobs_pass(repo: Path) -> None:
    for path in sorted((repo / "jobs").glob("*.yaml")):
        assert [error.message for error in JOB.iter_errors(plain(path.read_text()))] == [], path


TRAIN = "kind: train\nlabels: buildings\ndata: {images: i, masks: m}\n"
PREDICT = "kind: predict\nmodel: m\ndata: {images: i}\n"
GOOD = [
    TRAIN,
    TRAIN + "train: {epochs: '${N}', max_rejected: 0.5, deterministic: '${D:-true}'}\nmodel:\naugment:\n",
    TRAIN + "resources: {memory: 16G, time: 4:00:00}\nslurm: {exclusive: true, nice: 3, x: y}\n",
    TRAIN + "augment: [{op: flip_up_down, p: 0.1}]\nmodel: {input: [64, 64], weights: null}\n",
    TRAIN + "augment: advanced\n",
    TRAIN + "augment: [hue, {op: zoom, range: [0.5, '${N}']}]\n",
    "kind: train\ndata: {images: i, masks: m, split: {by: counts, counts: {train: 3}}}\nlabels:\n  classes:\n"
    "    - {id: 0, name: a, color: '#00ff00', values: 0-9}\n"
    "    - {id: 1, name: b, color: [1, 2, 3], values: [11, 20-30]}\n",
    PREDICT,
    PREDICT + "predict: {fit: window, window: 64, overlap: 0.25, shard_size: 3}\n",
    PREDICT + "predict: {test_time_augmentation: [flips], threshold: best_iou, fill_holes: {a: all}, min_region: 9, "
    "probabilities: 16}\n",
    PREDICT + "predict: {thresholds: {a: 0.3}, fill_holes: 3, min_region: {a: '${N}'}, probabilities: '${D}'}\n",
    "kind: predict\nmodel: {bundle: m.h5, output: logits}\nlabels: forest\ndata: {images: i, limit: 3}\n",
    "kind: evaluate\nlabels: l.yaml\ndata: {masks: m, predictions: {folder: p, values: raw}}\n",
]
BAD = [
    "labels: forest\n",
    "kind: trian\nlabels: buildings\ndata: {images: i}\n",
    "kind: train\nlabels: buildings\n",
    "kind: predict\ndata: {images: i}\n",
    TRAIN + "train: {bacth_size: 3}\n",
    TRAIN + "train: {epochs: 0}\n",
    TRAIN + "train: {epochs: many}\n",
    TRAIN + "predict: {tasks: 3}\n",
    TRAIN + "augment: {op: flip_up_down}\n",
    TRAIN + "augment: [{op: flip}]\n",
    TRAIN + "augment: medium\n",
    TRAIN + "augment: [flip]\n",
    TRAIN + "augment: [{op: crop, share: 1}]\n",
    PREDICT + "predict: {fit: windows}\n",
    PREDICT + "train: {epochs: 3}\n",
    PREDICT + "data_root: x\n",
    "kind: evaluate\nlabels: {classes: [{id: 0, nam: x}]}\ndata: {masks: m, predictions: {folder: p}}\n",
]  # fmt: skip


@pytest.mark.parametrize("text", GOOD)
def test_what_loads_passes(text: str, tmp_path: Path) -> None:
    assert [error.message for error in JOB.iter_errors(plain(text))] == []
    (tmp_path / "job.yaml").write_text(text)
    classes = "classes: [{id: 0, name: a, color: '#000000'}, {id: 1, name: b, color: '#111111'}]\n"
    (tmp_path / "l.yaml").write_text(classes)
    load_job(tmp_path / "job.yaml", [], {"N": "3", "D": "false"})


@pytest.mark.parametrize("text", BAD)
def test_what_does_not_load_fails(text: str, tmp_path: Path) -> None:
    assert not JOB.is_valid(plain(text))
    (tmp_path / "job.yaml").write_text(text)
    with pytest.raises(JobFileError):
        load_job(tmp_path / "job.yaml", [], {})


def test_a_job_that_extends_another_may_leave_things_out() -> None:
    assert JOB.is_valid(plain("extends: base.yaml\ntrain: {epochs: 3}\n"))
    assert JOB.is_valid(plain("extends: base.yaml\nkind: train\n"))
    assert not JOB.is_valid(plain("extends: base.yaml\nkind: train\ntrain: {epoch: 3}\n"))


def test_site_and_labels(tmp_path: Path) -> None:
    text = "backend: slurm\nslurm: {a: 1}\nprofiles: {x: {partition: p}, y: null}\n"
    assert SITE.is_valid(plain(text))
    (tmp_path / "site.yaml").write_text(text)
    assert load_site(tmp_path / "site.yaml", "x", {}).partition == "p"
    assert not SITE.is_valid(plain("profiles: {x: {particion: p}}\n"))
    for name in builtin_names():
        assert [error.message for error in LABELS.iter_errors(builtin_document(name).value)] == []


def test_every_key_has_a_description_which_the_schema_and_the_help_show() -> None:
    definitions = job_schema()["$defs"]
    for kind, section in KINDS.items():
        for key in keys_below(section):
            assert key.description, (kind, key.name)
        shown = definitions[section.__name__]["properties"]
        for key in declared.keys_of(section):
            assert key == "kind" or shown[key]["description"], (kind, key)


def test_keys_as_text() -> None:
    jobs = [(f"kind: {kind}", section) for kind, section in KINDS.items()]
    assert keys_text(jobs, "train.epochs") == (
        "train.epochs  a whole number of at least 1  default 10  [kind: train]\n    Times the training part is seen."
    )
    assert keys_text(jobs, "data.split.by").startswith(
        "data.split.by  'hash', 'counts', 'column' or 'folder'  default hash\n"
    )
    assert "augment[].p  a number from 0 to 1  default 0.5  [kind: train]" in keys_text(jobs, "augment")
    assert "profiles.NAME.qos" in keys_text([("site", Site)])
    assert keys_text([("labels", Labels)], "nothing") == ""
    everything = keys_text(jobs)
    for kind, section in KINDS.items():
        for key in keys_below(section):
            assert f"\n{key.name}  " in f"\n{everything}" or f"\n{key.name}\n" in f"\n{everything}", (kind, key.name)


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_starter_file_is_valid_and_names_every_key(kind: str, tmp_path: Path) -> None:
    text = starter(kind, "my job.yaml")
    path = tmp_path / "my job.yaml"
    path.write_text(text)
    assert load_job(path, [], {}).job.kind == kind
    assert JOB.is_valid(plain(text))
    written = {
        line.strip().lstrip("#").split(":")[0] for line in text.splitlines() if not line.strip().startswith("# ")
    }
    assert set(declared.keys_of(KINDS[kind])) <= written
    for name in STARTER_VALUES[kind]:
        assert name.split(".")[-1] in written
    assert all(len(line) <= 100 for line in text.splitlines())


@pytest.mark.parametrize("kind", list(KINDS))
def test_commented_defaults_of_a_starter_file_are_the_defaults(kind: str, tmp_path: Path) -> None:
    """Take away the # of one line at a time, wherever a default is shown: the job stays as it was."""
    path = tmp_path / "job.yaml"
    lines = starter(kind).splitlines()
    path.write_text("\n".join(lines))
    job = load_job(path, [], {}).job
    # What to write there, not the default.
    examples = ("split:", "size:", "binds:", "env:", "slurm:", "augment:", "schedule:", "notify:", "keep:")
    other_choice = ("image_column", "mask_column", "overlap")  # defaults of a choice that is not made
    for position, line in enumerate(lines):
        text = line.strip().lstrip("#")
        if line.strip() == text or text.startswith((" ", *examples, *other_choice)) or text.endswith(":"):
            continue
        path.write_text("\n".join([*lines[:position], line.replace("#", "", 1), *lines[position + 1 :]]))
        assert load_job(path, [], {}).job == job, line
