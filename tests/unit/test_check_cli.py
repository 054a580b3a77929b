"""`segbatch check`, `schema` and `init` as a user meets them."""

from __future__ import annotations

import json
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from segbatch.cli import main

BAD = """\
# A job with many faults.
kind: predict
data:
  images: tiles, "a" & 'b'
  mask: truth
  part: val
  size: [64, 64]
predict:
  fit: windw
  bacth_size: 32
  tasks: 0
  tasks: 4
train:
  epochs: 3
labels: citiscapes
resources:
  time: four hours
  memory: ${MEM}
"""
EXPECTED = """\
{job}:2:1: missing key 'model'. The model: a bundle folder, a registered model, or a Keras file.
    kind: predict
    ^
{job}:5:3: unknown key 'mask' under 'data'. Did you mean 'masks'?
      mask: truth
      ^
    Allowed here: {data}.
{job}:6:3: `part: val` needs a `data.split` that says what is in it
      part: val
      ^
{job}:9:8: expected 'resize' or 'window', received 'windw'. Did you mean 'window'?
      fit: windw
           ^
{job}:10:3: unknown key 'bacth_size' under 'predict'. Did you mean 'batch_size'?
      bacth_size: 32
      ^
    Allowed here: {predict}.
{job}:11:10: expected a whole number of at least 1 or 'auto', received 0
      tasks: 0
             ^
{job}:12:3: duplicate key 'tasks' under 'predict'; it is already in line 11
      tasks: 4
      ^
{job}:13:1: 'train' belongs to kind: train; this job is kind: predict
    train:
    ^
{job}:15:9: no labels 'citiscapes': neither built in nor a file {folder}/citiscapes. Did you mean 'cityscapes'?
    labels: citiscapes
            ^
    Built in: buildings, camvid, cityscapes, cityscapes-19, forest.
{job}:17:9: expected a time of a minute or more such as "4h", "30min" or "1-12:00:00", or minutes, received 'four hours'
      time: four hours
            ^
{job}:18:11: the environment variable MEM is not set. `${{MEM:-...}}` gives a default
      memory: ${{MEM}}
              ^
--set predict.wirters=3: unknown key 'wirters' under 'predict'. Did you mean 'writers'?
    Allowed here: {predict}.
12 problems; nothing was started or written.
"""
PREDICT = "kind: predict\nmodel: m\ndata: {images: i}\n"


