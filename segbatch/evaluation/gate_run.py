"""The gate between two predict runs: their figures, the decision, its page, and what the registry keeps of it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from segbatch.errors import InputError, SegbatchError
from segbatch.evaluation.counts import unpack
from segbatch.evaluation.finish import Merge
from segbatch.evaluation.gate import Contest, Decision, decide
from segbatch.evaluation.gate_page import GateContent, Glance, Group, render_gate
from segbatch.evaluation.pictures import panel_names
from segbatch.evaluation.tally import Tally, figure, tally
from segbatch.runs.champions import promote
from segbatch.runs.files import write_json, write_text
from segbatch.runs.holdout import HoldoutScores, champion_scores, differences, keep_scores, read_scores
from segbatch.runs.model_folder import ModelFolder, Registry
from segbatch.runs.model_registry import resolve, verify, versions
from segbatch.runs.run import Run, open_run
from segbatch.spec.gate import Gate
from segbatch.spec.model_name import CHAMPION, ModelName, parse_model_name
from segbatch.spec.section import Section

PAGE = "gate.html"
RESULT = "gate.json"


class GateResult(Section):
    """`report/gate.json` of the challenger's run: what was compared by which rules, and what came of it."""

    challenger: str
    """`name@version`, or the bundle's path where it is not registered."""
    champion: str
    """`name@version`; empty where there was none."""
    holdout: str
    """Digest of the holdout."""
    challenger_run: str
    champion_run: str
    gate: Gate
    seed: int
    decision: Decision


@dataclass(frozen=True)
class Judged:
    """A decision, and where its page lies."""

    result: GateResult
    page: Path
    promoted: bool = False
    """The challenger was made the champion."""


def gate_run(
    run: Run,
    registry: Registry,
    gate: Gate,
    *,
    against: Run | None = None,
    model: str = "",
    seed: int = 0,
    promoting: bool = False,
) -> Judged:
    """Judge the model of a finished predict run on a holdout against the champion, and write `report/gate.html`.

    The figures of both stay in the registry under the holdout's digest, so a champion predicts a holdout once.

    Args:
        run: the challenger's predict run, with ground truth.
        registry: where the champion is looked up.
        gate: the rules.
        against: the champion's predict run on the same holdout; needed where the registry has no figures of it.
        model: name of the model whose champion it challenges; by default that of the registered version that `run`
            used.
        seed: of the bootstrap.
        promoting: make the challenger the champion if the decision says so.

    Raises:
        InputError: the runs cannot be compared, the champion was not scored on this holdout, or the challenger is not
            registered and is to be promoted.
        SegbatchError: another has become champion meanwhile.
    """
    name = _registered_as(run, registry, model)
    if promoting and name is None:
        raise InputError(
            f"{run.label} predicted with {run.record.bundle}, which is not registered, so it cannot become champion. "
            "Register it (segbatch models register), and predict with its name."
        )
    folder = _model_folder(run, registry, name, model)
    scores = read_scores(run)
    if name is not None:
        scores = scores.model_copy(update={"model": str(name)})
    if name is not None and folder.name == name.model:
        keep_scores(folder, name.version, scores)
    champion, known = _champion(folder, scores, name, against)
    if name is not None and name.version == champion:
        return _decided_before(run, scores, name)
    result = GateResult(
        challenger=scores.model,
        champion=f"{folder.name}@{champion}" if champion else "",
        holdout=scores.holdout,
        challenger_run=scores.run,
        champion_run=known.run if known else "",
        gate=gate,
        seed=seed,
        decision=decide(contest(scores, known), gate, seed=seed),
    )
    page = write_page(run, result, scores, known)
    promoted = False
    if promoting and result.decision.promote and name is not None:
        verify(resolve(registry, str(name)))
        promote(folder, name.version, over=champion, reason=f"gate: {result.decision.verdict}")
        promoted = True
    return Judged(result, page, promoted)


def _registered_as(run: Run, registry: Registry, model: str) -> ModelName | None:
    """Return the version that a run predicted with: by the name it was told, or by the bundle, registered later."""
    told = parse_model_name(run.record.model)
    if told is not None or not model:
        return told
    known = versions(registry.model(model))
    digest = run.record.digests["bundle"]
    return next((ModelName(model, info.version) for info in reversed(known) if info.digest == digest), None)


def _model_folder(run: Run, registry: Registry, name: ModelName | None, model: str) -> ModelFolder:
    if not model and name is None:
        raise InputError(
            f"{run.label} predicted with {run.record.bundle}, which is not registered. Say whose champion it "
            "challenges: --model NAME"
        )
    return registry.model(model or (name.model if name else ""))


