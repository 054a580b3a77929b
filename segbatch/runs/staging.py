"""Copies of a task's tiles on the node's own disk, made before it reads them."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

from segbatch.errors import Interrupted, SegbatchError
from segbatch.runs import packs
from segbatch.runs.run import Run
from segbatch.runs.tiles import Tile

VARIABLE = "SEGBATCH_SCRATCH"
"""Names the folder that the batch script made on the node's own disk."""
COPIERS = 16
"""Files copied at once: what a network file system takes to answer is waited for in parallel."""
PIECE = 8 << 20
GAP = 256 << 10
"""Bytes between two members that are read along with them, rather than in two pieces."""
_PREFIX = "segbatch-tiles-"
Roots = tuple[str, str, str]
"""Folders of images, masks and labelled regions; empty where there are none."""
Stop = Callable[[], bool]


@contextmanager
def staged(
    run: Run, tiles: Iterable[Tile], stop: Stop = lambda: False, log: Callable[[str], None] = lambda line: None
) -> Iterator[Roots]:
    """Give the folders to read a run's tiles from: with `resources.scratch`, copies that are removed in the end.

    A file that cannot be read is left out, so that its tile is rejected as it would be without a copy.

    Args:
        run: the run.
        tiles: those that will be read.
        stop: asked now and then whether to stop.
        log: told what was copied.

    Raises:
        Interrupted: `stop` said so.
        SegbatchError: the node's disk has no room, or cannot be written.
    """
    record = run.record
    roots: Roots = (record.images_root, record.masks_root, record.labelled_root)
    if not run.job.resources.scratch:
        yield roots
        return
    base = _base(run)
    begun = time.perf_counter()
    with _folder(base) as folder:
        named = list(tiles)
        names = ([tile.image for tile in named], [tile.mask for tile in named], [tile.labelled for tile in named])
        copy = _Copy(folder, stop)
        for number, (root, some) in enumerate(zip(roots, names, strict=True)):
            if root:
                copy.plan(root, folder / str(number), some)
        size = copy.execute(base)
        seconds = time.perf_counter() - begun
        log(f"{size / 1e6:.1f} MB of tiles copied to {folder} in {seconds:.1f} s")
        images, masks, regions = (str(folder / str(number)) if root else "" for number, root in enumerate(roots))
        yield images, masks, regions


def _base(run: Run) -> Path:
    """Folder on the node's own disk: the batch script's, the site's, or that for temporary files."""
    said = os.environ.get(VARIABLE) or os.path.expandvars(str(run.record.site.get("scratch") or "$"))
    return Path(tempfile.gettempdir() if "$" in said else said)


