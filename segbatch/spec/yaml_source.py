"""YAML text -> plain values, with the line and column of every key and value.

Scalars follow the core schema of YAML 1.2: only `true` and `false` are booleans, so a class may be called `no`, `1:30`
and `2024-05-01` are text, `010` is ten and `1e-3` is a number. Anchors and merge keys (`<<`) work as in YAML 1.1.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

from segbatch.spec.document import Document, Place
from segbatch.spec.problems import JobFileError, Origin, Problem, shown
from segbatch.spec.section import KeyPath, dotted
from segbatch.spec.yaml_errors import syntax_problems

MAX_BYTES = 8_000_000
MAX_NODES = 50_000
_TAG = "tag:yaml.org,2002:"
_BREAK = re.compile(r"\r\n|[\r\n\x85\u2028\u2029]")
_SCALARS: dict[str, tuple[str, str]] = {
    "null": (r"~|null|Null|NULL|", "~nN\0"),
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?[0-9]+|0x[0-9a-fA-F]+", "-+0123456789"),
    "float": (
        r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
    "merge": ("<<", "<"),
}


class _CoreResolver(BaseResolver):
    """Which plain scalars are more than text: the core schema of YAML 1.2, and `<<`."""


for _name, (_pattern, _first) in _SCALARS.items():
    _letters = [letter if letter != "\0" else "" for letter in _first]
    _CoreResolver.add_implicit_resolver(_TAG + _name, re.compile(f"^(?:{_pattern})$"), _letters)


class _Loader(Reader, Scanner, Parser, Composer, _CoreResolver):
    """Composes nodes; nothing in it can construct objects."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        _CoreResolver.__init__(self)


class _Dumper(yaml.SafeDumper):
    """Quotes text that either version of YAML would take for something else."""


for _name, (_pattern, _first) in _SCALARS.items():
    _letters = [letter if letter != "\0" else "" for letter in _first]
    _Dumper.add_implicit_resolver(_TAG + _name, re.compile(f"^(?:{_pattern})$"), _letters)


