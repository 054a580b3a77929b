"""Checkpoints: whole or noticed, the right ones kept, refused by another training; and resuming to the bit."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from segbatch.errors import InputError, Interrupted
from segbatch.training.checkpoint import Checkpoints, DamagedCheckpointError, read_arrays, write_arrays
from segbatch.training.identity import identity_of
from tests.support.tiny_training import TRAIN_STEPS, make_eventful_job, make_job, run

pytestmark = [pytest.mark.tensorflow, pytest.mark.usefixtures("determinism_ends_here")]

ARRAYS = [
    np.linspace(-1, 1, 60, dtype=np.float32).reshape(3, 4, 5),
    np.array(7, np.int64),
    np.array([1, 2**40], np.int64),
    np.zeros((0, 3), np.float32),
]
NAMES = {"train": ["a.png", "b.png"], "val": ["c.png"]}


@pytest.fixture
def checkpoints(tmp_path):
    lines: list[str] = []
    store = Checkpoints(tmp_path / "checkpoints", identity_of(make_job(), NAMES), lines.append)
    store.lines = lines
    return store


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def equal(one, other) -> bool:
    return len(one) == len(other) and all(
        a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        for a, b in zip(one, other, strict=True)
    )


def test_arrays_and_state_come_back(tmp_path):
    path = tmp_path / "x.npz"
    state = {"value": 0.1 + 0.2, "none": None, "name": 'wei\udcffrd, \n"é'}
    write_arrays(path, ARRAYS, state)
    arrays, found = read_arrays(path)
    assert equal(arrays, ARRAYS)
    assert found.items() >= state.items()
    assert names(tmp_path) == ["x.npz"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255), cut=st.booleans())
def test_damage_is_noticed(tmp_path, place, flip, cut):
    path = tmp_path / "x.npz"
    if not path.exists():
        write_arrays(path, ARRAYS, {"epoch": 3})
    data = bytearray(path.read_bytes())
    at = int(place * len(data))
    if cut:
        del data[at:]
    else:
        data[at] ^= flip
    broken = tmp_path / "y.npz"
    broken.write_bytes(data)
    try:
        arrays, state = read_arrays(broken)
    except DamagedCheckpointError:
        return
    # What was hit then is nothing that counts, such as a time stamp.
    assert equal(arrays, ARRAYS)
    assert state["epoch"] == 3


def test_as_many_are_kept_as_wanted(tmp_path):
    kept = Checkpoints(tmp_path, identity_of(make_job(), NAMES), keep=4)
    for epoch in range(1, 7):
        kept.write(epoch, 0, ARRAYS, {"epoch": epoch}, None)
    assert names(tmp_path) == [f"checkpoint-{epoch:06d}-000000000.npz" for epoch in (3, 4, 5, 6)]


def test_last_two_and_their_best_are_kept(checkpoints, tmp_path):
    folder = tmp_path / "checkpoints"
    assert checkpoints.latest() is None
    for epoch, best in [(1, 1), (2, 1), (3, 3), (4, 3)]:
        if best == epoch:
            checkpoints.write_best(epoch, ARRAYS[:2])
        checkpoints.write(epoch, 0, ARRAYS, {"epoch": epoch}, best)
        if epoch == 3:
            assert names(folder)[:2] == ["best-000001.npz", "best-000003.npz"]
    assert names(folder) == [
        "best-000003.npz",
        "checkpoint-000003-000000000.npz",
        "checkpoint-000004-000000000.npz",
    ]
    checkpoints.write(4, 320, ARRAYS, {"epoch": 4, "position": 320}, 3)
    assert checkpoints.latest().state == {"epoch": 4, "position": 320}
    assert equal(checkpoints.best(3), ARRAYS[:2])


@pytest.mark.parametrize("what", ["checkpoint-000002-000000000.npz", "best-000002.npz"])
def test_a_damaged_one_is_left_aside_for_the_one_before(checkpoints, tmp_path, what):
    for epoch in (1, 2):
        checkpoints.write_best(epoch, ARRAYS[:1])
        checkpoints.write(epoch, 0, ARRAYS, {"epoch": epoch}, epoch)
    path = tmp_path / "checkpoints" / what
    path.write_bytes(path.read_bytes()[:-30])
    (tmp_path / "checkpoints" / ".checkpoint-000003-000000000.npz.12-ab.tmp").write_bytes(b"half")
    assert checkpoints.latest().state == {"epoch": 1}
    assert len(checkpoints.lines) == 1
    assert what in checkpoints.lines[0]
    assert "damaged-checkpoint-000002-000000000.npz" in names(tmp_path / "checkpoints")
    assert not list((tmp_path / "checkpoints").glob("*.tmp"))


def test_another_training_is_refused_by_name(checkpoints, tmp_path):
    checkpoints.write(1, 0, ARRAYS, {"epoch": 1}, None)
    other = make_job(train={"batch_size": 8}, augment=[])
    folder = tmp_path / "checkpoints"
    with pytest.raises(InputError, match=r"train\.batch_size was 4, is 8") as caught:
        Checkpoints(folder, identity_of(other, NAMES)).latest()
    assert 'augment[0].op was "flip_left_right", is not set' in str(caught.value)
    fewer = {"train": ["a.png"], "val": ["c.png"]}
    with pytest.raises(InputError, match=r"other tiles in part train \(2 then, 1 now\)"):
        Checkpoints(folder, identity_of(make_job(), fewer)).latest()
    lines: list[str] = []
    forced = Checkpoints(folder, identity_of(other, NAMES), lines.append, force=True).latest()
    assert any("train.batch_size was 4, is 8" in change for change in forced.changed)
    assert "going on although the job was changed" in lines[0]
    # What does not change the result may change.
    free = make_job(train={"previews": 9, "readers": 7, "checkpoint_minutes": 1.0, "max_rejected": 3})
    assert Checkpoints(folder, identity_of(free, NAMES)).latest() is not None


def test_a_default_that_is_written_out_is_no_change():
    short, long = (make_job(phases=[{"augment": [step]}]) for step in ("hue", {"op": "hue", "amount": 0.1, "p": 0.5}))
    assert not identity_of(short, NAMES).differences(identity_of(long, NAMES).to_json())


class Outcome:
    """What a finished training leaves that must not depend on how it was interrupted."""

    def __init__(self, folder: Path) -> None:
        last = sorted((folder / "training" / "checkpoints").glob("checkpoint-*.npz"))[-1]
        self.variables = read_arrays(last)[0]
        self.history = (folder / "training" / "history.csv").read_bytes()
        model = keras.models.load_model(folder / "model" / "model.keras")
        self.bundle = [np.asarray(variable) for variable in model.variables]
        self.info = (folder / "model" / "bundle.json").read_bytes()

    def assert_same(self, other: Outcome) -> None:
        assert self.history == other.history
        assert equal(self.variables, other.variables)
        assert equal(self.bundle, other.bundle)
        assert self.info == other.info


@pytest.fixture(scope="module")
def undisturbed(tiles, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    run(make_eventful_job(), tiles, folder)
    return Outcome(folder)


def attempt(tiles, folder: Path, steps: int) -> bool:
    """Train until the end or for so many steps; tell whether it ended."""
    left = iter(range(steps))
    try:
        run(make_eventful_job(), tiles, folder, stop=lambda: next(left, None) is None)
    except Interrupted:
        return False
    return True


def test_stopped_and_resumed_ends_as_undisturbed(tiles, undisturbed, tmp_path):
    # After the first step, at the last step of the training part, within validation, and where chance has it.
    generator = random.Random(7)
    stops = [0, TRAIN_STEPS - 2, 0, generator.randrange(1, 5)]
    ended = [attempt(tiles, tmp_path, steps) for steps in stops]
    assert ended == [False] * len(stops)
    assert attempt(tiles, tmp_path, 1000)
    Outcome(tmp_path).assert_same(undisturbed)


kills = st.tuples(st.sampled_from(["flush", "step"]), st.integers(1, 24))


@settings(max_examples=3, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(deaths=st.lists(kills, min_size=1, max_size=2))
def test_killed_anywhere_and_resumed_ends_as_undisturbed(tiles, undisturbed, tmp_path_factory, repo, deaths):
    folder = tmp_path_factory.mktemp("killed") / "run"
    source = os.path.dirname(os.fsdecode(tiles[0][0]))
    for what, number in deaths:
        killed = subprocess.run(
            [sys.executable, "-m", "tests.support.tiny_training", source, folder, what, str(number)],
            cwd=repo,
            capture_output=True,
            check=False,
        )
        # It may have reached its end before.
        assert killed.returncode in (-signal.SIGKILL, 0), killed.stderr.decode()
    assert attempt(tiles, folder, 1000)
    Outcome(folder).assert_same(undisturbed)
