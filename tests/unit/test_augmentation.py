"""What a job may say of augmentation; needs no TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from segbatch.spec.augmentation import AMOUNTS, PRESETS, Op, Preset
from segbatch.spec.job import to_plain
from segbatch.spec.load import load_job
from segbatch.spec.yaml_source import dump_yaml
from tests.support.job_files import TRAIN, problems, train


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def steps(text: str) -> list[dict[str, object]]:
    return [step.plain() for step in train(f"{TRAIN}augment: {text}\n").augment]


def test_the_street_presets() -> None:
    hue = {"op": "hue", "p": 0.5, "amount": 0.1}
    assert steps("basic") == [hue]
    assert [step["op"] for step in steps("advanced")] == ["hue", "brightness", "contrast"]
    assert steps("advanced")[0] == hue
    assert steps("bad") == [{"op": "flip_left_right", "p": 0.5}, {"op": "flip_up_down", "p": 0.5}]
    assert tuple(PRESETS) == get_args(Preset)


def test_a_name_alone_stands_for_its_defaults_and_order_is_kept() -> None:
    assert steps("[noise, {op: rotate, degrees: 90, p: 1}, zoom, crop]") == [
        {"op": "noise", "p": 0.5, "amount": 0.05},
        {"op": "rotate", "p": 1.0, "degrees": 90.0},
        {"op": "zoom", "p": 0.5, "range": [0.8, 1.25]},
        {"op": "crop", "p": 0.5, "share": 0.8},
    ]


@pytest.mark.parametrize("op", get_args(Op))
def test_every_operation_has_what_it_needs_by_default(op: str) -> None:
    (plain,) = steps(f"[{op}]")
    assert None not in plain.values()
    assert (op in AMOUNTS) == ("amount" in plain)


@pytest.mark.parametrize("text", ["basic", "advanced", "bad", "[hue, {op: zoom, range: [0.5, 2]}]"])
def test_a_job_written_out_is_the_same_job(text: str) -> None:
    job = train(f"{TRAIN}augment: {text}\n")
    Path("again.yaml").write_text(dump_yaml(to_plain(job)))
    assert load_job(Path("again.yaml"), [], {}).job == job


OPS = ", ".join(get_args(Op))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "bassic",
            "job.yaml:4:10: expected basic, advanced or bad, or a list of operations, received 'bassic'. "
            "Did you mean 'basic'?",
        ),
        (
            "[basic]",
            "job.yaml:4:11: expected an operation, received 'basic', which stands for a whole list: `augment: basic`",
        ),
        ("[rotat]", f"job.yaml:4:11: expected one of {OPS}, received 'rotat'. Did you mean 'rotate'?"),
        ("[{op: hue, degrees: 3}]", "job.yaml:4:21: `degrees` belongs to rotate, not to hue"),
        (
            "[{op: flip_up_down, amount: 0.2}]",
            "job.yaml:4:30: `amount` belongs to hue, saturation, brightness, contrast and noise, "
            "not to flip_up_down",
        ),
        (
            "[{op: hue, amount: 0.6}]",
            "job.yaml:4:21: expected at most 0.5 for hue, half the colour circle to either side, received 0.6",
        ),
        ("[{op: zoom, range: [2, 1]}]", "job.yaml:4:22: expected the smaller factor first, received [2.0, 1.0]"),
        ("[{op: rotate, degrees: 270}]", "job.yaml:4:33: expected a number above 0 and at most 180, received 270"),
        ("[{op: crop, share: 1.2}]", "job.yaml:4:29: expected a number of at least 0.1 and below 1, received 1.2"),
    ],
)  # fmt: skip
def test_what_is_refused(text: str, message: str) -> None:
    assert problems(f"{TRAIN}augment: {text}\n") == [message]


@pytest.mark.parametrize("bands", [1, 4])
def test_colours_need_three_bands(bands: int) -> None:
    text = TRAIN.replace("masks}", f"masks, bands: {bands}}}")
    assert problems(f"{text}augment: [noise, hue]\n") == [
        f"job.yaml:4:18: `hue` is for images of 3 bands, red, green and blue, not of {bands}"
    ]
    (at_preset,) = problems(f"{text}augment: advanced\n")
    assert at_preset.startswith("job.yaml:4:1: `hue`")
    assert train(f"{text}augment: [noise, brightness, contrast, rotate, quarter_turns]\n").data.bands == bands


def test_quarter_turns_need_a_square() -> None:
    assert problems(f"{TRAIN}model: {{input: [64, 96]}}\naugment: [rotate, quarter_turns]\n") == [
        "job.yaml:5:19: `quarter_turns` need an input as high as wide, not [64, 96]; both flips together turn by half"
    ]
    assert train(f"{TRAIN}model: {{input: [64, 96]}}\naugment: [rotate, zoom, crop]\n")
