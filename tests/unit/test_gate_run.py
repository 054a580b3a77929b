"""The gate between predict runs: what it compares, what it remembers, what it refuses, and its page."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segbatch.errors import InputError, SegbatchError
from segbatch.evaluation.gate_run import gate_run
from segbatch.evaluation.gate_task import gate_task
from segbatch.runs.champions import promote, standing
from segbatch.runs.holdout import champion_scores, holdout_digest, read_scores, scored_on, unscored_champion
from segbatch.runs.model_folder import ModelFolder, Registry
from segbatch.runs.model_registry import register
from segbatch.runs.run import Run
from segbatch.spec.gate import Gate
from tests.support.fake_models import fake_bundle, predicted_run, write_holdout
from tests.support.worlds import make_run

GATE = Gate()


class World:
    """A holdout of eight tiles, and models that are wrong in a share of the pixels."""

    def __init__(self, root: Path) -> None:
        self.root, self.rng = root, np.random.default_rng(0)
        self.registry = Registry(root / "registry")
        self.forest: ModelFolder = self.registry.model("forest")
        self.truth = {f"scene{n % 4}/{n}.png": self.rng.integers(0, 2, (16, 16), np.uint8) for n in range(8)}
        write_holdout(root, self.truth)

    def version(self, name: str) -> str:
        return register(self.forest, fake_bundle(self.root / f"model-{name}", name), version=name).name

    def masks(self, wrong: float) -> Mapping[str, np.ndarray]:
        return {
            name: truth ^ (self.rng.random(truth.shape) < wrong).astype(np.uint8) for name, truth in self.truth.items()
        }

    def predict(self, model: str, wrong: float, **sections: Any) -> Run:
        return predicted_run(self.root, model, self.masks(wrong), **sections)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Two versions, `old` the champion."""
    made = World(tmp_path)
    for name in ("old", "new"):
        made.version(name)
    promote(made.forest, "old")
    return made


class Page(HTMLParser):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags, self.links, self.texts, self.images = [], [], [], []
        self.feed(path.read_text(encoding="utf-8"))
        self.text = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        self.links += [value for key, value in attrs if key in ("href", "src")]
        self.images += [value for key, value in attrs if tag == "img" and key == "alt"]

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] != ["style"]:
            self.texts.append(data)


def test_the_better_model_is_promoted_and_the_page_says_why(world: World) -> None:
    champion = world.predict("forest@champion", 0.3)
    challenger = world.predict("forest@new", 0.1)
    judged = gate_run(challenger, world.registry, GATE, against=champion, promoting=True)
    assert judged.promoted
    assert standing(world.forest).champion == "new"
    assert standing(world.forest).former == ("old",)
    decision = judged.result.decision
    assert json.loads((challenger.paths.report / "gate.json").read_bytes())["champion"] == "forest@old"
    page = Page(judged.page)
    assert judged.page == challenger.paths.report / "gate.html"
    for words in (
        "forest@new against forest@old",
        "The challenger is the better",
        f"{decision.gain:+.4f}",
        "0.95",
        "100.0 %",
    ):
        assert words in page.text
    # Tiles of both with their pictures; nothing from elsewhere.
    assert page.images[:6] != page.images[6:12]
    assert len(page.images) == 12
    assert all(link.startswith("data:image/jpeg") or link == "index.html" for link in page.links)
    assert "script" not in page.tags


def test_figures_are_those_of_the_pixels(world: World) -> None:
    masks = world.masks(0.2)
    champion, challenger = world.predict("forest@champion", 0.3), predicted_run(world.root, "forest@new", masks)
    decision = gate_run(challenger, world.registry, GATE, against=champion).result.decision
    truth, said = (np.concatenate([part[name].ravel() for name in world.truth]) for part in (world.truth, masks))
    ious = [((truth == at) & (said == at)).sum() / ((truth == at) | (said == at)).sum() for at in (0, 1)]
    assert decision.challenger == pytest.approx(np.mean(ious))
    assert [change.challenger for change in decision.classes] == pytest.approx(ious)