def _champion(
    model: ModelFolder, scores: HoldoutScores, name: ModelName | None, against: Run | None
) -> tuple[str, HoldoutScores | None]:
    champion, known = champion_scores(model, scores.holdout)
    if not champion or (name is not None and name.version == champion):
        return champion, None
    if against is not None:
        known = read_scores(against)
        if known.model != f"{model.name}@{champion}":
            raise InputError(
                f"{known.run} predicted with {known.model}, but the champion is {model.name}@{champion}. Expected a "
                f"run of it: segbatch submit JOB --set model={model.name}@{CHAMPION}"
            )
        if apart := differences(scores, known):
            raise InputError(f"{scores.run} and {known.run} are not of one holdout: {apart}.")
        keep_scores(model, champion, known)
    if known is None:
        raise InputError(
            f"the champion {model.name}@{champion} was not scored on this holdout as it is now. Let it predict it, and "
            f"compare with that run: segbatch submit JOB --set model={model.name}@{CHAMPION}, then --against its RUN"
        )
    return champion, known


def _decided_before(run: Run, scores: HoldoutScores, name: ModelName) -> Judged:
    """Return the decision that made a challenger the champion, when the gate is asked again after it."""
    with suppress(OSError, ValueError):
        result = GateResult.model_validate(json.loads((run.paths.report / RESULT).read_bytes()))
        if (result.challenger, result.holdout) == (str(name), scores.holdout) and result.decision.promote:
            return Judged(result, run.paths.report / PAGE, promoted=True)
    raise InputError(f"{name} is the champion already, so there is nothing to compare it with.")


def contest(challenger: HoldoutScores, champion: HoldoutScores | None) -> Contest:
    """Put both models' counts side by side, by tile.

    Args:
        challenger: of the new model.
        champion: of the old one, of the same tiles.
    """
    names = list(challenger.classes)
    tiles = [tile for tile, _ in challenger.tiles]
    old = None
    if champion is not None:
        by_tile = dict(champion.tiles)
        old = _tally([by_tile[tile] for tile in tiles], len(names))
    return Contest(names, tiles, _tally([counts for _, counts in challenger.tiles], len(names)), old)


def _tally(packed: Sequence[str], classes: int) -> Tally:
    return tally((unpack(text, classes) for text in packed), classes)


def write_page(run: Run, result: GateResult, scores: HoldoutScores, known: HoldoutScores | None) -> Path:
    """Write `gate.html` and `gate.json` into the report of the challenger's run; return the page."""
    record, folder = run.record, run.paths.report
    content = GateContent(
        job=record.name,
        run=record.id,
        labels=record.labels,
        challenger=result.challenger,
        champion=result.champion,
        decision=result.decision,
        gate=result.gate,
        tiles=len(scores.tiles),
        groups=tuple(_groups(run, scores, known)),
        panels=tuple(panel_names(image=bool(record.images_root), truth=True)),
        origins={
            "challenger's run": scores.run_folder,
            "champion's run": known.run_folder if known else None,
            "holdout": scores.holdout,
            "tiles that could not be read": len(scores.rejected) or None,
            "gate": result.gate.model_dump(mode="json", exclude_none=True),
            "seed": result.seed,
        },
    )
    folder.mkdir(exist_ok=True)
    write_text(folder / PAGE, render_gate(content))
    write_json(folder / RESULT, result.model_dump(mode="json"))
    return folder / PAGE


def _groups(run: Run, scores: HoldoutScores, known: HoldoutScores | None) -> Iterator[Group]:
    """Choose the tiles to look at: the worst of both, and those that lost most."""
    both, limit = contest(scores, known), run.job.report.pictures
    new = _tile_figures(both.challenger, both.names)
    old = [math.nan] * len(new) if both.champion is None else _tile_figures(both.champion, both.names)

    def group(heading: str, note: str, ranks: Sequence[float], below: float, drawer: Run | None) -> Group:
        ranked = sorted((rank, place) for place, rank in enumerate(ranks) if rank < below)
        picture = Merge(drawer).picture if drawer else _no_picture
        chosen = [place for _, place in ranked[:limit]]
        return Group(
            heading,
            note,
            tuple(
                Glance(both.tiles[at], _defined(old[at]), _defined(new[at]), picture(both.tiles[at])) for at in chosen
            ),
        )

    yield group("Worst tiles of the challenger", "Its masks; lowest mean IoU first.", new, 1, run)
    if known is not None:
        yield group("Worst tiles of the champion", "Its masks; lowest mean IoU first.", old, 1, _opened(known))
        losses = [after - before for before, after in zip(old, new, strict=True)]
        yield group("Tiles that lose most", "The challenger's masks; greatest loss first.", losses, 0, run)


def _no_picture(_: str) -> bytes | None:
    return None


def _opened(known: HoldoutScores) -> Run | None:
    """Open the champion's run, which may be gone."""
    try:
        return open_run(Path(known.run_folder))
    except SegbatchError:
        return None


def _tile_figures(by_tile: Tally, names: Sequence[str]) -> list[float]:
    """Mean IoU of each tile; NaN where it has no valid pixel."""
    return [float(value) for value in figure(by_tile, "iou", names)]


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else value
