"""A pipeline's file -> validated stages in order."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from segbatch.spec.document import Document
from segbatch.spec.environment import expand
from segbatch.spec.gate_job import GateJob
from segbatch.spec.inference import TrainedModel
from segbatch.spec.job import Job, PredictJob
from segbatch.spec.load import JobFile, LoadedJob, load_job, load_stage, name_from
from segbatch.spec.model_name import CHAMPION
from segbatch.spec.overrides import apply_set
from segbatch.spec.paths import resolve_paths
from segbatch.spec.pipeline import PRODUCTS, PipelineJob, in_a_circle, in_order
from segbatch.spec.problems import JobFileError, Problem, listed, shown
from segbatch.spec.section import KeyPath
from segbatch.spec.validate import Validator
from segbatch.spec.yaml_source import read_yaml

_STAGES: KeyPath = ("stages",)


@dataclass(frozen=True)
class LoadedStage:
    """One stage, its job complete."""

    name: str
    job: Job
    needs: tuple[str, ...]
    """Said and implied by what the job takes from others."""
    scores_champion_of: str = ""
    """The gate stage for which it lets the champion predict the holdout; empty for stages of the file."""


@dataclass(frozen=True)
class LoadedPipeline:
    """A pipeline with its stages, each after those that it needs."""

    job: PipelineJob
    stages: tuple[LoadedStage, ...]
    path: Path
    """The pipeline's file, absolute."""


def is_pipeline(path: Path) -> bool:
    """Tell whether a file says `kind: pipeline`; one that cannot be read does not."""
    try:
        return bool(read_yaml(path, shown(path)).at(("kind",)) == "pipeline")
    except JobFileError:
        return False


def pipeline_name(path: Path, sets: Sequence[str] = ()) -> str:
    """Return the name of the pipeline in a file, as far as it can be told without validating it."""
    document = _document(path, sets)
    name = document.at(("name",))
    return name if isinstance(name, str) else name_from(path)


def load_pipeline(
    path: Path, folder: Path, sets: Sequence[str] = (), environ: Mapping[str, str] | None = None
) -> LoadedPipeline:
    """Read and validate a pipeline with the jobs of all its stages.

    Args:
        path: its file.
        folder: the folder of its run, where stages will leave what they make.
        sets: overrides, each `stages.train.set.seed=3`.
        environ: environment for `${VAR}` and `~`; defaults to the process's own.

    Raises:
        JobFileError: with every problem of the file, or of the stages' jobs.
    """
    environ = os.environ if environ is None else environ
    document = _document(path, sets)
    expansion = expand(document, environ, keep=_belongs_to_a_stage)
    stages = document.at(_STAGES)
    names = [name for name in stages if isinstance(name, str)] if isinstance(stages, dict) else []
    files: list[KeyPath] = [("output", "runs"), *((*_STAGES, name, "job") for name in names)]
    doubtful = expansion.doubtful | resolve_paths(document, files, (), expansion.imported, environ)
    if document.at(("name",)) is None:
        document.put(("name",), name_from(path))
    written = {name: _parts(document, name) for name in names}
    checked = Validator(PipelineJob, document, doubtful).run()
    problems = [*document.problems, *checked.problems]
    if problems or checked.value is None:
        raise JobFileError(problems)
    made = {f"{name}.{what}": str(where) for name in names for what, where in products(folder, name)}
    loaded = _load_stages(written, path.absolute(), made, environ)
    ordered = _ordered(checked.value, loaded)
    return LoadedPipeline(checked.value, tuple(_with_champions(ordered, folder)), path.absolute())


def load_any(
    path: Path, sets: Sequence[str] = (), environ: Mapping[str, str] | None = None
) -> tuple[Job | PipelineJob, tuple[Job, ...]]:
    """Read what a file starts: a single job, or a pipeline; and the jobs that it consists of.

    Raises:
        JobFileError: with every problem.
    """
    if not is_pipeline(path):
        job = load_job(path, sets, environ).job
        return job, (job,)
    loaded = load_pipeline(path, Path("/run"), sets, environ)
    return loaded.job, tuple(stage.job for stage in loaded.stages)


def products(folder: Path, stage: str) -> Iterator[tuple[str, Path]]:
    """Yield what stages of any kind may leave, and where, in a pipeline's run folder."""
    run = stage_folder(folder, stage)
    yield from (("run", run), ("bundle", run / "model"), ("masks", run / "masks"))