def test_a_worse_model_changes_nothing(world: World) -> None:
    champion = world.predict("forest@champion", 0.1)
    judged = gate_run(world.predict("forest@new", 0.3), world.registry, GATE, against=champion, promoting=True)
    assert not judged.promoted
    assert standing(world.forest).champion == "old"
    assert "The champion stays" in Page(judged.page).text


def test_a_champion_predicts_a_holdout_once(world: World) -> None:
    champion = world.predict("forest@champion", 0.3)
    challenger = world.predict("forest@new", 0.1)
    assert unscored_champion(world.forest, challenger) == "forest@old"
    assert unscored_champion(world.forest, champion) == ""
    first = gate_run(challenger, world.registry, GATE, against=champion, promoting=True)
    # The new champion was scored as a challenger; the third night needs only its own challenger.
    world.version("third")
    third = world.predict("forest@third", 0.05)
    assert unscored_champion(world.forest, third) == ""
    judged = gate_run(third, world.registry, GATE)
    assert judged.result.champion == "forest@new"
    assert judged.result.champion_run == first.result.challenger_run
    assert judged.result.decision.champion == pytest.approx(first.result.decision.challenger)


def test_a_changed_holdout_scores_the_champion_again(world: World) -> None:
    gate_run(world.predict("forest@new", 0.3), world.registry, GATE, against=world.predict("forest@champion", 0.1))
    before = holdout_digest(world.predict("forest@new", 0.3))
    assert champion_scores(world.forest, before)[1] is not None
    name = next(iter(world.truth))
    world.truth[name] = 1 - world.truth[name]
    Image.fromarray(world.truth[name]).save(world.root / "masks" / name)
    challenger = world.predict("forest@new", 0.05)
    assert holdout_digest(challenger) != before
    with pytest.raises(InputError, match="the champion forest@old was not scored on this holdout as it is now"):
        gate_run(challenger, world.registry, GATE)
    assert gate_run(
        challenger, world.registry, GATE, against=world.predict("forest@champion", 0.1)
    ).result.decision.promote


def test_the_holdout_is_the_same_wherever_it_lies(world: World, tmp_path: Path) -> None:
    here = holdout_digest(world.predict("forest@new", 0.1))
    elsewhere = tmp_path / "elsewhere"
    for name in ("images", "masks", "registry"):
        shutil.copytree(tmp_path / name, elsewhere / name)
    assert holdout_digest(predicted_run(elsewhere, "forest@new", {})) == here
    Image.new("RGB", (16, 16)).save(elsewhere / "images" / "more.png")
    Image.new("L", (16, 16)).save(elsewhere / "masks" / "more.png")
    assert holdout_digest(predicted_run(elsewhere, "forest@new", {})) != here


def test_the_same_question_gets_the_same_answer(world: World) -> None:
    champion, challenger = world.predict("forest@champion", 0.3), world.predict("forest@new", 0.28)
    first = gate_run(challenger, world.registry, GATE, against=champion)
    page = first.page.read_bytes()
    assert gate_run(challenger, world.registry, GATE).result == first.result
    assert first.page.read_bytes() == page


def test_asked_again_after_the_promotion_the_gate_tells_what_it_decided(world: World) -> None:
    challenger = world.predict("forest@new", 0.1)
    first = gate_run(challenger, world.registry, GATE, against=world.predict("forest@champion", 0.3), promoting=True)
    assert gate_run(challenger, world.registry, GATE, promoting=True) == first
    with pytest.raises(InputError, match="forest@new is the champion already"):
        gate_run(world.predict("forest@new", 0.1), world.registry, GATE)


