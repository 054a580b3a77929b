"""Who is told of a run's end: once, with a summary, and never at the price of a run or a secret."""

from __future__ import annotations

import hashlib
import hmac
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import Any

import pytest

from segbatch.cli import main
from segbatch.cluster.notify.summary import summarize
from segbatch.cluster.notify.tell import tell_end
from segbatch.cluster.notify.webhook import post
from segbatch.cluster.render import render_script
from segbatch.errors import SegbatchError
from segbatch.runs import ledger
from segbatch.runs.attempts import begin_attempt, end_attempt
from segbatch.runs.files import write_json
from segbatch.runs.layout import FINISH
from segbatch.runs.run import Run
from segbatch.runs.status import run_status
from segbatch.spec.notify import Webhook
from segbatch.spec.site import Site
from tests.support.fake_cron import FakeCron
from tests.support.fake_slurm import FakeSlurm
from tests.support.hook_server import HookServer, hook_server
from tests.support.job_files import PREDICT, load, problems
from tests.support.slurm_runs import write_run
from tests.unit.test_render import FINISH as FINISH_ORDER
from tests.unit.test_render import GOLDEN, PLAIN, TASKS, job
from tests.unit.test_slurm_scheduler import World

SECRET = "s3cret-of-the-hook"


@pytest.fixture
def hook() -> Iterator[HookServer]:
    with hook_server() as found:
        yield found


def run_with(folder: Path, *notices: dict[str, Any], run_id: str = "20260101-000000-0000") -> Run:
    """A predict run whose job asks for these notices; nothing was submitted."""
    run = write_run(folder, tasks=2, run_id=run_id)
    asked = {"kind": "predict", "name": "job", "model": {"bundle": "/m"}, "data": {"images": "/i"}}
    write_json(run.paths.job, asked | {"notify": list(notices)})
    return run


def ended(run: Run, code: int = 0, *, cancelled: bool = False, message: str = "") -> Run:
    """Let the run come to an end on this machine."""
    token = str(len(ledger.submissions(run.paths)))
    ledger.record(run.paths, token, "submitted", backend="local", host="elsewhere", pid=1)
    for task in (0, 1, FINISH):
        number = begin_attempt(run.paths.task(task))
        end_attempt(run.paths.task(task), number, code if task == 1 else 0, message if task == 1 else "")
    ledger.record(run.paths, token, "ended", code=code, **({"cancelled": True} if cancelled else {}))
    return run


def report(run: Run) -> Run:
    run.paths.report.mkdir()
    summary = {
        "tiles": {"done": 18, "rejected": 2, "missing": 0},
        "scores": {"mean_iou": 0.71236, "mean_dice": None, "accuracy": 0.9},
    }
    write_json(run.paths.report / "summary.json", summary)
    return run


def test_the_summary_of_a_good_end(tmp_path: Path) -> None:
    run = report(ended(run_with(tmp_path), 3))
    summary = summarize(run_status(run))
    assert summary.title == "segbatch: job/20260101-000000-0000 done"
    words = dict(line.split(maxsplit=1) for line in summary.lines)
    took = words.pop("time")
    assert took.startswith("begun 20")
    assert took.split(", took ")[1].endswith(" s")
    assert words == {
        "run": "job/20260101-000000-0000",
        "job": "job (predict), /jobs/job.yaml",
        "outcome": "done, exit code 3",
        "tasks": "2 done on this machine",
        "tiles": "18 done, 2 rejected, 0 missing",
        "scores": "mean IoU 0.7124, mean Dice -, accuracy 0.9000",
        "report": str(run.paths.report / "index.html"),
        "next": f"segbatch report {run.paths.folder}",
    }


def test_the_summary_of_a_bad_end_names_the_cause(tmp_path: Path) -> None:
    run = report(ended(run_with(tmp_path), 1, message="the disk is full\n" * 40))
    summary = summarize(run_status(run))
    assert len(summary.lines) == 10
    assert all(len(line) <= 200 for line in summary.lines)
    assert "outcome  failed, exit code 1" in summary.lines
    assert any(line.startswith("cause    task 1 on ") and "the disk is full the disk" in line for line in summary.lines)
    assert summary.lines[-1].startswith("next     see why with: segbatch logs")
    json.dumps(dict(summary.facts), allow_nan=False)


