"""How problems look, and that every wrong value is said in our own words, once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from segbatch.errors import Exit, InputError
from segbatch.spec import declared
from segbatch.spec.document import Document
from segbatch.spec.job import KINDS
from segbatch.spec.labels import Labels
from segbatch.spec.problems import JobFileError, Origin, Problem, did_you_mean, nearest, shown
from segbatch.spec.section import KeyPath, Section
from segbatch.spec.site import Site
from segbatch.spec.validate import Validator
from segbatch.spec.yaml_source import dump_yaml, parse_yaml


def problem(text: str, column: int, line: int = 14) -> Problem:
    return Problem(Origin("job.yaml", line, column, text), "unknown key 'bacth_size'", "Allowed here: epochs.")


def test_place_line_caret_and_hint() -> None:
    assert str(problem("        bacth_size: 32", 9)) == (
        "job.yaml:14:9: unknown key 'bacth_size'\n            bacth_size: 32\n            ^\n    Allowed here: epochs."
    )


def test_the_caret_stands_below_its_column_after_tabs_and_wide_letters() -> None:
    assert str(problem("\tx: {森林: 1, bad: 2}", 13)).splitlines()[1:3] == [
        "    \tx: {森林: 1, bad: 2}",
        "    \t             ^",
    ]


def test_a_long_line_is_cut_around_its_column() -> None:
    text = "a" * 1000 + " here " + "b" * 1000
    _, line, caret, _ = str(problem(text, 1002)).splitlines()
    assert len(line) <= 164
    assert line[caret.index("^") :].startswith("here")


def test_a_problem_of_the_whole_file_has_no_line() -> None:
    assert str(Problem(Origin("job.yaml"), "no such file")) == "job.yaml: no such file"


def test_all_problems_in_the_order_of_the_files_and_lines() -> None:
    places = [Origin("b.yaml", 1, 1), Origin("a.yaml", 10, 3), Origin("a.yaml", 2, 9), Origin("a.yaml", 2, 1)]
    error = JobFileError([Problem(place, "x") for place in [*places, places[0]]], ["a.yaml", "b.yaml"])
    assert [it.origin.place for it in error.problems] == ["a.yaml:2:1", "a.yaml:2:9", "a.yaml:10:3", "b.yaml:1:1"]
    assert str(error).endswith("4 problems; nothing was started or written.")
    assert isinstance(error, InputError)
    assert error.exit_code == Exit.BAD_INPUT


def test_did_you_mean() -> None:
    assert did_you_mean("bacth_size", ["epochs", "batch_size"]) == " Did you mean 'batch_size'?"
    assert nearest("Batch-Size", ["epochs", "batch_size"]) == "batch_size"
    assert did_you_mean("colour_space", ["epochs"]) == ""
    assert did_you_mean(3, ["3"]) == ""


def test_names_of_files_stay_on_one_line() -> None:
    assert shown("a\nb\udce9 c'd,é") == "a\\nb\\udce9 c'd,é"


JUNK: list[Any] = [None, True, -1, 1.5, 10**30, "x y", "", float("inf"), [], {}, [1, "a", None], {"a": 1}, [[]], [{}]]
JARGON = re.compile(r"Input should|Value error|Assertion|pydantic|https?:|valid dictionary|type=|\bNone\b|<class")


def key_paths(section: type[Section], path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    for key, annotation in declared.keys_of(section).items():
        yield (*path, key), annotation
        inner = declared.section_in(annotation)
        if inner is not None:
            yield from key_paths(inner, (*path, key))


def document_with(path: KeyPath, value: Any) -> Document:
    nested = value
    for step in reversed(path):
        nested = {step: nested}
    return parse_yaml(dump_yaml(nested), Origin("job.yaml"))


@pytest.mark.parametrize("section", [*KINDS.values(), Site, Labels], ids=lambda section: section.__name__)
def test_every_key_refuses_junk_in_our_words_and_once(section: type[Section]) -> None:
    for path, _ in key_paths(section):
        for value in JUNK:
            checked = Validator(section, document_with(path, value)).run()
            text = "\n".join(map(str, checked.problems))
            assert not JARGON.search(text), (path, value, text)
            about = [it for it in checked.problems if not it.message.startswith("missing key")]
            places = [it.origin.place for it in about if it.message.startswith("expected")]
            assert len(places) == len(set(places)), (path, value, text)
            assert checked.value is not None, (path, value)


def test_a_union_gives_one_line() -> None:
    document = document_with(("train", "max_rejected"), -0.5)
    found = [str(it) for it in Validator(KINDS["train"], document).run().problems if "missing" not in it.message]
    assert found == [
        "job.yaml:2:17: expected a count of at least 0, or a share below 1, received -0.5\n"
        "      max_rejected: -0.5\n"
        "                    ^"
    ]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("seed",), "abc", "expected a whole number from 0 to 4294967295, received 'abc'"),
        (("seed",), 1.5, "expected a whole number from 0 to 4294967295, received 1.5"),
        (("seed",), True, "expected a whole number from 0 to 4294967295, received true"),
        (("name",), 2024, "expected a name of up to 100 letters, digits, '.', '_' and '-' that begins with a letter "
         "or digit, received 2024"),
        (("profile",), 7, "expected text, received 7; put it in quotes: '7'"),
        (("data", "images"), 7,
         "expected a path or pattern, or a list of one or more of them, received 7; put it in quotes: '7'"),
        (("data", "size"), [256], "expected [height, width], each a whole number from 1 to 65536, received [256]"),
        (("data", "decode"), "fats", "expected 'accurate' or 'fast', received 'fats'. Did you mean 'fast'?"),
        (("data", "bands"), 2, "expected 1, 3 or 4, received 2"),
        (("data", "split"), "hash", "expected a mapping, received 'hash'"),
        (("model", "dropout"), 1, "expected a number of at least 0 and below 1, received 1"),
        (("model", "freeze"), "maybe", "expected true or false, received 'maybe'"),
        (("optimizer", "learning_rate"), 0, "expected a number above 0, received 0"),
        (("optimizer", "learning_rate"), float("nan"), "expected a number above 0, received nan"),
        (("train", "epochs"), None, "expected a whole number of at least 1, received nothing"),
        (("augment",), {"op": "flip_up_down"}, "expected basic, advanced or bad, or a list of operations, "
         "received a mapping"),
        (("resources", "memory"), "lots", 'expected a memory size such as "16G" or "500M", or megabytes, received '
         "'lots'"),
        (("resources", "time"), "4 hours", 'expected a time of a minute or more such as "4h", "30min" or '
         "\"1-12:00:00\", or minutes, received '4 hours'"),
        (("container", "binds"), "/a:/b", "expected a list of text, received '/a:/b'"),
        (("labels",), 3, "expected a built-in name, the path of a labels file, or a mapping, received 3"),
    ],
)  # fmt: skip
def test_wrong_values(path: KeyPath, value: Any, message: str) -> None:
    found = [it.message for it in Validator(KINDS["train"], document_with(path, value)).run().problems]
    assert message in found


def test_numbers_and_switches_may_come_as_text_from_the_environment() -> None:
    text = "train: {epochs: '3', deterministic: 'no'}\nresources: {memory: '4096', time: '90'}\n"
    job = Validator(KINDS["train"], parse_yaml(text, Origin("job.yaml"))).run().value
    assert job is not None
    assert job.resources.memory == 4096
    assert job.resources.time == 90
    assert job.train.epochs == 3  # type: ignore[union-attr]
    assert job.train.deterministic is False  # type: ignore[union-attr]