def stage_folder(folder: Path, stage: str) -> Path:
    """Folder of a stage's own run, within the pipeline's."""
    return folder / "stages" / stage


def _document(path: Path, sets: Sequence[str]) -> Document:
    document = read_yaml(path, shown(path))
    for option in sets:
        apply_set(document, option, Path.cwd())
    return document


def _belongs_to_a_stage(path: KeyPath) -> bool:
    """Whether text is part of a stage's own job, which is completed by itself."""
    return path[:1] == _STAGES and len(path) > 3


def _parts(document: Document, name: str) -> tuple[Document | JobFile, Document | None]:
    """A stage's job, and what is set in it, as they stand before validation mends them."""
    path = (*_STAGES, name, "job")
    job = document.at(path)
    source = _below(document, path) if isinstance(job, dict) else JobFile(Path(str(job)), document.place(path).value)
    over = document.at((*_STAGES, name, "set"))
    return source, _below(document, (*_STAGES, name, "set")) if isinstance(over, dict) else None


def _below(document: Document, path: KeyPath) -> Document:
    size = len(path)
    places = {at[size:]: place for at, place in document.places.items() if at[:size] == path}
    return Document(document.at(path), {(): document.place(path), **places})


def _load_stages(
    written: Mapping[str, tuple[Document | JobFile, Document | None]],
    path: Path,
    made: Mapping[str, str],
    environ: Mapping[str, str],
) -> dict[str, LoadedJob]:
    loaded: dict[str, LoadedJob] = {}
    problems: list[Problem] = []
    for name, (source, over) in written.items():
        try:
            loaded[name] = load_stage(source, over, path, name, made, environ)
        except JobFileError as error:
            problems += [problem for problem in error.problems if problem not in problems]
    for name, found in loaded.items():
        problems += _wrong_products(name, found, loaded)
    if problems:
        raise JobFileError(problems)
    return loaded


def _wrong_products(name: str, stage: LoadedJob, loaded: Mapping[str, LoadedJob]) -> Iterator[Problem]:
    for reference in stage.references:
        other = loaded.get(reference.stage)
        if reference.stage == name:
            yield Problem(reference.origin, f"stage {name!r} cannot take what it makes itself")
        elif other is not None and reference.product not in PRODUCTS[other.job.kind]:
            makes = listed([f"${{stages.{reference.stage}.{product}}}" for product in PRODUCTS[other.job.kind]])
            message = f"stage {reference.stage!r} (kind: {other.job.kind}) makes no {reference.product}"
            yield Problem(reference.origin, f"{message}. It makes {makes}.")


def _ordered(job: PipelineJob, loaded: Mapping[str, LoadedJob]) -> tuple[LoadedStage, ...]:
    implied = {name: [reference.stage for reference in stage.references] for name, stage in loaded.items()}
    needs = {name: tuple(dict.fromkeys([*stage.needs, *implied[name]])) for name, stage in job.stages.items()}
    circle = in_a_circle(needs)
    if circle:
        origin = next(stage.references[0].origin for name, stage in loaded.items() if stage.references)
        raise JobFileError([Problem(origin, f"stages need each other in a circle: {' -> '.join(circle)}")])
    return tuple(LoadedStage(name, loaded[name].job, needs[name]) for name in in_order(needs))


def _with_champions(stages: Sequence[LoadedStage], folder: Path) -> Iterator[LoadedStage]:
    """Put before each gate a stage in which the champion predicts what the challenger predicted."""
    for stage in stages:
        job = stage.job
        rival = None
        if isinstance(job, GateJob) and job.champion is None:
            rival = next((one for one in stages if str(stage_folder(folder, one.name)) == job.challenger), None)
        if rival is None or not isinstance(rival.job, PredictJob) or not isinstance(job, GateJob):
            yield stage
            continue
        name = f"{stage.name}-champion"
        champion = {"model": TrainedModel(bundle=f"{job.model}@{CHAMPION}"), "labels": None}
        output = rival.job.output.model_copy(update={"registry": job.output.registry})
        yield LoadedStage(
            name,
            rival.job.model_copy(update=champion | {"name": f"{rival.job.name[:90]}-champion", "output": output}),
            (rival.name,),
            scores_champion_of=stage.name,
        )
        compared = job.model_copy(update={"champion": str(stage_folder(folder, name))})
        yield LoadedStage(stage.name, compared, (*stage.needs, name))
