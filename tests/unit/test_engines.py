"""Engines as far as the control side knows them: names, measurements, the choice, and what follows for tasks."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from segbatch.errors import InputError, SegbatchError
from segbatch.runs import measured as measurements
from segbatch.runs.bundles import bundle_digest
from segbatch.runs.engine import EngineRecord, claim_engine
from segbatch.runs.layout import RunPaths
from segbatch.runs.measured import Measured, MeasuredEngine, fastest_engine, read_measured, save_measured
from segbatch.runs.pilot import tiles_of_a_task, with_time
from segbatch.runs.pilot_run import create_pilot, plan_of_pilot, read_pilot, write_pilot
from segbatch.runs.plan import Plan, make_plan
from segbatch.spec.engines import engine_version, require
from segbatch.spec.job import PredictJob
from tests.support.fake_models import fake_bundle
from tests.support.worlds import make_tiles


def engine(name: str, rate: float, differing: float = 0.0) -> MeasuredEngine:
    return MeasuredEngine.model_validate({"engine": name, "version": "1", "rate": rate, "differing": differing})


def entry(*engines: MeasuredEngine, node: str = "cpu x2", bundle: str = "sha256:1", rate: float = 10.0) -> Measured:
    return Measured(
        node=node,
        gpus=0,
        bundle=bundle,
        time="2026-01-01T00:00:00+00:00",
        rate=rate,
        start=60.0,
        batch_size=16,
        readers=2,
        writers=2,
        engines=engines or (engine("tensorflow", rate),),
    )


def job(tasks: object = "auto", **resources: object) -> PredictJob:
    return PredictJob.model_validate(
        {
            "kind": "predict",
            "name": "night",
            "data": {"images": "images"},
            "model": "model",
            "predict": {"tasks": tasks},
            "resources": resources,
        }
    )


def test_the_fastest_engine_whose_masks_agree_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measurements, "node_kind", lambda: "cpu x2")
    known = entry(engine("tensorflow", 20), engine("openvino", 40, 1e-4), engine("onnxruntime", 90, 2e-4))
    assert fastest_engine([known]) == "openvino"
    assert fastest_engine([entry(engine("openvino", 40), node="cpu x64")]) is None


def test_measurements_are_kept_by_node_and_bundle(tmp_path: Path) -> None:
    place = tmp_path / "site" / "bench.json"
    assert read_measured(place) == ()
    first, other, again = entry(rate=1.0), entry(node="cpu x64", rate=2.0), entry(rate=3.0)
    for one in (first, other, again):
        save_measured(place, one)
    assert read_measured(place) == (other, again)
    place.write_text("{")
    with pytest.raises(InputError, match="Remove the file and measure again"):
        read_measured(place)


def test_the_first_to_ask_decides_on_the_engine(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path)
    wanted = [EngineRecord(engine=name, version="1") for name in ("tensorflow", "openvino") * 8]  # type: ignore[arg-type]
    decided: list[EngineRecord] = []
    threads = [threading.Thread(target=lambda one=one: decided.append(claim_engine(paths, one))) for one in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(decided) == len(wanted)
    assert len(set(decided)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["engine.json"]
    paths.engine.write_text("{}")
    with pytest.raises(SegbatchError, match=r"engine\.json"):
        claim_engine(paths, wanted[0])


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"onnxruntime, onnx, tf2onnx.*pip install 'segbatch\[onnx\]'"):
        require("onnxruntime")
    assert engine_version("no-such-engine") == "unknown"


def test_tasks_auto_fill_half_of_the_time_limit() -> None:
    # 120 min, half of it a margin: 3600 s, less a start of 60 s, at 10 tiles a second.
    assert tiles_of_a_task(job(time="2h"), [entry()]) == 35400
    # Of two kinds of node the slower one counts.
    assert tiles_of_a_task(job(time="2h"), [entry(), entry(node="cpu x1", rate=1.0)]) == 3540
    with pytest.raises(InputError, match="Expected a longer time"):
        tiles_of_a_task(job(time="2min"), [entry()])


def test_tasks_auto_choose_the_time_limit_where_the_job_does_not() -> None:
    # (60 s + 9000 tiles / 10 a second) * 2 = 32 min; a long list gets an hour a task.
    assert with_time(job(), [entry()], 9000).resources.time == 32
    assert with_time(job(), [entry()], 10**7).resources.time == 60
    assert with_time(job(), [entry()], 10).resources.time == 5
    assert with_time(job(time="2h"), [entry()], 10).resources.time == 120
    assert with_time(job(3), [], 10).resources.time == 240


def test_a_plan_without_measurements_needs_a_pilot(tmp_path: Path) -> None:
    make_tiles(tmp_path / "data", 300, size=(4, 4))
    bundle = fake_bundle(tmp_path / "model")
    data = {"root": str(tmp_path / "data"), "images": "images"}
    told = [{"on": "end", "command": ["true"]}]
    night = {"kind": "predict", "name": "night", "data": data, "model": str(bundle), "notify": told}

    def planned(tasks: object, *known: Measured, **resources: object) -> Plan:
        job = PredictJob.model_validate(night | {"predict": {"tasks": tasks}, "resources": resources})
        return make_plan(job, tmp_path / "night.yaml", runs_root=tmp_path / "runs", measured=known)

    here = entry(bundle=bundle_digest(bundle))
    assert not planned(3).needs_pilot
    assert not planned("auto", here).needs_pilot
    # What was measured without a GPU says nothing of one with.
    assert planned("auto", here, gpus=1).needs_pilot
    plan = planned("auto", time="3min")
    assert plan.needs_pilot
    assert plan.tasks == 1
    run = create_pilot(plan, "")
    assert run.record.pilot
    assert run.record.tiles == 128
    assert run.job.notify == ()
    assert read_pilot(run) is None
    assert plan_of_pilot(run).tiles == plan.tiles[:128]
    # 3 min, half of it a margin, less a start of 60 s, at 2 tiles a second: 60 tiles, in whole batches of 16.
    write_pilot(run, here.model_copy(update={"rate": 2.0}))
    found = read_pilot(run)
    assert found is not None
    ready = plan.with_measured([found])
    assert (ready.needs_pilot, ready.shard_size, ready.tasks) == (False, 64, 5)
    assert ready.job.resources.time == 3
    # Where a node has no GPU of those that were asked for, that is how fast it is; not a reason to measure for ever.
    asked = planned("auto", gpus=1)
    other = create_pilot(asked, "", label="night/other")
    write_pilot(other, here)
    seen = read_pilot(other)
    assert seen is not None
    assert not asked.with_measured([seen]).needs_pilot
    run.paths.measured.write_text("{")
    with pytest.raises(SegbatchError, match=r"measured\.json"):
        read_pilot(run)
