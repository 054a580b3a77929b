"""Predict runs under every fault that a cluster or an archive has in store, at random moments.

After each, the run is resumed, and its masks and CSV files equal those of an undisturbed run byte for byte; or the one
tile that was spoilt is in rejected.csv with its reason, and nothing else differs. FAULTS=200 makes more of them.
"""

from __future__ import annotations

import contextlib
import csv
import os
import random
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segbatch.errors import Exit, InputError
from segbatch.runs import creation, plan
from segbatch.runs.files import maker_of
from segbatch.runs.journal import read_task
from segbatch.runs.run import Run, open_run
from segbatch.runs.tiles import read_tiles
from segbatch.runs.verification import verify
from tests.support.needs import lacking
from tests.support.traps import png_bomb
from tests.support.worlds import make_run, outputs
from tests.support.zygote import MOMENTS, Zygote

pytestmark = pytest.mark.tensorflow

FAULTS = int(os.environ.get("FAULTS", "30"))
"""Kills in all."""
SEED = int(os.environ.get("FAULTS_SEED", "7"))
KILLS_OF_A_RUN = 8
TILES = 60
SIDE = 16
SIGNALS = {signal.SIGKILL: 0.5, signal.SIGTERM: 0.25, signal.SIGUSR1: 0.25}
LATEST_S = 2.0


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Grey tiles with truth, and a network for them, made in a process of its own."""
    root = tmp_path_factory.mktemp("world")
    chance = np.random.default_rng(1)
    for number in range(TILES):
        pixels = chance.integers(0, 256, (SIDE, SIDE), np.uint8)
        for kind, values in (("images", pixels), ("masks", pixels // 128)):
            path = root / kind / "ab"[number % 2] / f"{number:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(path)
    return root


@pytest.fixture(scope="module")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    started = Zygote(tmp_path_factory.mktemp("zygote") / "log")
    yield started
    started.close()


@pytest.fixture(scope="module")
def bundle(world: Path) -> Path:
    import keras

    from tests.support.worlds import make_bundle

    keras.utils.set_random_seed(3)
    inputs = keras.Input((SIDE, SIDE, 1))
    x = keras.layers.Conv2D(2, 3, padding="same", activation="relu")(inputs)
    return make_bundle(world / "model", keras.Model(inputs, keras.layers.Conv2D(1, 1)(x)), bands=1)


def new_run(root: Path, world: Path, bundle: Path) -> Run:
    data = {"root": str(world), "images": "images", "masks": "masks", "size": [SIDE, SIDE], "bands": 1}
    settings = {"batch_size": 4, "readers": 1}
    return make_run(root, "predict", data, model=str(bundle), predict=settings, report={"pictures": 0})


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, world: Path, bundle: Path, zygote: Zygote
) -> dict[str, bytes]:
    """Masks and CSV files of a run that nothing happened to."""
    run = new_run(tmp_path_factory.mktemp("undisturbed"), world, bundle)
    complete(run.paths.folder, zygote)
    found = outputs(run)
    assert len(found) == TILES + 4
    return found


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """Dice that fall as they did before for the same seed."""
    print(f"FAULTS_SEED={SEED}")
    return random.Random(f"{SEED} {request.node.name}")


@pytest.fixture
def run(tmp_path: Path, world: Path, bundle: Path) -> Run:
    return new_run(tmp_path, world, bundle)


def complete(folder: Path, zygote: Zygote, code: int = Exit.OK) -> Run:
    """Go on with a run to its end."""
    assert zygote.run(folder, 0) == Exit.OK
    assert zygote.run(folder, None) == code
    return open_run(folder)


def check_whole(run: Run, undisturbed: dict[str, bytes]) -> None:
    """The run is as if nothing had happened."""
    assert outputs(run) == undisturbed
    proof = verify(run)
    assert proof.holds, [check for check in proof.checks if check.problems]
    assert not [path for path in run.paths.folder.rglob("*.tmp") if maker_of(path.name)]


def check_rejected(run: Run, undisturbed: dict[str, bytes], reasons: dict[str, str]) -> None:
    """The spoilt tiles are rejected with their reasons, and nothing else differs."""
    with (run.paths.report / "rejected.csv").open(newline="") as handle:
        rejected = {row["tile"]: row["reason"] for row in csv.DictReader(handle)}
    assert set(rejected) == set(reasons)
    for tile, words in reasons.items():
        assert words in rejected[tile]
    found = outputs(run)
    assert {name for name in undisturbed if name not in found} == {f"masks/{tile}" for tile in reasons}
    assert all(found[name] == undisturbed[name] for name in found if name.startswith("masks/"))
    lines = undisturbed["report/tiles.csv"].splitlines(keepends=True)
    kept = [line for line in lines if line.decode().split(",")[0] not in reasons]
    assert found["report/tiles.csv"] == b"".join(kept)
    assert verify(run).holds


def blow(chance: random.Random, number: int) -> dict[str, object]:
    """A signal at a random moment."""
    moment = chance.choice(MOMENTS)
    count = chance.uniform(0, LATEST_S) if moment == "at a time" else chance.randint(1, 10)
    return {"signal": number, "moment": moment, "count": count}


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_killed_at_random_moments(
    tmp_path: Path,
    world: Path,
    bundle: Path,
    zygote: Zygote,
    undisturbed: dict[str, bytes],
    chance: random.Random,
    number: signal.Signals,
) -> None:
    left = round(FAULTS * SIGNALS[number])
    while left > 0:
        run = new_run(tmp_path / str(left), world, bundle)
        for _ in range(min(KILLS_OF_A_RUN, left)):
            code = zygote.run(run.paths.folder, 0, **blow(chance, number))
            # Before it listens, a task dies of any signal.
            assert code in (-number, Exit.INTERRUPTED, Exit.OK)
            left -= code != Exit.OK
            if code == Exit.OK:
                break
        check_whole(complete(run.paths.folder, zygote), undisturbed)


def test_the_finishing_task_killed(
    run: Run, zygote: Zygote, undisturbed: dict[str, bytes], chance: random.Random
) -> None:
    assert zygote.run(run.paths.folder, 0) == Exit.OK
    for _ in range(3):
        fault = {"signal": signal.SIGKILL, "moment": "at a time", "count": chance.uniform(0, 0.3)}
        assert zygote.run(run.paths.folder, None, **fault) in (-signal.SIGKILL, Exit.OK)
    check_whole(complete(run.paths.folder, zygote), undisturbed)


def test_clock_jumps(run: Run, zygote: Zygote, undisturbed: dict[str, bytes], chance: random.Random) -> None:
    for jump in (-86400.0 * chance.randint(1, 400), 3600.0 * chance.randint(1, 9000)):
        zygote.run(run.paths.folder, 0, clock=jump, **blow(chance, signal.SIGKILL))
    assert zygote.run(run.paths.folder, 0, clock=-1e8) == Exit.OK
    check_whole(complete(run.paths.folder, zygote), undisturbed)


def test_two_attempts_at_once(run: Run, zygote: Zygote, undisturbed: dict[str, bytes], chance: random.Random) -> None:
    faults = [blow(chance, signal.SIGKILL), {}]
    attempts = [zygote.start(run.paths.folder, 0, **fault) for fault in faults]
    codes = [zygote.wait(attempt) for attempt in attempts]
    assert codes[1] == Exit.OK
    check_whole(complete(run.paths.folder, zygote), undisturbed)


def test_the_run_folder_moves_between_attempts(
    run: Run, zygote: Zygote, undisturbed: dict[str, bytes], chance: random.Random, tmp_path: Path
) -> None:
    folder = run.paths.folder
    for step in range(2):
        zygote.run(folder, 0, **blow(chance, chance.choice(list(SIGNALS))))
        folder = Path(shutil.move(folder, tmp_path / f"moved here {step}"))
    check_whole(complete(folder, zygote), undisturbed)


@pytest.fixture
def own_tiles(tmp_path: Path, world: Path) -> Path:
    """The same tiles, to be spoilt."""
    return Path(shutil.copytree(world, tmp_path / "tiles", ignore=shutil.ignore_patterns("model")))


def truncated(path: Path, chance: random.Random) -> str:
    content = path.read_bytes()
    path.write_bytes(content[: chance.randint(20, len(content) - 13)])
    return "truncated"


def other_size(path: Path, chance: random.Random) -> str:
    Image.new("L", (SIDE, SIDE + chance.choice((-1, 1, 50)))).save(path)
    return "`data.size` declares"


def other_bands(path: Path, chance: random.Random) -> str:
    Image.new(chance.choice(("RGB", "RGBA")), (SIDE, SIDE)).save(path)
    return "where the model takes 1"


def bomb(path: Path, chance: random.Random) -> str:
    path.write_bytes(png_bomb())
    return "too large: 30,000 x 20,000 pixels"


def vanished(path: Path, chance: random.Random) -> str:
    path.unlink()
    return "missing file"


def test_spoilt_tiles_are_rejected_alone_and_done_when_they_are_mended(
    tmp_path: Path,
    own_tiles: Path,
    world: Path,
    bundle: Path,
    zygote: Zygote,
    undisturbed: dict[str, bytes],
    chance: random.Random,
) -> None:
    run = new_run(tmp_path, own_tiles, bundle)
    spoils: list[Callable[[Path, random.Random], str]] = [truncated, other_size, other_bands, bomb, vanished]
    images = own_tiles / "images"
    names = chance.sample(sorted(str(path.relative_to(images)) for path in images.glob("*/*")), len(spoils))
    # Killed between a mask and its row: if that tile is among the spoilt ones, its mask must go.
    zygote.run(run.paths.folder, 0, signal=signal.SIGKILL, moment="after rename", count=chance.randint(1, 20))
    kept = [
        tile.image for index, tile in enumerate(read_tiles(run.paths.tiles)) if index in read_task(run.paths.task(0))
    ]
    begun = [name.removeprefix("masks/") for name in outputs(run) if name.removeprefix("masks/") not in kept]
    names = list(dict.fromkeys([*begun, *names]))[: len(spoils)]
    reasons = {name: spoil(images / name, chance) for name, spoil in zip(names, spoils, strict=True)}
    reasons = {name: words for name, words in reasons.items() if name not in kept}
    zygote.run(run.paths.folder, 0, **blow(chance, signal.SIGKILL))
    check_rejected(complete(run.paths.folder, zygote, Exit.REJECTED), undisturbed, reasons)
    for name in names:
        shutil.copy(world / "images" / name, images / name)
    check_whole(complete(run.paths.folder, zygote), undisturbed)


def test_tiles_that_are_written_while_they_are_read(
    tmp_path: Path, own_tiles: Path, bundle: Path, zygote: Zygote, undisturbed: dict[str, bytes], chance: random.Random
) -> None:
    """Copying an archive goes on while it is predicted: each tile comes out right, or rejected until it is whole."""
    run = new_run(tmp_path, own_tiles, bundle)
    paths = chance.sample(sorted(own_tiles.glob("images/*/*")), 10)
    whole = {path: path.read_bytes() for path in paths}
    over = threading.Event()

    def rewrite() -> None:
        while not over.is_set():
            for path, content in whole.items():
                half = len(content) // 2
                path.unlink()
                over.wait(0.002)
                with path.open("wb", buffering=0) as handle:
                    handle.write(content[:half])
                    over.wait(0.002)
                    handle.write(content[half:])

    writer = threading.Thread(target=rewrite)
    writer.start()
    assert zygote.run(run.paths.folder, 0) == Exit.OK
    over.set()
    writer.join()
    check_whole(complete(run.paths.folder, zygote), undisturbed)


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of 2 MB, which only root can mount."""
    folder.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True, text=True)
    if mount.returncode:
        lacking(f"only root can mount a small disk: {mount.stderr}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_disk_full(
    tmp_path: Path, world: Path, bundle: Path, zygote: Zygote, undisturbed: dict[str, bytes], chance: random.Random
) -> None:
    with small_disk(tmp_path / "disk") as disk:
        run = new_run(disk, world, bundle)
        ballast, page = disk / "ballast", os.sysconf("SC_PAGE_SIZE")
        for _ in range(3):
            free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
            left = chance.randint(0, 12) * page
            ballast.write_bytes(bytes(free - left))
            before = zygote.log.stat().st_size
            assert zygote.run(run.paths.folder, 0) == Exit.FAILED
            said = zygote.log.read_bytes()[before:].decode()
            assert "No space left on device" in said
            assert "Traceback" not in said
            ballast.unlink()
        check_whole(complete(run.paths.folder, zygote), undisturbed)


