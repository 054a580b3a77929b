"""A job file -> a validated job."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from segbatch.spec import declared
from segbatch.spec.combinations import combinations
from segbatch.spec.document import Document, merged
from segbatch.spec.environment import expand
from segbatch.spec.job import KINDS, Job
from segbatch.spec.label_source import LABELS, named_from, resolve_labels
from segbatch.spec.overrides import apply_set
from segbatch.spec.paths import FROM_FILE, FROM_ROOT, at_home, resolve_paths
from segbatch.spec.problems import JobFileError, Origin, Problem, did_you_mean, listed, nearest, shown
from segbatch.spec.section import KeyPath
from segbatch.spec.stage_references import Reference, resolve_references
from segbatch.spec.validate import Validator, received
from segbatch.spec.yaml_source import read_yaml

EXTENDS = "extends"
_EXTENDS: KeyPath = (EXTENDS,)
_MODEL: KeyPath = ("model",)


@dataclass(frozen=True)
class LoadedJob:
    """A job, and where every part of it was written."""

    job: Job
    """The job: paths absolute (those below `data.root` relative to it), labels and inherited files taken in."""
    path: Path
    """The job file, absolute."""
    files: tuple[Path, ...]
    """All files read: the job file, those it extends, the labels file."""
    document: Document = field(repr=False)
    """The values as written, with their places."""
    references: tuple[Reference, ...] = ()
    """What it takes from other stages of its pipeline."""

    def error(self, path: KeyPath, message: str, hint: str = "") -> JobFileError:
        """An error that points at the line where the value at `path` was written."""
        return JobFileError([Problem(self.document.place(path).value, message, hint)])


def load_job(path: Path | str, sets: Sequence[str] = (), environ: Mapping[str, str] | None = None) -> LoadedJob:
    """Read, complete and validate a job file.

    Args:
        path: the job file.
        sets: overrides, each `a.b=value`.
        environ: environment for `${VAR}` and `~`; defaults to the process's own.

    Raises:
        JobFileError: with every problem of the file, of those it draws on and of the overrides.
    """
    environ = os.environ if environ is None else environ
    path = Path(path)
    reading = _Reading(environ)
    document = reading.read(path, shown(path), None)
    _override(document, sets)
    return _judged(document, reading, path, name_from(path), sets)


@dataclass(frozen=True)
class JobFile:
    """A job file that another file names."""

    path: Path
    origin: Origin
    """Where it is named."""


def load_stage(
    source: Document | JobFile,
    over: Document | None,
    path: Path,
    name: str,
    products: Mapping[str, str],
    environ: Mapping[str, str],
) -> LoadedJob:
    """Read, complete and validate the job of a pipeline's stage.

    Args:
        source: the job file, or the keys of the job as they stand in the pipeline's file.
        over: keys that replace those of the job.
        path: the pipeline's file, absolute.
        name: of the job, where it says none.
        products: what stages make, such as `train.bundle` -> a path.
        environ: environment for `${VAR}` and `~`.

    Raises:
        JobFileError: as `load_job`.
    """
    reading = _Reading(environ)
    if isinstance(source, JobFile):
        path, name = source.path, name_from(source.path)
        document = reading.read(path, shown(path), source.origin)
    else:
        document = reading.continued(source, path)
    _unfold_model(document)
    if over is not None:
        if document.at(("kind",)) == "predict" and isinstance(over.at(_MODEL), str):
            over.put(("kind",), "predict")
            _unfold_model(over)
        document = merged(document, over)
    return _judged(document, reading, path, name, (), products)


def _judged(
    document: Document,
    reading: _Reading,
    path: Path,
    name: str,
    sets: Sequence[str],
    products: Mapping[str, str] | None = None,
) -> LoadedJob:
    kind, known = _kind(document, reading)
    if kind is None:
        raise JobFileError(document.problems, _order(reading, "", sets))
    _unfold_model(document)
    references = resolve_references(document, products)
    doubtful, labels_file, labels_name = _complete(document, path, name, reading.environ)
    validator = Validator(
        KINDS[kind],
        document,
        doubtful,
        relatives={f"kind: {name}": other for name, other in KINDS.items() if name != kind} if known else {},
        itself=f"kind: {kind}",
        extra_keys=(EXTENDS,),
        incomplete=reading.incomplete or not known,
    )
    checked = validator.run()
    if checked.value is not None and not validator.incomplete:
        validator.report(((), conflict) for conflict in combinations(checked.value))
    problems = [*document.problems, *checked.problems]
    if problems or checked.value is None:
        raise JobFileError(problems, _order(reading, labels_name, sets))
    files = (*reading.files, labels_file.absolute()) if labels_file else tuple(reading.files)
    return LoadedJob(checked.value, path.absolute(), files, document, tuple(references))


def _override(document: Document, sets: Sequence[str]) -> None:
    _unfold_model(document)
    for option in sets:
        apply_set(document, option, Path.cwd())
        _unfold_model(document)


def _complete(
    document: Document, path: Path, name: str, environ: Mapping[str, str]
) -> tuple[set[KeyPath], Path | None, str]:
    """Take in the environment, the folders that paths start from, defaults and labels.

    Returns:
        Places of values that are known to be wrong, the labels file, and what messages call it.
    """
    expansion = expand(document, environ)
    doubtful = expansion.doubtful | resolve_paths(document, FROM_FILE, FROM_ROOT, expansion.imported, environ)
    _defaults(document, path, name)
    labels_file, labels_name = resolve_labels(document, document.value["name"], expansion.imported, environ)
    if document.holds(LABELS) and document.at(LABELS) is None:
        doubtful.add(LABELS)
    return doubtful, labels_file, labels_name


def _order(reading: _Reading, labels_name: str, sets: Sequence[str]) -> list[str]:
    """Files in the order in which their problems are shown."""
    return [*reading.names, labels_name, *(f"--set {option}" for option in sets)]


@dataclass
class _Reading:
    """Reads a job file and those it extends."""

    environ: Mapping[str, str]
    names: list[str] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    incomplete: bool = False
    """A file that another extends could not be used."""
    _chain: list[tuple[str, str]] = field(default_factory=list)

    def read(self, path: Path, name: str, at: Origin | None) -> Document:
        """Read a file on top of what it extends, to the end of the chain."""
        document = read_yaml(path, name, at)
        self.names.append(name)
        self.files.append(path.absolute())
        self._chain.append((os.path.realpath(path), name))
        if document.holds(_EXTENDS):
            document = self._extended(document)
        self._chain.pop()
        return document

    def continued(self, document: Document, path: Path) -> Document:
        """Put what was read already, as part of the file at `path`, on top of what it extends."""
        if not document.holds(_EXTENDS):
            return document
        self._chain.append((os.path.realpath(path), shown(path)))
        document = self._extended(document)
        self._chain.pop()
        return document

    def _extended(self, document: Document) -> Document:
        origin = document.place(_EXTENDS).value
        parent = Document({EXTENDS: document.value.pop(EXTENDS)}, document.places)
        unset = expand(parent, self.environ).doubtful
        document.problems.extend(parent.problems)
        value = parent.at(_EXTENDS)
        if not isinstance(value, str) or unset:
            if not unset:
                message = f"expected the path of a job file, received {received(value)}"
                document.problems.append(Problem(origin, message))
            self.incomplete = True
            return document
        path = origin.folder / at_home(value, self.environ)
        name = named_from(origin, path)
        known = [real for real, _ in self._chain]
        if os.path.realpath(path) in known:
            chain = [chained for _, chained in self._chain[known.index(os.path.realpath(path)) :]]
            message = f"these files extend each other in a circle: {' -> '.join([*chain, chain[0]])}"
            document.problems.append(Problem(origin, message))
            self.incomplete = True
            return document
        try:
            return merged(self.read(path, name, origin), document)
        except JobFileError as error:
            document.problems.extend(error.problems)
            self.incomplete = True
            return document


def _kind(document: Document, reading: _Reading) -> tuple[str | None, bool]:
    """The job's kind, and whether it was said (perhaps misspelt).

    Where it was not, the kind that knows most of the keys; None if no kind knows more than another.
    """
    value = document.at(("kind",))
    if isinstance(value, str) and value in KINDS:
        return value, True
    options = listed(map(repr, KINDS), "or")
    if value == "pipeline":
        message = "this is a pipeline; here a single job is expected, such as that of one of its stages"
        document.problems.append(Problem(document.place(("kind",)).value, message))
        return None, True
    if document.holds(("kind",)):
        hint = did_you_mean(value, KINDS)
        message = f"expected {options}, received {received(value)}{'.' if hint else ''}{hint}"
        document.problems.append(Problem(document.place(("kind",)).value, message))
    elif not reading.incomplete:
        message = f"missing key 'kind'. What the job does: {options}."
        document.problems.append(Problem(document.place(()).start, message))
    match = nearest(value, KINDS) if isinstance(value, str) else None
    meant = match is not None
    if match is None:
        own = {kind: sum(key in declared.keys_of(model) for key in document.value) for kind, model in KINDS.items()}
        best = [kind for kind in own if own[kind] == max(own.values())]
        match = best[0] if len(best) == 1 else None
    if match is not None:
        document.put(("kind",), match)
    return match, meant


def _unfold_model(document: Document) -> None:
    """In a predict job, `model: path` stands for `{bundle: path}`."""
    if document.at(("kind",)) != "predict" or not isinstance(document.at(_MODEL), str):
        return
    place = document.place(_MODEL)
    document.put(_MODEL, {"bundle": document.at(_MODEL)})
    document.places[(*_MODEL, "bundle")] = place


def _defaults(document: Document, path: Path, name: str) -> None:
    """Give the job its file's (or stage's) name and its data the file's folder, where nothing else is said."""
    if document.at(("name",)) is None:
        document.put(("name",), name)
    data = document.at(("data",))
    if isinstance(data, dict) and data.get("root") is None:
        data["root"] = str(path.absolute().parent)


def name_from(path: Path) -> str:
    """A job's name made from its file's: letters that a name cannot have become dashes."""
    plain = unicodedata.normalize("NFKD", path.stem).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9._]+", "-", plain).strip("-._")[:100] or "job"
