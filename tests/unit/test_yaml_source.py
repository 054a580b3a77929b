"""YAML text -> values with the line and column of each, and words for broken YAML."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from segbatch.spec.document import Document
from segbatch.spec.problems import JobFileError, Origin
from segbatch.spec.yaml_source import dump_yaml, parse_yaml, read_yaml

FILE = Origin("job.yaml")


def parse(text: str) -> Document:
    return parse_yaml(text, FILE)


def first_lines(error: JobFileError) -> list[str]:
    return [str(problem).splitlines()[0] for problem in error.problems]


def refused(text: str) -> list[str]:
    with pytest.raises(JobFileError) as caught:
        parse(text)
    return first_lines(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4:00:00", "4:00:00"),
        ("1:30", "1:30"),
        ("2024-05-01", "2024-05-01"),
        ("no", "no"),
        ("on", "on"),
        ("yes", "yes"),
        ("true", True),
        ("False", False),
        ("010", 10),
        ("-7", -7),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("1e-3", 0.001),
        ("2.5", 2.5),
        (".5", 0.5),
        ("-.inf", float("-inf")),
        ("~", None),
        ("", None),
        ("'12'", "12"),
        ("!!str 12", "12"),
        ("0-127", "0-127"),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    assert parse(f"key: {text}").value == {"key": value}


def test_keys_that_yaml_1_1_takes_for_booleans_are_text() -> None:
    assert parse("on: 1\nno: 2\ny: 3").value == {"on": 1, "no": 2, "y": 3}


def test_places_of_keys_and_values() -> None:
    document = parse("# a comment\ndata:\n  size: [256,\n    512]\n  'images': tiles\n")
    assert {
        path: (place.value.line, place.value.column, place.key and (place.key.line, place.key.column))
        for path, place in document.places.items()
    } == {
        (): (2, 1, None),
        ("data",): (3, 3, (2, 1)),
        ("data", "size"): (3, 9, (3, 3)),
        ("data", "size", 0): (3, 10, None),
        ("data", "size", 1): (4, 5, None),
        ("data", "images"): (5, 13, (5, 3)),
    }
    assert document.places["data", "size", 1].value.text == "    512]"


def test_line_ends_of_every_kind_count_once() -> None:
    document = parse("a: 1\r\nb: 2\rc: 3\nd: 4")
    assert [document.places[key,].value.line for key in "abcd"] == [1, 2, 3, 4]
    assert document.places["b",].value.text == "b: 2"


def test_every_duplicate_key_is_reported_and_the_first_counts() -> None:
    document = parse("a: 1\nb: {x: 1, x: 2}\na: 2\na: 3\n")
    assert document.value == {"a": 1, "b": {"x": 1}}
    assert sorted(str(problem).splitlines()[0] for problem in document.problems) == [
        "job.yaml:2:11: duplicate key 'x' under 'b'; it is already in line 2",
        "job.yaml:3:1: duplicate key 'a'; it is already in line 1",
        "job.yaml:4:1: duplicate key 'a'; it is already in line 1",
    ]


def test_keys_that_are_no_text() -> None:
    document = parse("1: a\ntrue: b\n[x]: c\n{y: z}: d\n~: e\nok: 1\n")
    assert document.value == {"ok": 1}
    assert [str(problem).splitlines()[0] for problem in document.problems] == [
        "job.yaml:1:1: expected text as a key, received a number; put it in quotes: '1'",
        "job.yaml:2:1: expected text as a key, received true or false; put it in quotes: 'true'",
        "job.yaml:3:1: expected text as a key, received a list",
        "job.yaml:4:1: expected text as a key, received a mapping",
        "job.yaml:5:1: expected text as a key, received nothing; put it in quotes: '~'",
    ]


def test_anchors_and_merge_keys() -> None:
    document = parse("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: {<<: [*a, {z: 4, x: 5}]}\nd: *a\n")
    assert document.value["b"] == {"x": 1, "y": 3}
    assert document.value["c"] == {"x": 1, "y": 2, "z": 4}
    assert document.value["d"] == document.value["a"]
    assert document.value["d"] is not document.value["a"]
    # A merged value points at the line that it was written in.
    assert document.places["b", "x"].value.line == 1
    assert document.places["b", "y"].value.line == 2


def test_a_merge_of_something_else() -> None:
    document = parse("a:\n  <<: 3\n")
    assert "job.yaml:2:7: `<<` takes a mapping" in str(document.problems[0])


def test_no_tag_constructs_an_object() -> None:
    document = parse("a: !!python/object/apply:os.system ['touch /tmp/x']\nb: !!set {x}\nc: !mine 3\n")
    assert [str(problem).splitlines()[0] for problem in document.problems] == [
        "job.yaml:1:4: the tag !!python/object/apply:os.system is not understood here; write the plain value",
        "job.yaml:2:4: the tag !!set is not understood here; write the plain value",
        "job.yaml:3:4: the tag !mine is not understood here; write the plain value",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: c: d\n", "2:5: a second ':' in one entry, or a wrong indentation; quote text that holds ': '"),
        ("a: 1\nfoo\nb: 2\n", "2:1: expected `key: value`; this line has no ':' after its key"),
        ("a:\n  - 1\n b: 2", "3:2: this line is indented unlike its neighbours"),
        ("a:\n  b: 1\n  - c\n", "3:3: this list item is indented unlike its neighbours"),
        ("a: [1, 2\nb: 3\n", "1:4: the list that starts here is not closed by ']'"),
        ("x: 1\na: {b: 1,\n", "2:4: the mapping that starts here is not closed by '}'"),
        ("a: {b: 1, c]\n", "1:12: expected ',' or '}' in the mapping that starts with '{'"),
        ("a: 'abc\nb: 2\n", "1:4: the quoted text that starts here has no end"),
        ("a: *x\n", "1:4: no anchor of this name was defined above (`&name`)"),
        ('a: "C:\\data"\n', r"1:8: unknown escape in double quotes; use single quotes, or \\ for a backslash"),
        ("a: @b\n", "1:4: text cannot start with '@'; put it in quotes"),
        ("a: %b\n", "1:4: text cannot start with '%'; put it in quotes"),
        ("a: ]\n", "1:4: expected a value, received ']'; put text in quotes"),
        ("a: - b\n", "1:4: a list item cannot start here; put it on a line of its own"),
        ("a: 1\n---\nb: 2\n", "2:1: a second document starts here; expected one"),
        ("a: &x [*x]\n", "1:4: an anchor cannot hold itself"),
        ("a:\tb\n", "1:3: a tab between words; YAML wants spaces here"),
        ("a: 1\nb: \x07c\n", "2:4: the character U+0007 is not allowed in YAML; leave it out, or write it as an "
         "escape in quotes"),
        ("- a\n- b\n", "1:1: expected keys and values (`key: value`) at the top level, received a list"),
        ("hello\n", "1:1: expected keys and values (`key: value`) at the top level, received a single value"),
    ],
)  # fmt: skip
def test_broken_yaml(text: str, message: str) -> None:
    assert refused(text) == [f"job.yaml:{message}"]


def test_every_tab_in_the_indentation_is_reported() -> None:
    assert refused("a:\n\tb: 1\n \tc: 2\nd: 3\n") == [
        "job.yaml:2:1: a tab in the indentation; YAML wants spaces",
        "job.yaml:3:2: a tab in the indentation; YAML wants spaces",
    ]


def test_tabs_inside_text_are_text() -> None:
    assert parse("a: |\n  x\n  \ty\nb: 'p\tq'\n").value == {"a": "x\n\ty\n", "b": "p\tq"}


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "\ufeff"])
def test_an_empty_file(text: str, tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(JobFileError) as caught:
        read_yaml(path, "job.yaml")
    assert str(caught.value) == "job.yaml: the file is empty; expected keys and values (`key: value`)"


def test_explosions_are_stopped() -> None:
    bomb = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
    bomb += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9))
    assert "unfolds to more than" in refused(bomb)[0]
    assert refused("a: " + "[" * 5000) == ["job.yaml: nested too deeply to be read"]
    assert refused("a: &a {x: &b {<<: *a}, <<: *b}\nd: {<<: *b}\n") == ["job.yaml: nested too deeply to be read"]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    def message(path: Path) -> str:
        with pytest.raises(JobFileError) as caught:
            read_yaml(path, "x.yaml")
        return str(caught.value)

    assert message(tmp_path / "missing.yaml") == "x.yaml: no such file"
    assert message(tmp_path) == "x.yaml: this is a folder; expected a YAML file"
    (tmp_path / "png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    assert message(tmp_path / "png") == "x.yaml: not a text file; expected YAML"
    (tmp_path / "latin").write_bytes("a: 1\nb: Wälder\n".encode("latin-1"))
    assert message(tmp_path / "latin") == "x.yaml: not UTF-8 text: byte 0xe4 in line 2; save the file as UTF-8"
    (tmp_path / "big").write_bytes(b"a: " + b"x" * 9_000_000)
    assert message(tmp_path / "big") == "x.yaml: larger than 8 MB; expected a YAML file"


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_bytes(b"\xef\xbb\xbfkind: train\n")
    document = read_yaml(tmp_path / "job.yaml")
    assert document.value == {"kind": "train"}
    assert document.places["kind",].key == Origin(str(tmp_path / "job.yaml"), 1, 1, "kind: train", folder=tmp_path)


TEXTS = st.text(st.characters(exclude_categories=()), max_size=12) | st.sampled_from(
    ["no", "1e3", "1:30", "010", "0x1F", "0o17", "~", "", "2024-05-01", "<<", "=", "1_0", ".inf", "a: b", "- x", "#c"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(TEXTS, VALUES, min_size=1, max_size=4))
def test_what_is_dumped_reads_back_the_same_in_both_versions_of_yaml(value: dict[str, object]) -> None:
    text = dump_yaml(value)
    assert yaml.safe_load(text) == value
    document = parse(text)
    assert document.problems == []
    assert document.value == value


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), st.integers(0, 99), min_size=1, max_size=6))
def test_every_key_stands_where_its_place_says(value: dict[str, int]) -> None:
    document = parse("# head\n" + dump_yaml({"outer": value}))
    for key, number in value.items():
        place = document.places["outer", key]
        assert place.key is not None
        # Words such as `no` are quoted, which YAML 1.1 would read as false.
        assert place.key.text[place.key.column - 1 :].startswith((f"{key}:", f"'{key}':"))
        assert place.value.text[place.value.column - 1 :] == str(number)