@pytest.mark.parametrize(
    ("code", "cancelled", "told"),
    [
        (0, False, ["end", "success"]),
        (3, False, ["end", "success"]),
        (1, False, ["end", "failure"]),
        (85, False, ["end", "failure"]),
        (85, True, ["end"]),
    ],
)
def test_who_wants_to_know_of_what(tmp_path: Path, code: int, cancelled: bool, told: list[str]) -> None:
    words = [{"on": on, "command": ["sh", "-c", f"echo $SEGBATCH_OUTCOME >>{tmp_path}/{on}; cat >>{tmp_path}/text"]}
             for on in ("end", "success", "failure")]  # fmt: skip
    run = run_with(tmp_path, *words)
    assert tell_end(run) == [], "it has not come to an end"
    ended(run, code, cancelled=cancelled)
    assert [line.trouble for line in tell_end(run)] == [""] * len(told)
    assert [on for on in ("end", "success", "failure") if (tmp_path / on).exists()] == told
    outcome = "success" if code in (0, 3) else "cancelled" if cancelled else "failure"
    assert (tmp_path / "end").read_text() == f"{outcome}\n"
    assert (tmp_path / "text").read_text().startswith("run      job/20260101")


def test_each_end_is_told_once_and_a_later_one_again(tmp_path: Path) -> None:
    run = ended(run_with(tmp_path, {"command": ["sh", "-c", f"echo $SEGBATCH_OUTCOME >>{tmp_path}/told"]}), 1)
    assert len(tell_end(run)) == 1
    assert tell_end(run) == []
    ended(run, 1)
    tell_end(run)
    tell_end(run)
    ended(run, 0)
    tell_end(run)
    assert (tmp_path / "told").read_text().split() == ["failure", "failure", "success"]


def test_mail_by_sendmail(tmp_path: Path) -> None:
    fake = FakeCron(tmp_path, "sendmail")
    run = ended(run_with(tmp_path, {"mail": "ana@example.org"}))
    assert [str(told) for told in tell_end(run, environ={"PATH": f"{fake.bin}:/usr/bin:/bin"})] == [
        "told: mail ana@example.org"
    ]
    assert fake.calls("sendmail") == ["-i -- ana@example.org"]
    mail = message_from_bytes((tmp_path / "mail.txt").read_bytes(), policy=default)
    assert mail["To"] == "ana@example.org"
    assert mail["Subject"] == f"segbatch: {run.label} done"
    assert mail.get_content().startswith("run      job/2026")


def test_a_webhook_gets_signed_json(tmp_path: Path, hook: HookServer) -> None:
    secret = tmp_path / "secret"
    secret.write_text(f"{SECRET}\n")
    run = report(ended(run_with(tmp_path, {"webhook": {"url": f"{hook.address}/a?b=c", "secret_file": str(secret)}})))
    assert [told.trouble for told in tell_end(run)] == [""]
    ((path, headers, body),) = hook.got
    assert path == "/a?b=c"
    assert headers["Content-Type"] == "application/json"
    # As the documentation of the header says, by another way than the product's.
    expected = hmac.HMAC(SECRET.encode(), body, hashlib.sha256).digest().hex()
    assert headers["X-Segbatch-Signature"] == f"sha256={expected}"
    got = json.loads(body)
    assert (got["run"], got["outcome"], got["code"]) == (run.label, "success", 0)
    assert got["tiles"] == {"done": 18, "rejected": 2, "missing": 0}
    assert got["scores"] == {"mean_iou": 0.71236, "mean_dice": None, "accuracy": 0.9}
    assert got["text"].splitlines()[1:] == got["lines"]


