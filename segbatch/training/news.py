"""Looking at tiles that are new since the last training, before anything is learned from them."""

from __future__ import annotations

import json
from collections.abc import Callable

from segbatch.data.lint import lint_content
from segbatch.errors import InputError
from segbatch.runs.files import write_json
from segbatch.runs.run import Run
from segbatch.spec.problems import shown


def check_news(run: Run, log: Callable[[str], None]) -> None:
    """Read every new tile of a run that asked for it, once.

    Raises:
        InputError: some are broken; each kind of fault is named with an example and what to do.
    """
    mark = run.paths.training / "new-tiles.json"
    if mark.exists() or not run.paths.news.exists():
        return
    names = {json.loads(line) for line in run.paths.news.read_text(encoding="utf-8").splitlines()}
    log(f"checking {len(names)} new tiles")
    found = lint_content(run.job, names)
    errors = [finding for finding in found if finding.severity == "error"]
    if errors:
        lines = [
            f"  {each.kind}: {shown(each.message)}, such as {shown(each.example)}. {shown(each.fix)}" for each in errors
        ]
        raise InputError("\n".join([f"of {len(names)} new tiles some are broken, and nothing was trained:", *lines]))
    for each in found:
        log(f"warning: {each.kind}: {each.message}, such as {each.example}")
    write_json(mark, {"checked": len(names)})
