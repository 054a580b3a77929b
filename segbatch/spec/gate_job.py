"""What a gate job says: which model challenges which champion, and by which rules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from segbatch.spec.common import Common
from segbatch.spec.data import Data
from segbatch.spec.gate import Gate
from segbatch.spec.model_name import is_plain_name
from segbatch.spec.section import Conflict, Expected, FileName

PlainName = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"),
    Expected("a name of up to 100 letters, digits, '.', '_' and '-' that begins with a letter or digit"),
]


class GateJob(Common):
    """Compare a new model with the champion on one holdout, and promote the better."""

    kind: Literal["gate"]
    """What the job does."""
    data: Data = Data()
    """Nothing: what both models are compared on is what the challenger's run predicted."""
    model: PlainName
    """Name of the registered model: `forest` of `forest@champion`."""
    challenger: FileName
    """Predict run of the new model on the holdout, with ground truth: a run's folder. In a pipeline
    `${stages.NAME.run}`, of which the champion's run comes by itself."""
    champion: FileName | None = None
    """Predict run of the champion on the same holdout; needed where the registry has no figures of it."""
    version: PlainName | None = None
    """What the new version is called. Defaults to the day on which it was trained, UTC."""
    gate: Gate = Gate()
    """The rules of promotion."""

    def conflicts(self) -> Iterator[Conflict]:
        """Data of its own, and a version whose name is taken."""
        for key in self.data.model_fields_set - {"root"}:
            message = "a gate job has no data of its own; it compares what `challenger` and the champion predicted"
            yield Conflict(("data", key), message)
        if self.version is not None and not is_plain_name(self.version):
            yield Conflict(("version",), f"{self.version!r} cannot name a version")
