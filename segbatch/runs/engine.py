"""Which engine computes a run's masks: decided once, by the first task that asks."""

from __future__ import annotations

import json
import os

from segbatch.errors import SegbatchError
from segbatch.runs.files import temporary_name, write_json
from segbatch.runs.layout import RunPaths
from segbatch.spec.engines import EngineName
from segbatch.spec.section import Section


class EngineRecord(Section):
    """`engine.json` of a run."""

    engine: EngineName
    """As `predict.engine` calls it."""
    version: str
    """Of its package, where the run began."""


def claim_engine(paths: RunPaths, wanted: EngineRecord) -> EngineRecord:
    """Decide on an engine, unless another task or attempt has: then return what that one decided.

    Masks of two engines differ in single pixels, so a run keeps the one it began with.

    Raises:
        SegbatchError: the file is damaged.
    """
    if not paths.engine.exists():
        temporary = temporary_name(paths.engine)
        write_json(temporary, wanted.model_dump(mode="json"))
        try:
            # Unlike a rename, a link never replaces: of two tasks at once, the first one's stays.
            os.link(temporary, paths.engine)
        except FileExistsError:
            pass
        except OSError:
            # A file system without hard links.
            write_json(paths.engine, wanted.model_dump(mode="json"))
        finally:
            temporary.unlink()
    try:
        return EngineRecord.model_validate(json.loads(paths.engine.read_bytes()))
    except ValueError as error:
        raise SegbatchError(
            f"{paths.engine}: not the record of an engine ({error}). Put it back from a copy, or remove it "
            "if no mask of the run is written yet."
        ) from error
