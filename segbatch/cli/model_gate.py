"""`segbatch models gate`: may a new model take the champion's place?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from pydantic import ValidationError

from segbatch.cli.options import load_site, named_run, registry_folder, registry_option, runs_option, site_option
from segbatch.errors import InputError

if TYPE_CHECKING:
    from segbatch.evaluation.gate_run import Judged
    from segbatch.spec.gate import Gate


@click.command()
@click.argument("run")
@click.option("--against", metavar="RUN", help="The champion's predict run on the same holdout; needed once a holdout.")
@click.option("--model", default="", help="Whose champion is challenged, where RUN used no registered model.")
@click.option("--metric", default="iou", show_default=True, help="accuracy, iou, dice, or one class's: iou:building.")
@click.option("--min-gain", type=float, default=0.0, show_default=True, help="Least gain in the metric.")
@click.option("--max-class-loss", type=float, default=0.02, show_default=True, help="Most that a class may fall.")
@click.option("--confidence", type=float, default=0.95, show_default=True, help="That the gain is not luck.")
@click.option("--resamples", type=int, default=2000, show_default=True, help="Of the paired bootstrap.")
@click.option("--group-folder", type=int, metavar="N", help="Draw groups of tiles: those that share N leading folders.")
@click.option("--group-pattern", metavar="REGEX", help="Draw groups of tiles: those whose path has the same match.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the bootstrap.")
@click.option("--promote", "promoting", is_flag=True, help="Make it the champion if every rule is kept.")
@click.option("--json", "as_json", is_flag=True, help="Print the decision as JSON.")
@registry_option
@runs_option
@site_option
def gate(
    run: str,
    against: str | None,
    model: str,
    seed: int,
    promoting: bool,
    as_json: bool,
    registry_root: Path | None,
    runs_root: Path | None,
    site: Path | None,
    **rules: Any,
) -> None:
    """Compare the model of RUN, a finished predict run on a holdout with ground truth, with the champion.

    It is the better if the metric gains enough, no class falls too far, and a paired bootstrap says that the gain is
    not luck. The page of the decision is report/gate.html in RUN.

    \b
    segbatch submit holdout.yaml --set model=forest@2026-11-21 --wait
    segbatch models gate holdout --min-gain 0.005 --promote
    """
    asked = _rules(rules)
    try:
        from segbatch.evaluation.gate_run import gate_run
    except ImportError as error:
        raise InputError(f"comparing models needs pip install segbatch[worker] ({error})") from None
    from segbatch.runs.model_folder import Registry

    judged = gate_run(
        named_run(run, runs_root, site),
        Registry(registry_folder(registry_root, load_site(site), runs_root)),
        asked,
        against=named_run(against, runs_root, site) if against else None,
        model=model,
        seed=seed,
        promoting=promoting,
    )
    if as_json:
        click.echo(judged.result.model_dump_json())
    else:
        _print(judged)


def _rules(rules: dict[str, Any]) -> Gate:
    from segbatch.spec.gate import Gate

    group = {"folder": rules.pop("group_folder"), "pattern": rules.pop("group_pattern")}
    given = {key: value for key, value in group.items() if value is not None}
    try:
        return Gate.model_validate(rules | ({"group": given} if given else {}))
    except ValidationError as error:
        first = error.errors()[0]
        option = "--" + "-".join(str(part) for part in first["loc"]).replace("_", "-")
        raise click.UsageError(f"{option}: {first['msg']}, received {first['input']!r}") from None


def _print(judged: Judged) -> None:
    result, decision = judged.result, judged.result.decision
    click.echo(f"{result.challenger} against {result.champion or 'no champion'}")
    for rule in decision.rules:
        click.echo(f"{'yes' if rule.kept else 'no ':<4}{rule.words}")
    for change in decision.classes:
        click.echo(f"    {change.name:<20} {_figure(change.champion)} -> {_figure(change.challenger)}")
    click.echo(decision.verdict)
    click.echo(f"page    {judged.page}")
    if judged.promoted:
        click.echo(f"champion {result.challenger}")


def _figure(value: float | None) -> str:
    return "  -   " if value is None else f"{value:.4f}"