def test_the_first_version_becomes_champion_without_a_contest(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.version("first")
    judged = gate_run(world.predict("forest@first", 0.4), world.registry, GATE, promoting=True)
    assert (judged.promoted, standing(world.forest).champion) == (True, "first")
    assert "there is no champion yet" in Page(judged.page).text


def test_the_page_does_without_masks_that_are_gone(world: World) -> None:
    champion = world.predict("forest@champion", 0.3)
    challenger = world.predict("forest@new", 0.1)
    gate_run(challenger, world.registry, GATE, against=champion)
    shutil.rmtree(champion.paths.folder)
    page = Page(gate_run(challenger, world.registry, GATE).page)
    assert "no picture" in page.text
    assert len(page.images) == 6


def test_a_run_that_is_not_finished_is_refused(world: World) -> None:
    masks = dict(list(world.masks(0.1).items())[:5])
    with pytest.raises(InputError, match="3 of 8 tiles are missing"):
        gate_run(predicted_run(world.root, "forest@new", masks), world.registry, GATE)


def test_a_truth_that_changed_after_it_was_counted_is_refused(world: World) -> None:
    challenger = world.predict("forest@new", 0.1)
    path = world.root / "masks" / next(iter(world.truth))
    later = (challenger.paths.masks / next(iter(world.truth))).stat().st_mtime + 10
    os.utime(path, (later, later))
    with pytest.raises(InputError, match=r"was changed after holdout/.* had predicted and counted it"):
        gate_run(challenger, world.registry, GATE)


def test_runs_of_different_holdouts_are_not_compared(world: World) -> None:
    champion = world.predict("forest@champion", 0.3)
    smaller = world.predict(
        "forest@new", 0.1, data={"root": str(world.root), "images": "images", "masks": "masks", "limit": 6}
    )
    with pytest.raises(InputError, match="2 tiles are in one of them alone"):
        gate_run(smaller, world.registry, GATE, against=champion)


def test_another_model_does_not_stand_in_for_the_champion(world: World) -> None:
    other = world.predict("forest@new", 0.3)
    with pytest.raises(InputError, match="predicted with forest@new, but the champion is forest@old"):
        gate_run(world.predict("forest@new", 0.1), world.registry, GATE, against=other)


def test_a_bundle_that_is_not_registered_is_compared_but_not_promoted(world: World) -> None:
    champion = world.predict("forest@champion", 0.3)
    challenger = world.predict(str(fake_bundle(world.root / "model-stray", "stray")), 0.1)
    with pytest.raises(InputError, match="--model NAME"):
        gate_run(challenger, world.registry, GATE, against=champion)
    assert gate_run(challenger, world.registry, GATE, against=champion, model="forest").result.decision.promote
    with pytest.raises(InputError, match="not registered, so it cannot become champion"):
        gate_run(challenger, world.registry, GATE, against=champion, model="forest", promoting=True)


def test_a_bundle_that_was_registered_after_it_predicted_is_promoted_under_its_name(world: World) -> None:
    champion = world.predict("forest@champion", 0.3)
    challenger = world.predict(str(world.root / "model-new"), 0.1)
    judged = gate_run(challenger, world.registry, GATE, against=champion, model="forest", promoting=True)
    assert (judged.promoted, judged.result.challenger) == (True, "forest@new")
    assert standing(world.forest).champion == "new"


def test_who_was_judged_against_an_older_champion_is_not_promoted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    import segbatch.evaluation.gate_run as module

    world.version("quick")
    champion = world.predict("forest@champion", 0.3)
    write = module.write_page

    def slow(*args: Any) -> Path:
        promote(world.forest, "quick")
        return write(*args)

    monkeypatch.setattr(module, "write_page", slow)
    with pytest.raises(SegbatchError, match="compared with old, but quick has become champion"):
        gate_run(world.predict("forest@new", 0.1), world.registry, GATE, against=champion, promoting=True)
    assert standing(world.forest).champion == "quick"


def test_what_is_kept_reads_back(world: World) -> None:
    challenger = world.predict("forest@new", 0.2)
    gate_run(challenger, world.registry, GATE, against=world.predict("forest@champion", 0.1))
    scores = read_scores(challenger)
    assert scored_on(world.forest, "new", scores.holdout) == scores
    assert scored_on(world.forest, "new", "sha256:0") is None


def test_the_page_of_a_gate_stage_leads_to_the_challengers_report(world: World) -> None:
    champion, challenger = world.predict("forest@champion", 0.3), world.predict("forest@new", 0.1)
    runs = {"challenger": str(challenger.paths.folder), "champion": str(champion.paths.folder)}
    run = make_run(world.root, "gate", {}, model="forest", output={"registry": str(world.registry.root)}, **runs)
    assert gate_task(run, lambda line: None) == 0
    (link,) = (one for one in Page(run.paths.report / "index.html").links if not one.startswith("data:"))
    assert (run.paths.report / link).resolve() == challenger.paths.report / "index.html"
