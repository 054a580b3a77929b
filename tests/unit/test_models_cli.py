"""`segbatch models` as a user meets it, and jobs that name registered models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from segbatch.cli import cli
from segbatch.errors import SegbatchError
from segbatch.runs.creation import create_run
from segbatch.runs.plan import make_plan
from segbatch.runs.run import Run
from segbatch.spec.job import TrainJob
from tests.support.fake_models import fake_bundle, predicted_run, write_holdout
from tests.support.labels import TWO_CLASSES

TRUTH = {f"{number}.png": np.eye(8, dtype=np.uint8) for number in range(6)}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")
    write_holdout(tmp_path, TRUTH)
    return tmp_path


def call(*words: str) -> str:
    result = CliRunner().invoke(cli, list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def refused(*words: str) -> str:
    result = CliRunner().invoke(cli, list(words))
    assert result.exit_code != 0, result.output
    return str(result.exception) if isinstance(result.exception, SegbatchError) else result.output


def trained(root: Path, weights: str, iou: float) -> Run:
    """A train run as it is left when it is done."""
    data = {"root": str(root), "images": "images", "masks": "masks"}
    job = TrainJob.model_validate(
        {"kind": "train", "name": "forest-train", "data": data, "labels": TWO_CLASSES.model_dump()}
    )
    run = create_run(make_plan(job, root / "job.yaml", runs_root=root / "runs"))
    scores = {"iou": iou, "dice": 2 * iou / (1 + iou)}
    fake_bundle(run.paths.model, weights, run=run.label, digests=run.record.digests, scores=scores)
    return run


def predict_job(root: Path, model: str) -> Path:
    path = root / "predict.yaml"
    data = {"images": "images", "masks": "masks"}
    path.write_text(yaml.safe_dump({"kind": "predict", "model": model, "data": data}))
    return path


def test_from_a_train_run_to_a_champion_and_back(here: Path) -> None:
    first = trained(here, "one", 0.5)
    assert f"registered forest@v1: {here}/registry/forest/v1" in call(
        "models", "register", str(first.paths.folder), "--name", "forest", "--version", "v1"
    )
    call("models", "register", str(trained(here, "two", 0.75).paths.folder), "--name", "forest", "--version", "v2")
    assert call("models", "promote", "forest@v1") == "champion forest@v1 (before: none)\n"
    assert call("models", "promote", "forest@v2", "--reason", "sharper") == "champion forest@v2 (before: v1)\n"
    lines = call("models", "list").splitlines()
    assert [line.split()[0] for line in lines] == ["version", "forest@v2", "forest@v1"]
    assert "* champion" in lines[1]
    assert "IoU 0.7500, Dice 0.8571" in lines[1]
    assert "former champion" in lines[2]
    assert first.label in lines[2]
    assert call("models", "rollback", "forest") == "champion forest@v1 (before: v2)\n"
    shown = call("models", "show", "forest")
    for words in ("forest@v1", "as registered", str(here / "registry/forest/v1"), "v1 -> v2", "sharper", "rollback"):
        assert words in shown
    listed = json.loads(call("models", "list", "--json"))
    assert listed[0]["champion"] == "v1"
    version = listed[0]["versions"][1]
    assert (version["run"], version["scores"]["iou"]) == (first.label, 0.5)
    assert version["data_digest"].startswith("sha256:")
    # A copy of the bundle tells the same of itself.
    call("models", "register", str(first.paths.model), "--name", "copy")
    copy = json.loads(call("models", "list", "copy", "--json"))[0]["versions"][0]
    assert {copy[key] == version[key] for key in ("run", "scores", "data_digest", "digest")} == {True}


def test_prune_says_first_what_it_would_do(here: Path) -> None:
    for number in range(4):
        call("models", "register", str(fake_bundle(here / f"m{number}", f"{number}")), "--version", f"v{number}")
    call("models", "promote", "net@v0")
    dry = call("models", "prune", "--keep", "1", "--dry-run")
    assert dry == "would go  net@v1\nwould go  net@v2\nstays     net@v0  champion\nstays     net@v3  new enough\n"
    assert len(json.loads(call("models", "list", "--json"))[0]["versions"]) == 4
    assert "removed   net@v1" in call("models", "prune", "net", "--keep", "1")
    assert len(json.loads(call("models", "list", "--json"))[0]["versions"]) == 2
    assert "say what stays" in refused("models", "prune")


def test_a_job_may_name_the_champion(here: Path) -> None:
    call("models", "register", str(fake_bundle(here / "model")), "--name", "forest", "--version", "v1", "--promote")
    job = predict_job(here, "forest@champion")
    assert f"forest@v1, {here}/registry/forest/v1" in call("plan", str(job), "--backend", "local")
    assert "a valid predict job" in call("check", str(job))
    assert "forest has no version 'v2'. Versions: v1." in refused("check", str(predict_job(here, "forest@v2")))
    assert "no model 'forst'" in refused("plan", str(predict_job(here, "forst@champion")))
    message = refused("check", "--no-data", str(predict_job(here, "forest@the champion")))
    assert "predict.yaml:5:1: expected a registered model such as forest@champion" in message


def test_where_the_registry_lies(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = str(fake_bundle(here / "model"))

    def registry(*words: str) -> str:
        return call("models", "register", bundle, "--name", "forest", "--version", "v1", *words).split(": ")[1].strip()

    assert registry() == f"{here}/registry/forest/v1"
    assert registry("--runs", "there/runs") == f"{here}/there/registry/forest/v1"
    (here / "site.yaml").write_text("registry: of-site\n")
    assert registry() == f"{here}/of-site/forest/v1"
    job = predict_job(here, "forest@v1")
    assert "of-site/forest/v1" in call("plan", str(job), "--backend", "local")
    call("models", "register", bundle, "--name", "forest", "--version", "v1", "--registry", "of-job")
    assert "of-job/forest/v1" in call("plan", str(job), "--backend", "local", "--set", "output.registry=of-job")
    monkeypatch.setenv("SEGBATCH_REGISTRY", "of-environment")
    assert registry() == f"{here}/of-environment/forest/v1"
    assert "of-environment/forest/v1" in call("plan", str(job), "--backend", "local")


def test_the_gate_by_hand(here: Path) -> None:
    for name in ("old", "new"):
        call("models", "register", str(fake_bundle(here / name, name)), "--name", "forest", "--version", name)
    call("models", "promote", "forest@old")
    wrong = {name: truth.copy() for name, truth in TRUTH.items()}
    for mask in wrong.values():
        mask[0, 1:4] = 1
    champion = predicted_run(here, "forest@champion", wrong)
    challenger = predicted_run(here, "forest@new", TRUTH)
    folder = str(challenger.paths.folder)
    assert "was not scored on this holdout" in refused("models", "gate", folder)
    options = ["--against", str(champion.paths.folder), "--metric", "iou:forest", "--min-gain", "0.5"]
    said = call("models", "gate", folder, *options)
    # Champion: 8 of 11 pixels; the challenger has all of them right.
    assert "gain in iou:forest +0.2727, asked for at least 0.5" in said
    assert "keep the champion" in said
    assert "\nchampion " not in said
    said = call("models", "gate", folder, "--promote")
    assert "promote: every rule is kept" in said
    assert f"page    {challenger.paths.report / 'gate.html'}\nchampion forest@new\n" in said
    result: dict[str, Any] = json.loads(call("models", "gate", folder, "--json"))
    assert result["decision"]["promote"] is True


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--metric", "loss"], "--metric"),
        (["--confidence", "1.5"], "--confidence: Input should be less than 1, received 1.5"),
        (["--group-folder", "1", "--group-pattern", "x"], "expected exactly one of"),
        (["--group-pattern", "("], "not a regular expression"),
    ],
)
def test_rules_that_cannot_be(here: Path, options: list[str], message: str) -> None:
    assert message in refused("models", "gate", "anything", *options)


def test_models_that_are_not_there(here: Path) -> None:
    assert "no models in" in call("models", "list")
    assert "no model 'forest' in the registry" in refused("models", "rollback", "forest")
    assert "Expected a train run" in refused("models", "register", str(predicted_run_folder(here)), "--name", "x")


def predicted_run_folder(root: Path) -> Path:
    return predicted_run(root, str(fake_bundle(root / "m")), {}).paths.folder
