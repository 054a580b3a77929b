"""The site file: where it is found, its profiles, and what it refuses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from segbatch.errors import InputError
from segbatch.spec.problems import JobFileError
from segbatch.spec.site import Site, find_site, load_site

SITE = """\
backend: slurm
partition: gpu
runs: ../runs
scratch: ${TMPDIR:?}/x
prolog: ['export A=${A}']
environment: {A: "1", CACHE: "${HOME}/cache"}
modules: [cuda/12.4]
slurm: {exclusive: true}
profiles:
  debug:
    partition: debug
    runs: ~/debug
    environment: {B: "2"}
    modules: []
  same:
"""


def site(folder: Path, text: str, profile: str | None = None, environ: Mapping[str, str] | None = None) -> Site:
    (folder / "site.yaml").write_text(text)
    return load_site(folder / "site.yaml", profile, environ or {"HOME": "/home/me"})


def problems(folder: Path, text: str, profile: str | None = None) -> list[str]:
    with pytest.raises(JobFileError) as caught:
        site(folder, text, profile)
    return [f"{it.origin.line}:{it.origin.column}: {it.message}" for it in caught.value.problems]


def test_settings(tmp_path: Path) -> None:
    loaded = site(tmp_path, SITE)
    assert loaded.backend == "slurm"
    assert loaded.partition == "gpu"
    assert loaded.runs == str(tmp_path / "../runs")
    assert loaded.environment == {"A": "1", "CACHE": "/home/me/cache"}
    assert loaded.slurm == {"exclusive": True}
    assert loaded.profiles == {}


def test_text_for_the_node_s_shell_stays_as_it_is(tmp_path: Path) -> None:
    loaded = site(tmp_path, SITE)
    assert loaded.scratch == "${TMPDIR:?}/x"
    assert loaded.prolog == ("export A=${A}",)


def test_a_profile_is_laid_over_the_site(tmp_path: Path) -> None:
    loaded = site(tmp_path, SITE, "debug")
    assert loaded.partition == "debug"
    assert loaded.runs == "/home/me/debug"
    assert loaded.environment == {"A": "1", "CACHE": "/home/me/cache", "B": "2"}
    assert loaded.modules == ()
    assert loaded.backend == "slurm"
    assert site(tmp_path, SITE, "same") == site(tmp_path, SITE)


def test_an_unknown_profile_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(JobFileError) as caught:
        site(tmp_path, SITE, "debgu")
    assert str(caught.value).splitlines() == [
        f"{tmp_path}/site.yaml:9:1: no profile 'debgu' in this site file. Did you mean 'debug'?",
        "    profiles:",
        "    ^",
        "    Profiles: debug, same.",
    ]
    assert problems(tmp_path, "backend: local\n", "debug") == ["0:1: no profile 'debug' in this site file."]


def test_what_a_site_file_refuses(tmp_path: Path) -> None:
    text = """\
backnd: slurm
account: "a b'"
modules: [cuda, "x; rm -rf"]
min_poll_seconds: 0
slurm: {partition: x, array: 0-3}
environment: {A-B: c}
profiles:
  debug: {particion: x, qos: 3}
  other: 3
"""
    assert problems(tmp_path, text) == [
        "1:1: unknown key 'backnd'. Did you mean 'backend'?",
        '2:1: expected text whose quotes come in pairs, received "a b\'"',
        "3:17: expected the name of a module, such as cuda/12.4, received 'x; rm -rf'",
        "4:19: expected a number above 0, received 0",
        "5:9: say --partition as `partition`, a key of the site file",
        "5:23: segbatch sets --array itself",
        "6:15: expected the name of an environment variable, received 'A-B'",
        "8:11: unknown key 'particion' under 'profiles.debug'. Did you mean 'partition'?",
        "8:30: expected text that is not empty, received 3; put it in quotes: '3'",
        "9:10: expected a mapping, received 3",
    ]


def test_a_profile_is_judged_together_with_its_site(tmp_path: Path) -> None:
    base = "container: {runtime: apptainer, image: /a.sif}\nprofiles:\n"
    both = site(tmp_path, base + "  new: {container: {image: b.sif}}\n", "new")
    assert both.container is not None
    assert (both.container.runtime, both.container.image) == ("apptainer", str(tmp_path / "b.sif"))
    assert problems(tmp_path, "profiles:\n  new: {container: {image: b.sif}}\n") == [
        "2:21: `image` needs a `runtime`, such as apptainer"
    ]


def test_the_order_in_which_site_files_are_looked_for(tmp_path: Path) -> None:
    cwd, home = tmp_path / "cwd", tmp_path / "home"
    at_home = home / ".config" / "segbatch" / "site.yaml"
    for path in (tmp_path / "given.yaml", tmp_path / "named.yaml", cwd / "site.yaml", at_home):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    environ = {"SEGBATCH_SITE": str(tmp_path / "named.yaml")}
    assert find_site(tmp_path / "given.yaml", environ, cwd, home) == tmp_path / "given.yaml"
    assert find_site(None, environ, cwd, home) == tmp_path / "named.yaml"
    assert find_site(None, {}, cwd, home) == cwd / "site.yaml"
    (cwd / "site.yaml").unlink()
    assert find_site(None, {"SEGBATCH_SITE": ""}, cwd, home) == at_home
    at_home.unlink()
    assert find_site(None, {}, cwd, home) is None


def test_a_site_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^--site: .*/no\.yaml: no such file"):
        find_site(tmp_path / "no.yaml", {}, tmp_path, tmp_path)
    with pytest.raises(InputError, match=r"^SEGBATCH_SITE: no\.yaml: no such file"):
        find_site(None, {"SEGBATCH_SITE": "no.yaml"}, tmp_path, tmp_path)


def test_no_site_file() -> None:
    assert load_site(None) == Site()
    with pytest.raises(InputError, match="profile 'gpu' is part of a site file, and none was found"):
        load_site(None, "gpu")
