"""What each runtime is told, as the program on the node receives it.

For docker and pyxis this is all that is tested: their command lines are compared with what their manuals promise, and
were not run.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from segbatch.cluster.containers.apptainer import Apptainer
from segbatch.cluster.containers.docker import Docker
from segbatch.cluster.containers.launch import Launch, Owner, Request, shell_word
from segbatch.cluster.containers.mounts import Mount
from segbatch.cluster.containers.podman import Podman
from segbatch.cluster.containers.pyxis import Pyxis
from segbatch.errors import InputError

FOLDER = Path("/scratch/runs/night/20261121-080000-abcd")
REQUEST = Request(
    image="registry.example.org/segbatch:1.0",
    folder=FOLDER,
    owner=Owner(1000, 100, (27, 44)),
    mounts=(
        Mount("/archive/tiles", "/archive/tiles", False, "data.images"),
        Mount(str(FOLDER), str(FOLDER), True, "run folder"),
    ),
    names=("CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID", "SITE_KEY"),
    values={"KERAS_HOME": "/weights cache"},
    gpus=2,
    scratch=True,
)
NODE = {
    "SLURM_JOB_ID": "7",
    "SITE_KEY": 'a,b "c" $d',
    "UNSAID": "stays outside",
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "SEGBATCH_SCRATCH": '/tmp/sc "x", y',
    "CUDA_VISIBLE_DEVICES": "0,1",
    "SLURM_JOB_GPUS": "2,3",
}
ODD = '/data/a b/it\'s, "x":y/..z'
WORKER = ["-P", "-m", "segbatch.worker", str(FOLDER), "--task", "3"]


def started(launch: Launch, tmp_path: Path, name: str, **node: str) -> tuple[list[str], dict[str, str]]:
    """Run a launch with a stand-in for the runtime; returns what reached it: arguments and environment."""
    programs = tmp_path / "bin"
    programs.mkdir()
    stub = programs / name
    dump = "import json,os,sys; print(json.dumps([sys.argv[1:], dict(os.environ)]))"
    stub.write_text(f'#!/bin/sh\nexec python3 -c {shlex.quote(dump)} "$@"\n')
    stub.chmod(0o755)
    argv = [*launch.argv, str(FOLDER), "--task", "3"]
    environ = {"PATH": f"{programs}:{os.environ['PATH']}", **NODE, **node}
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, check=True)
    arguments, seen = json.loads(done.stdout)
    return arguments, seen


def test_podman_is_told_everything_as_one_argument_each(tmp_path: Path) -> None:
    arguments, _ = started(Podman().launch(REQUEST), tmp_path, "podman")
    assert arguments == [
        *("run", "--env", "TF_CPP_MIN_LOG_LEVEL", "--env", "SEGBATCH_SCRATCH"),
        *("--device", "nvidia.com/gpu=2", "--device", "nvidia.com/gpu=3"),
        *("--mount", 'type=bind,"source=/tmp/sc ""x"", y","destination=/tmp/sc ""x"", y"'),
        *("--rm", "--read-only", "--tmpfs", "/tmp"),
        *("--cap-drop", "all", "--security-opt", "no-new-privileges", "--security-opt", "label=disable"),
        *("--network", "none", "--pid", "host", "--uts", "host", "--ipc", "host"),
        *("--user", "1000:100", "--workdir", str(FOLDER)),
        *("--userns", "keep-id", "--annotation", "run.oci.keep_original_groups=1"),
        *("--mount", "type=bind,source=/archive/tiles,destination=/archive/tiles,ro"),
        *("--mount", f"type=bind,source={FOLDER},destination={FOLDER}"),
        *("--env", "SLURM_JOB_ID", "--env", "SITE_KEY", "--env", "KERAS_HOME=/weights cache"),
        *("--entrypoint", "/opt/venv/bin/python", "registry.example.org/segbatch:1.0", *WORKER),
    ]


def test_docker_is_told_as_its_manual_says(tmp_path: Path) -> None:
    """Not run with a real Docker."""
    arguments, _ = started(Docker().launch(REQUEST), tmp_path, "docker")
    assert arguments[0] == "run"
    assert arguments[arguments.index("--gpus") + 1] == '"device=2,3"'
    groups = [arguments[place + 1] for place, word in enumerate(arguments) if word == "--group-add"]
    assert groups == ["27", "44"]
    assert arguments[arguments.index("--user") + 1] == "1000:100"
    assert arguments[arguments.index("--network") + 1] == "none"
    place = arguments.index("registry.example.org/segbatch:1.0")
    assert arguments[place - 2 : place] == ["--entrypoint", "/opt/venv/bin/python"]
    assert arguments[place + 1 :] == WORKER


def test_apptainer_gets_names_and_values_through_its_own_variables(tmp_path: Path) -> None:
    arguments, seen = started(Apptainer().launch(REQUEST), tmp_path, "apptainer")
    scratch = '"source=/tmp/sc ""x"", y","destination=/tmp/sc ""x"", y"'
    assert arguments == [
        *("--quiet", "exec", "--mount", f"type=bind,{scratch}"),
        *("--cleanenv", "--no-mount", "home,cwd", "--pwd", str(FOLDER), "--net", "--network", "none", "--nv"),
        *("--mount", "type=bind,source=/archive/tiles,destination=/archive/tiles,ro"),
        *("--mount", f"type=bind,source={FOLDER},destination={FOLDER}"),
        *("registry.example.org/segbatch:1.0", "/opt/venv/bin/python", *WORKER),
    ]
    inside = {
        name.removeprefix("APPTAINERENV_"): value for name, value in seen.items() if name.startswith("APPTAINERENV_")
    }
    assert inside == {
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "SEGBATCH_SCRATCH": NODE["SEGBATCH_SCRATCH"],
        "CUDA_VISIBLE_DEVICES": "0,1",
        "SLURM_JOB_ID": "7",
        "SITE_KEY": 'a,b "c" $d',
        "KERAS_HOME": "/weights cache",
    }


def test_singularity_stands_in_where_a_site_has_no_apptainer(tmp_path: Path) -> None:
    launch = Apptainer().launch(replace(REQUEST, scratch=False))
    arguments, seen = started(launch, tmp_path, "singularity", PATH=f"{tmp_path / 'bin'}:/usr/bin:/bin")
    assert arguments[:2] == ["--quiet", "exec"]
    assert seen["SINGULARITYENV_SITE_KEY"] == NODE["SITE_KEY"]


def test_pyxis_is_told_as_its_manual_says() -> None:
    """Not run with a real pyxis; options as of its documentation, version 0.20."""
    launch = Pyxis().launch(REQUEST)
    assert [shell_word(step) for step in launch.steps] == [
        "--container-image=registry.example.org/segbatch:1.0",
        f"--container-mounts=/archive/tiles:/archive/tiles:ro,{FOLDER}:{FOLDER}," + '"${SCRATCH}":"${SCRATCH}"',
        f"--container-workdir={FOLDER}",
        "--no-container-mount-home",
        "--no-container-remap-root",
        "--no-container-entrypoint",
        "--container-readonly",
        '--export="${passed_on}"',
    ]
    assert launch.argv == ("/opt/venv/bin/python", "-P", "-m", "segbatch.worker")
    script = "\n".join([*launch.lines, 'printf "%s\\n" "$passed_on" "$KERAS_HOME"'])
    said = subprocess.run(["bash", "-c", script], env=NODE, capture_output=True, text=True, check=True).stdout
    listed = "CUDA_VISIBLE_DEVICES,SLURM_JOB_ID,SITE_KEY,KERAS_HOME,TF_CPP_MIN_LOG_LEVEL,SEGBATCH_SCRATCH"
    assert said.splitlines() == [listed, "/weights cache"]


@pytest.mark.parametrize("runtime", [Apptainer(), Podman(), Docker()], ids=lambda runtime: runtime.name)
def test_odd_paths_reach_the_runtime_as_one_field(runtime: Any, tmp_path: Path) -> None:
    odd = replace(REQUEST, mounts=(Mount(ODD, ODD, False, "data.images"),), scratch=False)
    arguments, _ = started(runtime.launch(odd), tmp_path, runtime.name)
    (said,) = (arguments[place + 1] for place, word in enumerate(arguments) if word == "--mount")
    assert said == 'type=bind,"source=/data/a b/it\'s, ""x"":y/..z","destination=/data/a b/it\'s, ""x"":y/..z",ro'


@pytest.mark.parametrize("path", ["/data/a b", "/data/a,b", "/data/a:b"])
def test_pyxis_refuses_paths_that_it_would_split(path: str) -> None:
    with pytest.raises(InputError, match=r"data\.images.*pyxis takes letters.*Rename the folder"):
        Pyxis().launch(replace(REQUEST, mounts=(Mount(path, path, False, "data.images"),)))


@pytest.mark.parametrize("runtime", [Apptainer(), Podman(), Docker(), Pyxis()], ids=lambda runtime: runtime.name)
@pytest.mark.parametrize("path", ["/data/a\nb", "/data/\udce4"])
def test_line_breaks_and_broken_names_are_refused_with_the_reason(runtime: Any, path: str) -> None:
    with pytest.raises(InputError, match=r"data\.images.*cannot be shown inside: container runtimes take"):
        runtime.launch(replace(REQUEST, mounts=(Mount(path, path, False, "data.images"),)))


@pytest.mark.parametrize("runtime", [Apptainer(), Podman(), Docker()], ids=lambda runtime: runtime.name)
def test_only_tasks_that_talk_to_each_other_have_a_network(runtime: Any, tmp_path: Path) -> None:
    arguments, _ = started(runtime.launch(replace(REQUEST, nodes=2)), tmp_path, runtime.name)
    assert "none" not in arguments


@pytest.mark.parametrize("runtime", [Podman(), Docker()], ids=lambda runtime: runtime.name)
def test_without_gpus_none_is_asked_for(runtime: Any, tmp_path: Path) -> None:
    arguments, _ = started(runtime.launch(replace(REQUEST, gpus=0)), tmp_path, runtime.name)
    assert not {"--gpus", "--device"} & set(arguments)


def test_apptainer_without_gpus_has_no_nv(tmp_path: Path) -> None:
    arguments, _ = started(Apptainer().launch(replace(REQUEST, gpus=0)), tmp_path, "apptainer")
    assert "--nv" not in arguments