@pytest.mark.parametrize(
    ("answers", "requests", "trouble"),
    [
        ([204], 1, ""),
        ([503, 200], 2, ""),
        ([429, 500, 502], 3, "it answered 502"),
        ([403], 1, "it answered 403"),
        ([302], 1, "it answered 302"),
    ],
)
def test_a_webhook_is_tried_again_where_that_helps(
    tmp_path: Path, hook: HookServer, answers: list[int], requests: int, trouble: str
) -> None:
    hook.answers[:] = answers
    summary = summarize(run_status(ended(run_with(tmp_path))))
    waits: list[float] = []
    asked = Webhook(url=hook.address)
    if trouble:
        with pytest.raises(SegbatchError, match=f"{hook.address}: {trouble}$"):
            post(asked, summary, sleep=waits.append)
    else:
        post(asked, summary, sleep=waits.append)
    assert len(hook.got) == requests
    assert waits == [1.0, 4.0][: requests - 1]
    assert "X-Segbatch-Signature" not in hook.got[0][1]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"url_env": "HOOK"}, "the environment variable HOOK is not set here"),
        ({"url": "http://127.0.0.1:9", "secret_env": "KEY"}, "the environment variable KEY is not set here"),
        ({"url": "http://127.0.0.1:9", "secret_file": "/no/such"}, "/no/such: No such file or directory"),
        ({"url_env": "WRONG"}, "the webhook's address in WRONG is none"),
        ({"url_env": "NOBODY"}, "http://127.0.0.1:9: it cannot be reached: Connection refused"),
    ],
)
def test_what_goes_wrong_is_said_without_the_secret(tmp_path: Path, asked: dict[str, str], words: str) -> None:
    summary = summarize(run_status(ended(run_with(tmp_path))))
    environ = {"WRONG": f"ftp://{SECRET}", "NOBODY": f"http://127.0.0.1:9/{SECRET}"}
    with pytest.raises(SegbatchError) as caught:
        post(Webhook.model_validate(asked), summary, environ, sleep=lambda seconds: None)
    assert words in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_failure_to_tell_is_written_down_and_harms_nobody(tmp_path: Path) -> None:
    asked = [{"command": ["false"]}, {"command": ["/no/such"]}, {"command": ["sh", "-c", f"touch {tmp_path}/told"]}]
    run = ended(run_with(tmp_path, *asked))
    told = [str(line) for line in tell_end(run)]
    assert told == [
        "not told: command false: false ended with exit code 1",
        "not told: command /no/such: /no/such could not be started: No such file or directory",
        "told: command sh",
    ]
    assert (tmp_path / "told").exists()
    (kept,) = (run.paths.folder / "notices").iterdir()
    assert [json.loads(line)["trouble"] for line in kept.read_text().splitlines()][2] == ""


def test_the_finishing_script_tells_once_the_end_is_certain() -> None:
    asked = job(notify=[{"webhook": {"url_env": "HOOK"}}])
    script = render_script(asked, PLAIN, FINISH_ORDER)
    assert script == (GOLDEN / "finish-notify.sbatch").read_text()
    assert "notify" not in render_script(asked, PLAIN, TASKS), "tasks tell nobody"
    site = Site.model_validate({"python": "/opt/segbatch/bin/python", "notify": [{"command": ["page", "ana"]}]})
    assert render_script(job(), site, FINISH_ORDER) == script


def test_slurm_can_write_the_mail() -> None:
    options = {
        "end": "#SBATCH --mail-user=ana@example.org\n#SBATCH --mail-type=END,FAIL,INVALID_DEPEND\n",
        "failure": "#SBATCH --mail-user=ana@example.org\n#SBATCH --mail-type=FAIL,INVALID_DEPEND\n",
    }
    for on, lines in options.items():
        asked = job(notify=[{"on": on, "mail": "ana@example.org", "through": "slurm"}])
        script = render_script(asked, PLAIN, FINISH_ORDER)
        assert lines in script
        assert "segbatch notify" not in script
        assert "mail" not in render_script(asked, PLAIN, replace(TASKS))