def dump_yaml(value: Any) -> str:
    """Write plain values as YAML that reads back the same under YAML 1.1 and 1.2, keys in the order given."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    if any(letter in text for letter in "\x85\u2028\u2029\ufeff"):
        # PyYAML leaves these line breaks as they are in quotes, where reading folds them into spaces.
        text = yaml.dump(value, Dumper=_Dumper, sort_keys=False)
    return text


def read_yaml(path: Path, name: str | None = None, at: Origin | None = None) -> Document:
    """Read a YAML file whose top level is a mapping.

    Args:
        path: the file.
        name: what messages call it; defaults to the path.
        at: where the file was named, if another file did; problems of the file as a whole point there.

    Raises:
        JobFileError: the file cannot be read, is no text, or is not YAML. What can be read around (duplicate keys,
            keys that are no text) is left in `Document.problems`.
    """
    origin = Origin(name or shown(path), folder=path.absolute().parent)
    try:
        text = _text(path)
    except _UnusableError as error:
        problem = Problem(origin, str(error)) if at is None else Problem(at, f"{origin.file}: {error}")
        raise JobFileError([problem]) from None
    return parse_yaml(text, origin)


def parse_yaml(text: str, origin: Origin) -> Document:
    """Read YAML text whose top level is a mapping; `origin` names the file and its folder.

    Raises:
        JobFileError: as in `read_yaml`.
    """
    document = _compose(text, origin)
    if document.value is None:
        raise JobFileError([Problem(origin, "the file is empty; expected keys and values (`key: value`)")])
    if not isinstance(document.value, dict):
        kind = "a list" if isinstance(document.value, list) else "a single value"
        message = f"expected keys and values (`key: value`) at the top level, received {kind}"
        raise JobFileError([Problem(document.places[()].value, message)])
    return document


def parse_value(text: str, origin: Origin) -> Document:
    """Read the YAML value of a command line option: any value, which has `origin` for its place throughout.

    Raises:
        JobFileError: the text is not YAML.
    """
    if not text.isprintable():
        return Document(text, {(): Place(origin)})
    document = _compose(text, origin)
    document.places = {path: Place(origin, origin) for path in document.places}
    document.problems = [Problem(origin, problem.message) for problem in document.problems]
    return document


class _UnusableError(Exception):
    """The file as a whole cannot be read."""


def _text(path: Path) -> str:
    try:
        if path.is_dir():
            raise _UnusableError("this is a folder; expected a YAML file")
        with path.open("rb") as handle:
            raw = handle.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise _UnusableError("no such file") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise _UnusableError(f"the file cannot be read: {reason}") from None
    if len(raw) > MAX_BYTES:
        raise _UnusableError(f"larger than {MAX_BYTES // 1_000_000} MB; expected a YAML file")
    if b"\0" in raw:
        raise _UnusableError("not a text file; expected YAML")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        message = f"not UTF-8 text: byte 0x{raw[error.start]:02x} in line {line}"
        raise _UnusableError(f"{message}; save the file as UTF-8") from None


def _compose(text: str, origin: Origin) -> Document:
    lines = _BREAK.split(text)
    loader: _Loader | None = None
    builder = _Builder(lines, origin)
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        value = builder.build(node, (), None) if node is not None else None
    except yaml.YAMLError as error:
        raise JobFileError(syntax_problems(error, lines, origin, loader.marks if loader else ())) from None
    except RecursionError:
        raise JobFileError([Problem(origin, "nested too deeply to be read")]) from None
    builder.places.setdefault((), Place(Origin(origin.file, 1, 1, lines[0], origin.folder)))
    return Document(value, builder.places, builder.problems)


class _Builder:
    """Turns composed nodes into plain values, and notes where each began."""

    def __init__(self, lines: list[str], origin: Origin) -> None:
        self.lines, self.origin = lines, origin
        self.places: dict[KeyPath, Place] = {}
        self.problems: list[Problem] = []
        self._open: list[Node] = []
        self._left = MAX_NODES

    def origin_of(self, node: Node) -> Origin:
        line, column = node.start_mark.line, node.start_mark.column
        text = self.lines[line] if line < len(self.lines) else ""
        return Origin(self.origin.file, line + 1, column + 1, text, self.origin.folder)

    def build(self, node: Node, path: KeyPath, key: Node | None) -> Any:
        """Plain value of `node`; its place, and those of all below it, are noted under `path`."""
        self._left -= 1
        if self._left < 0:
            raise JobFileError([Problem(self.origin_of(node), f"the file unfolds to more than {MAX_NODES} values")])
        if any(node is outer for outer in self._open):
            raise JobFileError([Problem(self.origin_of(node), "an anchor cannot hold itself")])
        self.places[path] = Place(self.origin_of(node), self.origin_of(key) if key else None)
        self._open.append(node)
        try:
            if not isinstance(node, ScalarNode) and node.tag not in (_TAG + "map", _TAG + "seq"):
                self._refuse_tag(node)
            if isinstance(node, MappingNode):
                return self._mapping(node, path)
            if isinstance(node, SequenceNode):
                return [self.build(item, (*path, position), None) for position, item in enumerate(node.value)]
            return self._scalar(node)
        finally:
            self._open.pop()

    def _mapping(self, node: MappingNode, path: KeyPath) -> dict[str, Any]:
        value: dict[str, Any] = {}
        for name, (key, item) in self._entries(node, path).items():
            value[name] = self.build(item, (*path, name), key)
        return value

    def _entries(self, node: MappingNode, path: KeyPath) -> dict[str, tuple[Node, Node]]:
        """Entries of a mapping by key, those of merged mappings included; the nearer one wins."""
        own: dict[str, tuple[Node, Node]] = {}
        merged: dict[str, tuple[Node, Node]] = {}
        for key, item in node.value:
            if key.tag == _TAG + "merge":
                for source in self._merge_sources(item):
                    for name, entry in self._entries(source, path).items():
                        merged.setdefault(name, entry)
                continue
            text = self._key(key)
            if text is not None and text in own:
                first = own[text][0].start_mark.line + 1
                message = f"duplicate key {text!r}{_under(path)}; it is already in line {first}"
                self.problems.append(Problem(self.origin_of(key), message))
            elif text is not None:
                own[text] = (key, item)
        return own | {name: entry for name, entry in merged.items() if name not in own}

    def _merge_sources(self, item: Node) -> list[MappingNode]:
        nodes = item.value if isinstance(item, SequenceNode) else [item]
        sources = [node for node in nodes if isinstance(node, MappingNode) and node not in self._open]
        if len(sources) != len(nodes):
            message = "`<<` takes a mapping or a list of mappings, such as `<<: *name`"
            self.problems.append(Problem(self.origin_of(item), message))
        return sources

    def _key(self, key: Node) -> str | None:
        if isinstance(key, ScalarNode) and key.tag == _TAG + "str":
            return str(key.value)
        if isinstance(key, ScalarNode):
            kind = {"int": "a number", "float": "a number", "bool": "true or false", "null": "nothing"}
            received = kind.get(key.tag.removeprefix(_TAG), f"the tag {key.tag}")
            message = f"expected text as a key, received {received}"
            if key.value:
                message += f"; put it in quotes: '{key.value}'"
        else:
            message = f"expected text as a key, received a {'list' if isinstance(key, SequenceNode) else 'mapping'}"
        self.problems.append(Problem(self.origin_of(key), message))
        return None

    def _scalar(self, node: Node) -> Any:
        kind, text = node.tag.removeprefix(_TAG), str(node.value)
        try:
            if kind == "str":
                return text
            if kind == "null":
                return None
            if kind == "bool":
                return {"true": True, "false": False}[text.lower()]
            if kind == "int":
                return int(text, 16) if text[:2] == "0x" else int(text)
            if kind == "float":
                return float(re.sub(r"\.(inf|nan)$", r"\1", text, flags=re.IGNORECASE))
            if kind == "merge":
                return text
        except (ValueError, KeyError):
            pass
        self._refuse_tag(node)
        return text

    def _refuse_tag(self, node: Node) -> None:
        message = f"the tag {node.tag.replace(_TAG, '!!')} is not understood here; write the plain value"
        self.problems.append(Problem(self.origin_of(node), message))


def _under(path: KeyPath) -> str:
    return f" under '{dotted(path)}'" if path else ""