@contextmanager
def _folder(base: Path) -> Iterator[Path]:
    """Make a folder of this process's own, and remove those that killed ones left."""
    made = not base.exists()
    try:
        base.mkdir(parents=True, exist_ok=True)
        for entry in base.glob(f"{_PREFIX}*"):
            if _abandoned(entry):
                shutil.rmtree(entry, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
    except OSError as error:
        raise _unwritable(base, error) from error
    # Held as long as this process lives, however it ends.
    lock = os.open(folder / "lock", os.O_WRONLY | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        packs.forget()
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)
        if made:  # By the batch script's name, on a node where it does not run.
            with suppress(OSError):
                base.rmdir()


def _abandoned(folder: Path) -> bool:
    try:
        lock = os.open(folder / "lock", os.O_WRONLY)
    except OSError:
        return False  # Another user's, or one in the making.
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(lock)
    return True


def _unwritable(folder: Path, error: OSError) -> SegbatchError:
    return SegbatchError(
        f"resources.scratch: cannot write in {error.filename or folder}: {error.strerror}. Expected a folder on the "
        "node's own disk: name it under `scratch` in the site file, or leave out `resources.scratch`."
    )


class _Copy:
    """What is to be copied; files one by one, of archives the pieces that hold the members."""

    def __init__(self, folder: Path, stop: Stop) -> None:
        self._folder, self._stop = folder, stop
        self._files: dict[Path, str] = {}
        """Copy -> file."""
        self._archives: dict[Path, tuple[str, Sequence[tuple[int, int]]]] = {}
        """Copy -> archive, and the pieces of it that are needed."""

    def plan(self, root: str, target: Path, names: Iterable[str]) -> None:
        """Take files in, named relative to `root`."""
        members: dict[str, list[packs.Entry]] = defaultdict(list)
        for name in filter(None, names):
            source = os.path.join(root, name)
            place = packs.split_path(source)
            if place is None:
                self._files[target / name] = source
                continue
            try:
                entry = packs.find_member(*place)
            except FileNotFoundError:  # A folder may be called like an archive.
                self._files[target / name] = source
            except OSError:
                continue
            else:
                members[place[0]] += [entry] if entry is not None else []
        for archive, entries in members.items():
            self._archives[target / os.path.relpath(archive, root)] = (archive, _pieces(entries))

    def execute(self, base: Path) -> int:
        """Copy everything; returns the bytes."""
        with ThreadPoolExecutor(COPIERS) as pool:
            needed = sum(stop - start for _, pieces in self._archives.values() for start, stop in pieces)
            needed += sum(pool.map(_size, self._files.values(), chunksize=64))
            self._need_room(base, needed)
            try:
                for folder in {path.parent for path in self._files}:
                    folder.mkdir(parents=True, exist_ok=True)
                remaining = iter(self._files.items())
                while some := list(islice(remaining, 64 * COPIERS)):
                    list(pool.map(_copy_file, *zip(*some, strict=True)))
                    self._may_stop()
                for target, (archive, pieces) in self._archives.items():
                    self._copy_archive(archive, target, pieces)
            except OSError as error:
                raise _unwritable(base, error) from error
        return needed

    def _need_room(self, base: Path, needed: int) -> None:
        free = shutil.disk_usage(base).free
        if needed > free:
            raise SegbatchError(
                f"resources.scratch: the tiles of this task take {needed / 1e6:,.0f} MB, {base} has "
                f"{free / 1e6:,.0f} MB free. Cut the work into more tasks (`segbatch resume --tasks N`, or "
                "`predict.tasks`), name another folder under `scratch` in the site file, or leave out "
                "`resources.scratch`."
            )

    def _copy_archive(self, archive: str, target: Path, pieces: Sequence[tuple[int, int]]) -> None:
        """Copy pieces to their own places in a sparse file, so that the index stays true."""
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(packs.index_path(Path(archive)), packs.index_path(target))
        with Path(archive).open("rb", buffering=0) as source, target.open("wb", buffering=0) as copy:
            os.truncate(copy.fileno(), os.fstat(source.fileno()).st_size)
            for start, stop in pieces:
                while start < stop and (block := _pread(source.fileno(), min(PIECE, stop - start), start)):
                    start += _pwrite(copy.fileno(), block, start)
                    self._may_stop()

    def _may_stop(self) -> None:
        if self._stop():
            raise Interrupted(
                "stopped by a signal while tiles were copied; resume continues after what was done before"
            )


def _pieces(entries: Iterable[packs.Entry]) -> list[tuple[int, int]]:
    """Bytes of an archive that hold these members, as few long pieces."""
    found: list[tuple[int, int]] = []
    for start, stop in sorted((entry.offset, entry.offset + entry.size) for entry in entries):
        if found and start - found[-1][1] <= GAP:
            found[-1] = (found[-1][0], max(stop, found[-1][1]))
        else:
            found.append((start, stop))
    return found


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0


def _copy_file(target: Path, path: str) -> None:
    """Copy a file; one that cannot be read is left out."""
    try:
        source = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        with target.open("wb", buffering=0) as copy:
            done = 0
            while block := _pread(source, PIECE, done):
                done += _pwrite(copy.fileno(), block, done)
    finally:
        os.close(source)


def _pread(descriptor: int, size: int, offset: int) -> bytes:
    try:
        return os.pread(descriptor, size, offset)
    except OSError:
        return b""


def _pwrite(descriptor: int, block: bytes, offset: int) -> int:
    pending = memoryview(block)
    while pending:
        written = os.pwrite(descriptor, pending, offset)
        if not written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        offset += written
        pending = pending[written:]
    return len(block)
