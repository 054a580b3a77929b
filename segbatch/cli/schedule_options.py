"""Options that the commands of `segbatch schedule` share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from segbatch.cluster.cron.store import StoredSchedule

name_argument = click.argument("name")
home_option = click.option(
    "--home",
    type=click.Path(path_type=Path),
    help="Folder of all schedules. Default: $SEGBATCH_SCHEDULES, or ~/.local/state/segbatch/schedules.",
)


def open_schedule(name: str, home: Path | None) -> StoredSchedule:
    """Open a schedule by its name."""
    from segbatch.cluster.cron.store import default_home, load

    return load(home.absolute() if home is not None else default_home(), name)
