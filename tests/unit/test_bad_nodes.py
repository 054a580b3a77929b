"""A batch script whose node is bad, with programs in SLURM's place that the requeue's signal meets."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from segbatch.cluster.render import render_script
from tests.unit.test_render import FINISH, PLAIN, TASKS, job

# SLURM ends a job that it requeues by SIGTERM to each of its processes: to the first question after it too.
SCONTROL = """\
#!/bin/bash
echo "$*" >>"$SAID"
if [[ $1 == update && $(grep -c ^update "$SAID") == 1 ]]; then kill -TERM $$; fi
"""


@pytest.mark.parametrize("order", [TASKS, FINISH], ids=["task", "finishing job"])
def test_it_is_kept_away_from_though_the_requeue_ends_the_question(tmp_path: Path, order: object) -> None:
    run, programs, said = tmp_path / "run", tmp_path / "bin", tmp_path / "said"
    marks = run / "rounds" / "1"
    for mark in ("seen/node1", "seen/node2", "nodes/node1/0", "nodes/node1/1"):
        (marks / mark).parent.mkdir(parents=True, exist_ok=True)
        (marks / mark).touch()
    programs.mkdir()
    (programs / "scontrol").write_text(SCONTROL)
    (programs / "scontrol").chmod(0o755)
    asked = job(retries={"failures": 3, "bad_node": 2, "quick": 30})
    script = render_script(asked, PLAIN.model_copy(update={"prolog": ("exit 9",)}), replace(order, run_folder=run))
    environ = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "SAID": str(said),
        "SLURM_JOB_ID": "95",
        "SLURM_ARRAY_JOB_ID": "93",
        "SLURM_ARRAY_TASK_ID": "0",
        "SLURMD_NODENAME": "node1",
    }
    subprocess.run(["bash", "-c", script], env=environ, cwd=tmp_path, capture_output=True, timeout=60, check=False)
    asked_of_slurm = said.read_text().splitlines()
    assert asked_of_slurm[0] == "requeue 93_0"
    assert asked_of_slurm[1:3] == ["update JobId=93_0 ExcNodeList=node1"] * 2
    assert "update JobId=93 ExcNodeList=node1" in asked_of_slurm
