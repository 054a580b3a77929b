"""Versions: registered whole and once, never changed, found by name, and kept while something needs them."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from segbatch.errors import InputError, SegbatchError
from segbatch.runs.bundles import bundle_digest
from segbatch.runs.champions import events, promote, rollback, standing
from segbatch.runs.ledger import record
from segbatch.runs.model_folder import ModelFolder, Registry
from segbatch.runs.model_pruning import Keep, prune
from segbatch.runs.model_registry import register, resolve, versions
from segbatch.runs.model_uses import note_use, uses
from segbatch.runs.run import Run, open_run
from tests.support.broken_disk import steps
from tests.support.fake_models import fake_bundle, predicted_run, write_holdout
from tests.support.needs import lacking

NIGHT = datetime(2026, 11, 20, 2, 0, tzinfo=UTC)
ROOT = os.geteuid() == 0


@pytest.fixture
def forest(tmp_path: Path) -> ModelFolder:
    return Registry(tmp_path / "registry").model("forest")


def nights(model: ModelFolder, count: int) -> list[str]:
    """Register a version on each of some nights."""
    folder = model.folder.parent.parent
    return [
        register(model, fake_bundle(folder / f"model{day}", f"{day}"), now=NIGHT + timedelta(days=day)).version
        for day in range(count)
    ]


def predicting(model: ModelFolder, name: str) -> Run:
    """A predict run that names a registered model."""
    root = model.folder.parent.parent
    write_holdout(root, {"a.png": np.zeros((2, 2), np.uint8)})
    return predicted_run(root, name, {})


def test_a_version_is_the_bundle_with_its_origin(forest: ModelFolder, tmp_path: Path) -> None:
    bundle = fake_bundle(tmp_path / "model")
    made = register(
        forest, bundle, now=NIGHT, run="forest-train/20261120-010000-abcd", data_digest="sha256:1", scores={"iou": 0.5}
    )
    found = resolve(Registry(tmp_path / "registry"), "forest@2026-11-20")
    assert found.info == made
    assert (made.name, made.created, made.parent) == ("forest@2026-11-20", "2026-11-20T02:00:00+00:00", "")
    assert bundle_digest(found.path) == made.digest == bundle_digest(bundle)
    assert {path.name for path in found.path.iterdir()} == {"bundle.json", "model.keras", "version.json"}


def test_a_version_is_read_only(forest: ModelFolder, tmp_path: Path) -> None:
    made = register(forest, fake_bundle(tmp_path / "model"), now=NIGHT)
    folder = forest.version(made.version)
    assert not any(path.stat().st_mode & 0o222 for path in (folder, *folder.iterdir()))


def test_names_that_are_taken_get_a_number(forest: ModelFolder, tmp_path: Path) -> None:
    names = [register(forest, fake_bundle(tmp_path / f"{n}", f"{n}"), now=NIGHT).version for n in range(3)]
    assert names == ["2026-11-20", "2026-11-20.2", "2026-11-20.3"]
    assert [info.version for info in versions(forest)] == names


def test_the_same_bundle_of_the_same_run_is_one_version(forest: ModelFolder, tmp_path: Path) -> None:
    bundle = fake_bundle(tmp_path / "model")
    first = register(forest, bundle, run="train/1", now=NIGHT)
    assert register(forest, bundle, run="train/1", now=NIGHT + timedelta(days=1)) == first
    assert register(forest, bundle, run="train/2", now=NIGHT).version == "2026-11-20.2"
    assert forest.unfinished() == []


@pytest.mark.parametrize("name", ["champion", "scores", ".hidden", "a/b", "a b"])
def test_names_that_no_version_can_have(forest: ModelFolder, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="cannot name a version"):
        register(forest, fake_bundle(tmp_path / "model"), version=name)


def test_what_is_no_bundle_is_not_registered(forest: ModelFolder, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such bundle folder"):
        register(forest, tmp_path / "nothing")
    assert not forest.folder.exists()


def test_many_at_once_get_names_of_their_own(forest: ModelFolder, tmp_path: Path) -> None:
    bundles = [fake_bundle(tmp_path / f"{n}", f"{n}") for n in range(12)]
    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(lambda bundle: register(forest, bundle, now=NIGHT), bundles))
    assert len({info.version for info in made}) == 12
    assert {info.digest for info in made} == {bundle_digest(bundle) for bundle in bundles}
    assert all(resolve(Registry(forest.folder.parent), info.name).info == info for info in made)


def test_promotions_at_once_end_in_one_order_and_none_is_lost(forest: ModelFolder) -> None:
    names = nights(forest, 8)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: promote(forest, name), names))
    history = events(forest)
    assert sorted(event.versions[0] for event in history) == names
    assert [event.before for event in history] == ["", *(event.versions[0] for event in history[:-1])]
    now = standing(forest)
    assert now.champion == history[-1].versions[0]
    assert list(now.former) == [event.versions[0] for event in history[-2::-1]]
    assert forest.link.resolve() == forest.version(now.champion).resolve()


def test_rollback_goes_back_step_by_step(forest: ModelFolder) -> None:
    one, two, three = nights(forest, 3)
    for name in (one, two, three):
        promote(forest, name)
    assert rollback(forest).champion == two
    assert rollback(forest).champion == one
    with pytest.raises(InputError, match=f"no earlier champion to go back to; {one} is its first"):
        rollback(forest)
    promote(forest, three)
    assert standing(forest).former == (one,)
    assert rollback(forest, reason="too dark").champion == one
    assert events(forest)[-1].reason == "too dark"


def test_a_model_without_champion_has_none_to_go_back_to(forest: ModelFolder) -> None:
    nights(forest, 1)
    with pytest.raises(InputError, match="it has none at all"):
        rollback(forest)


def test_who_lost_the_race_has_to_compare_again(forest: ModelFolder) -> None:
    one, two, three = nights(forest, 3)
    promote(forest, one)
    promote(forest, two, over=one)
    with pytest.raises(SegbatchError, match=f"compared with {one}, but {two} has become champion"):
        promote(forest, three, over=one)
    assert promote(forest, two, over=one).champion == two


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("forst@champion", "no model 'forst' in the registry .*Did you mean 'forest'. Models: forest"),
        (
            "forest@2026-11-2",
            r"forest has no version '2026-11-2'. Did you mean '2026-11-21'\? Versions: 2026-11-21, ",
        ),
        ("forest@champion", "no champion yet. Name a version, such as forest@2026-11-21"),
        ("forest@", "expected a model and its version, such as forest@champion"),
    ],
)
def test_names_that_stand_for_nothing_are_refused_with_the_nearest(
    forest: ModelFolder, text: str, message: str
) -> None:
    nights(forest, 2)
    with pytest.raises(InputError, match=message):
        resolve(Registry(forest.folder.parent), text)


def test_an_empty_registry_says_how_to_fill_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="It holds none: `segbatch models register` adds one"):
        resolve(Registry(tmp_path), "forest@champion")


def test_a_run_says_which_version_predicts(forest: ModelFolder) -> None:
    one, two = nights(forest, 2)
    promote(forest, one)
    run = predicting(forest, "forest@champion")
    promote(forest, two)
    again = open_run(run.paths.folder)
    assert again.record.model == f"forest@{one}"
    assert Path(again.record.bundle) == forest.version(one).resolve()
    assert again.record.digests["bundle"] == forest.read(one).digest
    assert open_run(predicting(forest, f"forest@{two}").paths.folder).record.model == f"forest@{two}"


def test_a_version_that_was_tampered_with_is_not_used(forest: ModelFolder) -> None:
    (one,) = nights(forest, 1)
    promote(forest, one)
    weights = forest.version(one) / "model.keras"
    weights.chmod(0o644)
    weights.write_text("other")
    with pytest.raises(SegbatchError, match=f"the files of forest@{one} are not those that were registered"):
        predicting(forest, "forest@champion")


def test_a_damaged_event_is_named_and_not_guessed_at(forest: ModelFolder) -> None:
    (one,) = nights(forest, 1)
    promote(forest, one)
    forest.event(1).write_text("{")
    with pytest.raises(InputError, match=re.escape(str(forest.event(1)))):
        resolve(Registry(forest.folder.parent), "forest@champion")


def test_prune_keeps_the_newest_the_young_and_the_champions(forest: ModelFolder) -> None:
    names = nights(forest, 10)
    for name in names[:5]:
        promote(forest, name)
    keep, moment = Keep(newest=1, days=2, champions=2), NIGHT + timedelta(days=9, hours=22)
    planned = prune(forest, keep, dry_run=True, now=moment)
    assert [info.version for info in versions(forest)] == names
    assert list(planned.removed) == [*names[:2], *names[5:8]] == list(prune(forest, keep, now=moment).removed)
    assert (
        dict(planned.kept)
        == {
            names[2]: "former champion",
            names[3]: "former champion",
            names[4]: "champion",
            names[8]: "younger than 2 days",
            names[9]: "new enough",
        }
        or dict(planned.kept)[names[8]] != "younger than 2 days"
    )
    assert [info.version for info in versions(forest)] == [*names[2:5], *names[8:]]
    assert not forest.version(names[0]).exists()
    assert prune(forest, keep, now=moment).removed == ()
    assert [rollback(forest).champion, rollback(forest).champion] == [names[3], names[2]]
    with pytest.raises(InputError, match=f"{names[0]} was removed by prune"):
        promote(forest, names[0])
    # A name means one thing for ever.
    assert register(forest, forest.version(names[9]), version=names[0], run="x").version == f"{names[0]}.2"


def test_prune_keeps_what_a_run_uses_until_it_is_done(forest: ModelFolder) -> None:
    one, two = nights(forest, 2)
    promote(forest, two)
    run = predicting(forest, f"forest@{one}")
    assert uses(forest, one) == [str(run.paths.folder)]
    outcome = prune(forest, Keep(newest=1))
    assert outcome.removed == ()
    assert dict(outcome.kept)[one] == f"used by {run.paths.folder}"
    record(run.paths, "here", "ended", code=0)
    assert prune(forest, Keep(newest=1)).removed == (one,)


def test_prune_does_not_wait_for_runs_that_were_deleted(forest: ModelFolder) -> None:
    one, two = nights(forest, 2)
    promote(forest, two)
    run = predicting(forest, f"forest@{one}")
    run.paths.folder.rename(run.paths.folder.with_name("elsewhere"))
    assert prune(forest, Keep(newest=1)).removed == (one,)


def test_a_run_and_a_prune_at_once_do_not_miss_each_other(forest: ModelFolder, tmp_path: Path) -> None:
    # Wherever in the pruning the run begins: it is refused, or its version stays.
    outcomes = []
    for at in range(20):
        model = Registry(tmp_path / f"registry{at}").model("forest")
        for name in ("v0", "v1"):
            register(model, fake_bundle(tmp_path / name, name), version=name)
        promote(model, "v1")
        folder = tmp_path / "runs" / "job" / f"run{at}"
        folder.mkdir(parents=True)

        def begin(model: ModelFolder = model, folder: Path = folder) -> None:
            try:
                note_use(model, "v0", folder)
                outcomes.append("begun")
            except InputError:
                outcomes.append("refused")

        done = len(outcomes)
        with steps(at, begin):
            prune(model, Keep(newest=1))
        stays = (model.version("v0") / "model.keras").is_file() and "v0" not in standing(model).removed
        assert stays == (outcomes[done:] == ["begun"])
    assert {"begun", "refused"} == set(outcomes)


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Let nobody write in a folder: not root either, whom permissions do not stop."""
    if not ROOT:
        folder.chmod(0o555)
        try:
            yield
        finally:
            folder.chmod(0o755)
        return
    for options in (["--bind"], ["-o", "remount,ro,bind"]):
        done = subprocess.run(["mount", *options, folder, folder], capture_output=True, text=True, check=False)
        if done.returncode:
            lacking(f"cannot mount a folder read-only: {done.stderr}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_registry_that_is_read_only_can_be_used(forest: ModelFolder) -> None:
    (one,) = nights(forest, 1)
    with read_only(forest.folder):
        assert predicting(forest, f"forest@{one}").record.model == f"forest@{one}"
