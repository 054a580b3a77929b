"""What a batch job runs between two stages of a pipeline, and what drives one in the background of this machine."""

from __future__ import annotations

import sys
from pathlib import Path

from segbatch.cluster.backend import slurm_scheduler
from segbatch.cluster.local import LocalRunner, at_once
from segbatch.cluster.pipelines import HERE, LocalDriver, SlurmDriver, site_of
from segbatch.errors import SegbatchError
from segbatch.runs.pipelines import open_pipeline
from segbatch.runs.run import Run


def main(arguments: list[str]) -> int:
    """Entry: the pipeline's folder, and the stage that has ended; or `--local` and the number of tasks at once (0: the
    site's) to run it here."""
    folder, *rest = arguments
    try:
        pipeline = open_pipeline(Path(folder))
        site = site_of(pipeline)
        if rest[:1] == [HERE]:
            parallel = int(rest[1]) or None

            def run(stage: Run) -> int:
                return LocalRunner(stage, at_once(stage, parallel, site), site=site).execute()

            return LocalDriver(pipeline, site, run, _say).execute()
        status = SlurmDriver(pipeline, site, slurm_scheduler(site), _say).advance(behind=rest[0] if rest else "")
        _say(f"{pipeline.label}: {status.words}")
        # So that SLURM can tell of it.
        return status.exit_code if status.over else 0
    except SegbatchError as error:
        print(error, file=sys.stderr, flush=True)
        return int(error.exit_code)


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
