"""Which runs use a version: each leaves its name beside the version before it starts, wherever its folder lies."""

from __future__ import annotations

import errno
import json
import time
from pathlib import Path

from segbatch.errors import InputError, SegbatchError
from segbatch.runs.champions import standing
from segbatch.runs.files import write_json
from segbatch.runs.layout import RunPaths
from segbatch.runs.model_folder import ModelFolder
from segbatch.runs.run import open_run
from segbatch.runs.status import run_status

STARTING_S = 86_400.0
"""Age up to which a run whose folder is not complete counts as one that is being made."""
STAGES = "stages"
"""Folder of a pipeline's run that holds those of its stages."""
_NO_RIGHT = (errno.EACCES, errno.EPERM, errno.EROFS)


def note_use(model: ModelFolder, version: str, run: Path) -> None:
    """Write down that a run or a pipeline uses a version, before it is complete; in a read-only registry nothing.

    Args:
        model: the model.
        version: its version.
        run: the run's folder, `<runs>/<job name>/<run id>`, or that of a stage below; it exists.

    Raises:
        InputError: the version was removed meanwhile.
    """
    # A stage's name alone says nothing: the next run of its pipeline has one of the same name.
    parts = [*run.parts[-4:-2], run.name] if run.parent.name == STAGES else [*run.parts[-2:]]
    path = model.uses(version) / f"{'--'.join(parts)}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"run": str(run)})
    except OSError as error:
        if error.errno not in _NO_RIGHT:
            raise
    # Prune says first what it removes, and looks for uses then: of the two, one sees the other.
    if version in standing(model).removed:
        path.unlink(missing_ok=True)
        raise InputError(f"{model.name}@{version} has just been removed by prune. Name another version.")


def uses(model: ModelFolder, version: str, now: float | None = None) -> list[str]:
    """Return the folders of the runs that still need a version: all that are there and not done."""
    folder, moment = model.uses(version), time.time() if now is None else now
    if not folder.is_dir():
        return []
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            run = Path(json.loads(path.read_bytes())["run"])
            if _needs(run, moment - path.stat().st_mtime):
                found.append(str(run))
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError, TypeError):
            # What cannot be understood speaks for keeping the version.
            found.append(str(path))
    return found


def _needs(run: Path, age_s: float) -> bool:
    if not run.is_dir():
        return False
    if (stages := _stages(run)) is not None:
        return any(not RunPaths(stage).record.exists() or _needs(stage, age_s) for stage in stages)
    if not RunPaths(run).record.exists():
        return age_s < STARTING_S
    try:
        return run_status(open_run(run)).state != "done"
    except SegbatchError:
        return True


def _stages(folder: Path) -> list[Path] | None:
    """Folders that the stages of a pipeline's run have or will have; None for a single run."""
    try:
        record = json.loads((folder / "pipeline.json").read_bytes())
        return [folder / STAGES / stage["name"] for stage in record["stages"]]
    except FileNotFoundError:
        return None