def test_read_only_output(
    tmp_path: Path, world: Path, bundle: Path, zygote: Zygote, undisturbed: dict[str, bytes], chance: random.Random
) -> None:
    with small_disk(tmp_path / "disk") as disk:
        run = new_run(disk, world, bundle)
        zygote.run(run.paths.folder, 0, **blow(chance, signal.SIGKILL))
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        before = zygote.log.stat().st_size
        for task in (0, None):
            assert zygote.run(run.paths.folder, task) == Exit.FAILED
        said = zygote.log.read_bytes()[before:].decode()
        assert "Read-only file system" in said
        assert "Traceback" not in said
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        check_whole(complete(run.paths.folder, zygote), undisturbed)


def test_two_runs_never_share_a_folder(
    run: Run, tmp_path: Path, world: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Submitted within the same second, with the same token: the second is refused and the first left alone."""
    before = {path: path.read_bytes() for path in run.paths.folder.rglob("*") if path.is_file()}
    token = run.record.id.rpartition("-")[2]
    monkeypatch.setattr(creation.secrets, "token_hex", lambda size: token)
    created = datetime.fromisoformat(run.record.created).astimezone(UTC)
    again = plan.make_plan(run.job, tmp_path / "job.yaml", runs_root=tmp_path / "runs")
    with pytest.raises(InputError, match="File exists"):
        creation.create_run(again, now=created)
    assert {path: path.read_bytes() for path in run.paths.folder.rglob("*") if path.is_file()} == before
