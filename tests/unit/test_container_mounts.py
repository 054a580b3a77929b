"""What a task sees of the host: everything that it reads, under the same paths, and nothing that hides the image."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segbatch.cluster.containers.inside import Inside, inside_of_plan, rows
from segbatch.cluster.containers.links import linked_mounts
from segbatch.cluster.containers.mounts import Mount, reduced, same_path
from segbatch.errors import InputError
from segbatch.runs.plan import make_plan
from segbatch.spec.job import KINDS
from segbatch.spec.site import Site

CLASSES = [{"id": 0, "name": "rest", "color": [0, 0, 0]}, {"id": 1, "name": "forest", "color": [0, 99, 0]}]
CONTAINER = {"runtime": "podman", "image": "segbatch"}
IN_CONTAINER = {"container": CONTAINER}


def world(root: Path, count: int = 3) -> Path:
    for folder, end in (("images", "jpg"), ("masks", "png")):
        (root / folder).mkdir(parents=True)
        for number in range(count):
            (root / folder / f"t{number}.{end}").touch()
    return root


def inside(root: Path, site: dict[str, Any], environ: dict[str, str] | None = None, **sections: Any) -> Inside | None:
    data = {"root": str(root), "images": "images", "masks": "masks"}
    value = {"kind": "train", "name": "night", "data": data, "labels": {"name": "two", "classes": CLASSES}, **sections}
    planned = make_plan(KINDS["train"].model_validate(value), root / "job.yaml", runs_root=root / "runs")
    return inside_of_plan(planned, Site.model_validate(site), environ or {})


def mounts_of(found: Inside | None, folder: Path) -> dict[str, tuple[str, bool, str]]:
    assert found is not None
    return {mount.target: (mount.source, mount.writable, mount.origin) for mount in found.request(folder).mounts}


def test_what_a_task_reads_is_shown_without_being_named(tmp_path: Path) -> None:
    root = world(tmp_path / "my data, so: far")
    weights = tmp_path / "weights" / "e.weights.h5"
    weights.parent.mkdir()
    weights.touch()
    model = {"encoder": "mobilenet_v2", "weights": str(weights)}
    found = mounts_of(inside(root, IN_CONTAINER, model=model), tmp_path / "runs/night/1")
    assert found == {
        f"{root}/images": (f"{root}/images", False, "data.images"),
        f"{root}/masks": (f"{root}/masks", False, "data.masks"),
        str(weights): (str(weights), False, "model.weights"),
        f"{tmp_path}/runs/night/1": (f"{tmp_path}/runs/night/1", True, "run folder"),
    }


def test_published_weights_come_from_the_cache(tmp_path: Path) -> None:
    root = world(tmp_path / "data")
    cache = tmp_path / "keras"
    model = {"encoder": "mobilenet_v2", "weights": "imagenet"}
    with pytest.raises(InputError, match=r"no weights in .*keras/models, and a container has no network"):
        inside(root, IN_CONTAINER, {"KERAS_HOME": str(cache)}, model=model)
    (cache / "models").mkdir(parents=True)
    (cache / "models" / "mobilenet.h5").touch()
    found = inside(root, IN_CONTAINER, {"KERAS_HOME": str(cache)}, model=model)
    assert mounts_of(found, tmp_path / "run")[str(cache)][2] == "weights of model.encoder"
    assert found is not None
    assert found.values == {"KERAS_HOME": str(cache)}


def test_the_job_goes_before_the_site_and_may_say_none(tmp_path: Path) -> None:
    root = world(tmp_path / "data")
    assert inside(root, {}) is None
    assert inside(root, IN_CONTAINER, container={"runtime": "none"}) is None
    found = inside(root, IN_CONTAINER, container={"runtime": "apptainer", "image": "/images/a.sif"})
    assert found is not None
    assert (found.container.runtime, found.said_by) == ("apptainer", "the job")


def test_links_among_tiles_lead_where_they_lead_outside(tmp_path: Path) -> None:
    root = world(tmp_path / "data")
    far = tmp_path / "archive" / "2024"
    far.mkdir(parents=True)
    for number in range(3):
        target = far / f"t{number}.jpg"
        target.touch()
        link = root / "images" / f"t{number}.jpg"
        link.unlink()
        link.symlink_to(target)
    found = mounts_of(inside(root, IN_CONTAINER), tmp_path / "run")
    assert found[str(far)] == (str(far), False, "links in data.images")


def test_relative_links_lead_there_too(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "a.jpg").touch()
    (tmp_path / "data" / "a.jpg").symlink_to("../far/a.jpg")
    (mount,) = linked_mounts(str(tmp_path / "data"), ["a.jpg"], "data.images")
    assert (mount.source, mount.target) == (str(tmp_path / "far"), str(tmp_path / "far"))


def test_links_within_the_folder_need_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    (tmp_path / "b.jpg").symlink_to("a.jpg")
    assert linked_mounts(str(tmp_path), ["a.jpg", "b.jpg"], "data.images") == []


def test_links_to_many_places_are_brought_together_above(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for number in range(40):
        (tmp_path / "archive" / str(number)).mkdir(parents=True)
        (tmp_path / "data" / f"{number}.jpg").symlink_to(tmp_path / "archive" / str(number) / "x.jpg")
    names = [f"{number}.jpg" for number in range(40)]
    (mount,) = linked_mounts(str(tmp_path / "data"), names, "data.images")
    assert mount.target == str(tmp_path / "archive")


def test_links_with_no_folder_in_common_are_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segbatch.cluster.containers.links.MOST", 1)
    for number, place in enumerate(("/etc", "/usr/share")):
        (tmp_path / f"{number}.jpg").symlink_to(f"{place}/x.jpg")
    with pytest.raises(InputError, match=r"no folder in common.*at most 1 can be mounted. Bind a folder"):
        linked_mounts(str(tmp_path), ["0.jpg", "1.jpg"], "data.images")


def test_binds_of_a_person_win_and_may_hide_nothing_whole(tmp_path: Path) -> None:
    root = world(tmp_path / "data")
    binds = [f"{tmp_path}/faster/images:{root}/images:ro", f"{tmp_path}/etc:/etc/site"]
    found = mounts_of(inside(root, {"container": {**CONTAINER, "binds": binds}}), tmp_path / "run")
    assert found[f"{root}/images"] == (f"{tmp_path}/faster/images", False, "container.binds of the site file")
    assert found["/etc/site"][1]
    with pytest.raises(InputError, match="would hide the whole image"):
        mounts_of(inside(root, {"container": {**CONTAINER, "binds": ["/data:/"]}}), tmp_path / "run")


@pytest.mark.parametrize("path", ["/usr", "/opt/venv", "/"])
def test_data_that_would_hide_the_image_are_refused(path: str) -> None:
    with pytest.raises(InputError, match="it would hide the image's own files"):
        reduced([same_path(path, "data.images")])


def test_a_folder_written_and_read_is_one_writable_mount() -> None:
    found = reduced([same_path("/a", "data.images"), same_path("/a", "run folder", writable=True)])
    assert [(mount.target, mount.writable) for mount in found] == [("/a", True)]


names = st.sampled_from(["a", "b", "c d"])
paths = st.lists(names, min_size=1, max_size=4).map(lambda parts: "/data/" + "/".join(parts))


@given(st.lists(st.tuples(paths, st.booleans()), min_size=1, max_size=8))
def test_every_path_is_shown_with_the_right_it_needs(wanted: list[tuple[str, bool]]) -> None:
    found = reduced([same_path(path, "x", writable=writable) for path, writable in wanted])
    targets = [mount.target for mount in found]
    assert len(set(targets)) == len(targets)
    assert targets == sorted(targets, key=lambda path: path.split("/")), "parents come first"
    for path, writable in wanted:
        # The last mount above a path is the one that it is seen through.
        shown = [mount for mount in found if path == mount.target or path.startswith(mount.target + "/")][-1]
        assert os.path.join(shown.source, os.path.relpath(path, shown.target)).removesuffix("/.") == path
        assert shown.writable >= writable or any(other == path and may for other, may in wanted)


def test_people_see_mounts_with_origin_and_variables_without_values(tmp_path: Path) -> None:
    root = world(tmp_path / "data")
    site = {"container": {**CONTAINER, "env": ["SITE_TOKEN"]}, "environment": {"HTTP_KEY": "s3cret"}}
    found = inside(root, site, {"SITE_TOKEN": "t0ken"})
    assert found is not None
    text = "\n".join(f"{name}  {words}" for name, words in rows(found, tmp_path / "runs/night/1"))
    assert "container  podman, segbatch (from the site file)" in text
    assert f"{root}/images, read only (data.images)" in text
    assert "SITE_TOKEN" in text
    assert "HTTP_KEY" in text
    assert "s3cret" not in text
    assert "t0ken" not in text


def test_a_mount_that_is_not_here_is_said_to_be_missing(tmp_path: Path) -> None:
    root = world(tmp_path / "data")
    found = inside(root, {"container": {**CONTAINER, "binds": ["/nowhere/at/all:/mnt/x:ro"]}})
    assert found is not None
    assert any("NOT FOUND HERE" in words for _, words in rows(found, tmp_path / "run"))


def test_mounts_name_their_origin() -> None:
    assert str(Mount("/a", "/b", False, "model")) == "/a as /b, read only (model)"
