"""Phases, early stopping, plateaus and the best epoch: by worked figures, and in trainings of a few tiles."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from segbatch.errors import InputError
from segbatch.models.build import build
from segbatch.spec.network import Model
from segbatch.training.checkpoint import read_arrays
from segbatch.training.course import Course
from segbatch.training.judging import Watch, figure_of, is_better
from segbatch.training.loop import begin
from segbatch.training.metrics import Figures
from segbatch.training.state import EpochRecord, TrainState
from tests.support import encoders  # noqa: F401
from tests.support.tiny_training import make_job, run

pytestmark = [pytest.mark.tensorflow, pytest.mark.usefixtures("determinism_ends_here")]

NOTHING = Figures(None, None, None, None, (None,) * 3, (None,) * 3)


def read_history(folder: Path) -> list[dict[str, str]]:
    with (folder / "training" / "history.csv").open(newline="") as handle:
        return list(csv.DictReader(handle))


def follow(job, values: list[float | None], metric: str = "iou") -> tuple[list[tuple[int, float, bool]], TrainState]:
    """Pretend epochs with these validation figures; phase, learning rate and whether it is the best, of each."""
    state = begin(3)
    course = Course(job, state, 8)
    seen = []
    for value in values:
        if course.finished:
            break
        course.advance()
        rate = course.rate()
        record = EpochRecord(state.epoch + 1, NOTHING, replace(NOTHING, **{metric: value}), rate, course.number)
        state.history.append(record)
        state.epoch += 1
        seen.append((course.number, rate, course.finish_epoch(record)))
    return seen, state


def test_a_phase_ends_early_and_the_next_counts_anew():
    stop = {"patience": 2, "min_gain": 0.05}
    job = make_job(train={"epochs": 6, "early_stop": stop}, phases=[{}, {"epochs": 3, "learning_rate": 0.001}])
    # 0.3 gains; 0.34 is too little; 0.33 is nothing: after two epochs without gain the second phase begins.
    seen, state = follow(job, [0.3, 0.34, 0.33, 0.2, 0.26, 0.25, 0.25, 0.25])
    assert [phase for phase, _, _ in seen] == [1, 1, 1, 2, 2, 2]
    assert [rate for _, rate, _ in seen] == [0.01] * 3 + [0.001] * 3
    # The best epoch counts every gain, over all phases.
    assert [best for _, _, best in seen] == [True, True, False, False, False, False]
    assert (state.best_epoch, state.best_value) == (2, 0.34)


def test_early_stop_ends_the_training():
    job = make_job(train={"epochs": 50, "early_stop": {"patience": 3, "metric": "loss"}, "best": "loss"})
    seen, _ = follow(job, [3.0, 2.0, 2.5, None, 2.1, 1.0], "loss")
    assert len(seen) == 5


def test_a_plateau_lowers_the_rate_again_and_again():
    schedule = {"name": "plateau", "patience": 2, "factor": 0.5, "metric": "loss", "min_rate": 0.003}
    job = make_job(train={"epochs": 8}, optimizer={"schedule": schedule})
    seen, _ = follow(job, [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 0.9, 0.8], "loss")
    assert [rate for _, rate, _ in seen] == [0.01, 0.01, 0.01, 0.005, 0.005, 0.003, 0.003, 0.003]


def test_figures_by_name():
    figures = Figures(1.5, 0.9, 0.4, 0.6, (0.1, None, 0.7), (0.2, None, 0.8))
    names = ("ground", "box", "stripe")
    shown = {m: figure_of(figures, m, names) for m in ("loss", "accuracy", "iou", "dice", "iou:stripe", "dice:box")}
    assert shown == {"loss": 1.5, "accuracy": 0.9, "iou": 0.4, "dice": 0.6, "iou:stripe": 0.7, "dice:box": None}


def test_what_is_better():
    assert is_better(0.5, None, "iou")
    assert not is_better(None, None, "iou")
    assert not is_better(None, 0.1, "loss")
    assert is_better(0.5, 0.6, "loss")
    assert not is_better(0.5, 0.6, "dice:box")
    assert not is_better(0.55, 0.5, "iou", 0.1)
    watch = Watch()
    for value in (0.1, 0.1, None, 0.3, 0.2):
        watch.see(value, "iou", 0.0)
    assert watch == Watch(best=0.3, since=1)


def test_phases_in_a_training(tiles, tmp_path):
    """Frozen first, then fine-tuned at a lower rate: weights move when they should, and history tells."""
    job = make_job(
        train={"epochs": 2, "keep_checkpoints": 9},
        phases=[{}, {"epochs": 1, "freeze": False, "learning_rate": 0.001, "augment": [], "optimizer_state": "reset"}],
    )
    job = job.model_copy(update={"model": Model(encoder="small", input=(32, 32), freeze=True)})
    lines: list[str] = []
    run(job, tiles, tmp_path, log=lines.append)
    assert [(row["phase"], row["learning_rate"]) for row in read_history(tmp_path)] == [
        ("1", "0.01"), ("1", "0.01"), ("2", "0.001"),
    ]  # fmt: skip
    assert "phase 2 of 2" in lines
    first, second, third = (
        read_arrays(path)[0] for path in sorted((tmp_path / "training" / "checkpoints").glob("checkpoint-*"))
    )
    assert len(first) == len(third)
    model = keras.models.load_model(tmp_path / "model" / "model.keras")
    count = len(model.variables)
    inner = model.get_layer("small")
    mine = {id(variable) for variable in inner.variables}
    places = [number for number, variable in enumerate(model.variables) if id(variable) in mine]
    changed = [(a != b).any() for a, b in zip(first, second, strict=True)]
    assert not any(changed[number] for number in places), "frozen weights and statistics stay"
    assert all((second[number] != third[number]).any() for number in places)
    # The optimiser was reset: its count of steps is that of one epoch.
    steps = [int(values[count]) for values in (first, second, third)]
    assert steps == [3, 6, 3]


def test_dropout_rates_reach_the_network(tiles, tmp_path):
    rates = [[0, 0.3], [1, 0.6]]
    job = make_job(train={"epochs": 2, "dropout": rates}, phases=[{}, {"epochs": 1, "dropout": 0.0}])
    run(job, tiles, tmp_path)
    assert [row["dropout"] for row in read_history(tmp_path)] == ["0.3", "0.6", "0.0"]


def test_raised_epochs_need_force_and_then_go_on(tiles, tmp_path):
    run(make_job(train={"epochs": 2}), tiles, tmp_path)
    longer = make_job(train={"epochs": 3})
    with pytest.raises(InputError, match=r"train\.epochs was 2, is 3.*--force"):
        run(longer, tiles, tmp_path)
    lines: list[str] = []
    summary = run(longer, tiles, tmp_path, log=lines.append, force=True)
    assert lines[0] == "going on although the job was changed: train.epochs was 2, is 3"
    assert lines[1] == "going on in epoch 3 of 3"
    assert summary["epochs"] == 3
    # The same as if it had been three from the start, and no force is needed any more.
    run(longer, tiles, tmp_path / "whole")
    assert (tmp_path / "training" / "history.csv").read_bytes() == (
        tmp_path / "whole" / "training" / "history.csv"
    ).read_bytes()
    assert run(longer, tiles, tmp_path) == summary


def test_another_figure_picks_the_best_epoch_from_then_on(tiles, tmp_path):
    run(make_job(train={"epochs": 2}), tiles, tmp_path)
    summary = run(make_job(train={"epochs": 3, "best": "iou:box"}), tiles, tmp_path, force=True)
    values = [float(row["val_iou box"]) for row in read_history(tmp_path)]
    assert summary["scores"]["class_iou"]["box"] == values[summary["best_epoch"] - 1]
    assert values[summary["best_epoch"] - 1] >= values[2]


def test_averaged_weights_are_validated_and_kept(tiles, tmp_path):
    """The bundle's weights are the running average of the learned ones, by the formula."""
    job = make_job(
        optimizer={"ema": 0.5, "name": "sgd", "learning_rate": 0.1},
        train={"epochs": 1, "checkpoint_minutes": 1e-9, "keep_checkpoints": 99, "batch_size": 4},
        model={"input": (32, 32), "filters": 4, "depth": 1},
        augment=[],
    )
    run(job, tiles, tmp_path)
    model = keras.models.load_model(tmp_path / "model" / "model.keras")
    paths = sorted((tmp_path / "training" / "checkpoints").glob("checkpoint-000000-*"))
    kernels = [read_arrays(path)[0][0] for path in paths]
    average = build(job.model, bands=3, channels=3, seed=job.seed).variables[0].numpy()
    for number, kernel in enumerate(kernels[:3]):
        decay = min(0.5, (1 + number) / (10 + number))
        average = decay * average + (1 - decay) * kernel
    np.testing.assert_allclose(model.variables[0].numpy(), average, rtol=1e-5, atol=1e-7)
    assert np.abs(kernels[2] - average).max() > 1e-4