@dataclass
class Result:
    code: int
    out: str
    err: str


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    def call(*arguments: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["segbatch", *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        return Result(int(stop.value.code or 0), captured.out, captured.err)

    return call


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MEM", raising=False)


def files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*")}


def test_all_errors_at_once_exit_2_and_nothing_written(run: Any, tmp_path: Path) -> None:
    from segbatch.spec.data import Data
    from segbatch.spec.inference import Predict

    job = '../it\'s a, folder/job "1".yaml'
    path = tmp_path / "x" / job
    (tmp_path / "x").mkdir()
    path.parent.resolve().mkdir()
    path.write_text(BAD)
    before = files(tmp_path)
    result = run("check", f"x/{job}", "--no-data", "--set", "predict.wirters=3")
    keys = {"data": ", ".join(Data.model_fields), "predict": ", ".join(Predict.model_fields)}
    assert result.err == EXPECTED.format(job=f"x/{job}", folder=f"{tmp_path}/x/../it's a, folder", **keys)
    assert (result.code, result.out) == (2, "")
    assert files(tmp_path) == before


def test_a_valid_file(run: Any) -> None:
    Path("demo-train.yaml").write_text("kind: train\nlabels: forest\ndata: {images: i, masks: m}\n")
    result = run("check", "demo-train.yaml", "--no-data")
    assert (result.code, result.out, result.err) == (0, "demo-train.yaml: a valid train job\n", "")


def test_overrides(run: Any) -> None:
    Path("job.yaml").write_text(PREDICT)
    assert run("check", "job.yaml", "--no-data", "--set", "predict.tasks=3").code == 0
    result = run("check", "job.yaml", "--no-data", "--set", "predict.tasks=0")
    assert result.code == 2
    assert result.err == "--set predict.tasks=0: expected a whole number of at least 1 or 'auto', received 0\n"


def test_a_missing_file(run: Any) -> None:
    result = run("check", "no such job.yaml", "--no-data")
    assert (result.code, result.err) == (2, "no such job.yaml: no such file\n")


def test_the_site_file_is_checked_too(run: Any) -> None:
    Path("job.yaml").write_text(PREDICT + "profile: gpu\n")
    Path("my site.yaml").write_text("profiles: {gpus: {qos: x}}\n")
    assert run("check", "job.yaml", "--no-data").code == 0
    result = run("check", "job.yaml", "--no-data", "--site", "my site.yaml")
    assert result.code == 2
    assert "my site.yaml:1:1: no profile 'gpu' in this site file. Did you mean 'gpus'?" in result.err
    result = run("check", "job.yaml", "--no-data", "--site", "none.yaml")
    assert result.err.startswith("--site: none.yaml: no such file.")


@dataclass
class FakeFinding:
    severity: str
    kind: str = "values"
    message: str = "3 masks hold 255, which no class claims"
    count: int = 3
    example: str = "masks/a.png"
    fix: str = "labels: buildings"


def lint_that_finds(monkeypatch: pytest.MonkeyPatch, *findings: FakeFinding) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = []

    def lint(job: Any, **options: Any) -> list[FakeFinding]:
        options.pop("progress")(1, 2)
        calls.append({"job": job.name} | options)
        return list(findings)

    module = types.ModuleType("segbatch.data.lint")
    module.lint = lint  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "segbatch.data.lint", module)
    return calls


def test_findings_of_the_data(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("job.yaml").write_text(PREDICT)
    calls = lint_that_finds(
        monkeypatch, FakeFinding("error"), FakeFinding("warning", "sizes", count=1, example="caf\udce9\n.png")
    )
    result = run("check", "job.yaml", "--sample", "7")
    assert result.code == 2
    assert result.out.splitlines() == [
        "job.yaml: a valid predict job",
        "error: values: 3 masks hold 255, which no class claims (3)",
        "    example: masks/a.png",
        "    fix: labels: buildings",
        "warning: sizes: 3 masks hold 255, which no class claims (1)",
        "    example: caf\\udce9\\n.png",
        "    fix: labels: buildings",
        "data: 1 error, 1 warning",
    ]
    assert calls == [{"job": "job", "full": False, "sample": 7}]


def test_warnings_alone_are_no_failure(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("job.yaml").write_text(PREDICT)
    lint_that_finds(monkeypatch, FakeFinding("warning"))
    assert run("check", "job.yaml", "--full").code == 0
    lint_that_finds(monkeypatch)
    result = run("check", "job.yaml")
    assert result.code == 0
    assert result.out.splitlines()[1] == "data: nothing found amiss in a sample of 200; --full reads every file"


def test_data_without_the_worker_s_packages(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("job.yaml").write_text(PREDICT)
    monkeypatch.setitem(sys.modules, "segbatch.data.lint", None)
    result = run("check", "job.yaml")
    assert result.code == 2
    assert "checking data needs pip install segbatch[worker]" in result.err
    assert "--no-data checks the file alone" in result.err


def test_schema(run: Any) -> None:
    result = run("schema")
    assert json.loads(result.out)["title"] == "segbatch job"
    assert json.loads(run("schema", "site").out)["title"] == "segbatch site"
    assert run("schema", "--keys", "train.epochs").out.startswith("train.epochs  a whole number of at least 1")
    assert "data.split.group.folder" in run("schema", "--keys").out
    result = run("schema", "--keys", "trian")
    assert (result.code, result.err) == (2, "no key 'trian' in a job file. Did you mean 'train'?\n")


@pytest.mark.parametrize("kind", ["train", "predict", "evaluate"])
def test_init(run: Any, kind: str) -> None:
    result = run("init", kind, "new job.yaml")
    assert (result.code, result.err) == (0, "")
    assert run("check", "new job.yaml", "--no-data").out == f"new job.yaml: a valid {kind} job\n"
    assert run("init", kind).out.splitlines()[5:] == Path("new job.yaml").read_text().splitlines()[5:]
    again = run("init", kind, "new job.yaml")
    assert again.code == 2
    assert again.err.startswith("new job.yaml is there already")
    assert run("init", kind, "no/such/folder.yaml").code == 2