def test_a_run_on_slurm_tells_from_its_finishing_job(tmp_path: Path, hook: HookServer) -> None:
    """The script really runs; the secret is in the environment alone, and nowhere in the run's folder."""
    with FakeSlurm(tmp_path) as fake:
        python = tmp_path / "python"
        worker = 'case "$*" in *segbatch.worker*) exit "$WORKER";; esac'
        python.write_text(f'#!/bin/sh\n{worker}\nexec "{sys.executable}" "$@"\n')
        srun = tmp_path / "fake-slurm-bin" / "srun"
        srun.write_text('#!/bin/sh\nexit "$WORKER"\n')
        for program in (python, srun):
            program.chmod(0o755)
        run = run_with(tmp_path, {"webhook": {"url_env": "HOOK", "secret_env": "KEY"}})
        site = {"python": str(python)}
        submitted = World(fake, run).scheduler(site).start(run)
        secrets = {"HOOK": f"{hook.address}/{SECRET}", "KEY": f"{SECRET}-key"}
        for index in (0, 1):
            assert fake.run(submitted.arrays[0], index, {**secrets, "WORKER": "3"}) == 0
        assert hook.got == []
        assert fake.run(submitted.finish, 0, {**secrets, "WORKER": "3"}) == 0
        assert [(path, json.loads(body)["outcome"]) for path, _, body in hook.got] == [(f"/{SECRET}", "success")]
        assert "told: webhook" in "".join(path.read_text() for path in run.paths.logs.iterdir())
        hook.answers[:] = [403]
        again = World(fake, run).scheduler(site).start(run, tasks=[0])
        fake.run(again.arrays[0], 0, {**secrets, "WORKER": "4"})
        assert fake.run(again.finish, 0, {**secrets, "WORKER": "1"}) == 1, "its exit code is the run's"
        assert len(hook.got) == 1, "SLURM starts it once more, so this is no end yet"
        assert fake.run(again.finish, 0, {**secrets, "WORKER": "1"}) == 1
        assert json.loads(hook.got[-1][2])["outcome"] == "failure"
        written = [path for path in run.paths.folder.rglob("*") if path.is_file()]
        assert len(written) > 8
        assert not [path for path in written if SECRET.encode() in path.read_bytes()]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def call(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["segbatch", "notify", *arguments])
        with pytest.raises(SystemExit) as done:
            main()
        return int(done.value.code or 0), capsys.readouterr().out

    run = run_with(tmp_path, {"command": ["cat"]})
    folder = str(run.paths.folder)
    assert call(folder) == (0, f"{run.label}: nobody was told: it is not over\n")
    ended(run)
    assert call(folder, "--print")[1].startswith("run      job/2026")
    assert call(folder) == (0, "told: command cat\n")
    assert "everybody who wants to know of this was told before" in call(folder)[1]
    assert call(folder, "--again") == (0, "told: command cat\n")
    other = ended(run_with(tmp_path, run_id="20260101-000000-0001"))
    assert "nobody is named in `notify:`" in call(str(other.paths.folder))[1]


@pytest.mark.parametrize(
    ("notice", "words"),
    [
        ("{on: failure}", "expected one of `mail`, `command` and `webhook`"),
        ("{mail: a@b.c, command: [x]}", "expected one of `mail`, `command` and `webhook`"),
        ("{mail: 'a b@c.d'}", "expected one mail address"),
        ("{mail: '-oX@c.d'}", "expected one mail address"),
        ("{command: []}", "expected a list of one or more"),
        ("{command: [x], through: slurm}", "`through: slurm` is for `mail`"),
        ("{mail: a@b.c, through: slurm, on: success}", "SLURM tells of any end or of failures"),
        ("{webhook: {}}", "a webhook has one address"),
        ("{webhook: {url: 'http://a/b', url_env: X}}", "a webhook has one address"),
        ("{webhook: {url: 'ftp://a/b'}}", "expected an address such as https://"),
        ("{webhook: {url: 'https://ana:pw@a/b'}}", "an address with a password in it"),
        ("{webhook: {url: 'https://a/b', secret_env: A, secret_file: /b}}", "a webhook has one secret"),
        ("{webhook: {url: 'https://a/b', secret_file: key.txt}}", "expected an absolute path"),
        ("{webhook: {url: 'https://a/b', secret_env: $KEY}}", "the name of an environment variable"),
        ("{webhook: {url: 'https://a/b', secret: x}}", "unknown key 'secret'"),
    ],
)
def test_what_check_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notice: str, words: str) -> None:
    monkeypatch.chdir(tmp_path)
    found = problems(PREDICT + f"notify: [{notice}]\n")
    assert any(words in line for line in found), found
    assert not any(":pw@" in line.split(": ", 1)[1] for line in found)


def test_slurm_writes_to_one_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    both = "notify: [{mail: a@b.c, through: slurm}, {mail: d@e.f, through: slurm}]\n"
    assert "SLURM writes to one address, and a@b.c is one already" in problems(PREDICT + both)[0]
    load(PREDICT + both.replace("d@e.f", "a@b.c"))
