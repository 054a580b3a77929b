"""`segbatch models`: the registry of models, their versions and champions."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from segbatch.cli.model_gate import gate
from segbatch.cli.options import load_site, named_run, registry_folder, registry_option, runs_option, site_option
from segbatch.errors import InputError

if TYPE_CHECKING:
    from segbatch.runs.champions import Event, Standing
    from segbatch.runs.model_folder import ModelFolder, ModelVersion, Registry
    from segbatch.runs.run import Run

F = TypeVar("F", bound=Callable[..., Any])


def place_options(command: F) -> F:
    """Options that say where the registry lies."""
    return site_option(runs_option(registry_option(command)))


@click.group()
def models() -> None:
    """Keep trained models by name and version, and say which is the champion.

    Predict jobs name a registered model in place of a bundle's path: `model: forest@champion`, or a version,
    `model: forest@2026-11-20`. Versions never change once they are registered.

    \b
    segbatch models register forest-train --name forest
    segbatch models gate forest-holdout --promote
    segbatch models list
    segbatch models rollback forest
    """


models.add_command(gate)


def open_registry(registry_root: Path | None, runs_root: Path | None, site: Path | None) -> Registry:
    """Find the registry that a command means."""
    from segbatch.runs.model_folder import Registry

    return Registry(registry_folder(registry_root, load_site(site), runs_root))


def model_folder(registry: Registry, name: str) -> ModelFolder:
    """Find a model that has a version.

    Raises:
        InputError: there is none; the nearest name is told.
    """
    from segbatch.runs.model_registry import models as known_models
    from segbatch.runs.model_registry import versions
    from segbatch.spec.problems import did_you_mean

    folder = registry.model(name)
    if versions(folder):
        return folder
    known = [model.name for model in known_models(registry)]
    hint = f"Models: {', '.join(known)}." if known else "It holds none."
    raise InputError(f"no model {name!r} in the registry {registry.root}.{did_you_mean(name, known)} {hint}")


@models.command("list")
@click.argument("names", nargs=-1, metavar="[MODEL]...")
@place_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_models(
    names: tuple[str, ...], registry_root: Path | None, runs_root: Path | None, site: Path | None, as_json: bool
) -> None:
    """List models and their versions, newest first; * marks the champion."""
    from segbatch.runs.champions import standing
    from segbatch.runs.model_registry import models as known_models
    from segbatch.runs.model_registry import versions

    registry = open_registry(registry_root, runs_root, site)
    chosen = [model_folder(registry, name) for name in names] if names else list(known_models(registry))
    rows = [(model, now, versions(model, now)[::-1]) for model in chosen for now in (standing(model),)]
    if as_json:
        plain = [
            {
                "model": model.name,
                "champion": now.champion,
                "former": list(now.former),
                "versions": [info.model_dump(mode="json") for info in known],
            }
            for model, now, known in rows
        ]
        click.echo(json.dumps(plain))
        return
    if not rows:
        click.echo(f"no models in {registry.root}; `segbatch models register RUN --name MODEL` adds one")
        return
    _print_table(
        [("version", "", "created", "run", "scores"), *(row for _, now, known in rows for row in _rows(now, known))]
    )


def _rows(now: Standing, known: Sequence[ModelVersion]) -> Iterator[tuple[str, ...]]:
    for info in known:
        role = _role(info.version, now)
        mark = f"* {role}" if role == "champion" else role
        yield info.name, mark, info.created[:16].replace("T", " "), info.run or "-", _scores(info)


def _role(version: str, now: Standing) -> str:
    if version == now.champion:
        return "champion"
    return "former champion" if version in now.former else ""


def _scores(info: ModelVersion) -> str:
    titles = {"iou": "IoU", "dice": "Dice"}
    values = [f"{title} {info.scores[key]:.4f}" for key, title in titles.items() if _is_number(info.scores.get(key))]
    return ", ".join(values) or "-"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@models.command()
@click.argument("name", metavar="MODEL[@VERSION]")
@place_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(name: str, registry_root: Path | None, runs_root: Path | None, site: Path | None, as_json: bool) -> None:
    """Show a version (by default the champion) with its scores and origin, and how the champions changed."""
    from segbatch.runs.champions import events, standing
    from segbatch.runs.model_registry import resolve, verify, versions
    from segbatch.runs.model_uses import uses

    registry = open_registry(registry_root, runs_root, site)
    model = model_folder(registry, name.partition("@")[0])
    now = standing(model)
    text = name if "@" in name else f"{name}@{now.champion or versions(model, now)[-1].version}"
    found = resolve(registry, text)
    history = events(model)
    if as_json:
        plain = {
            "version": found.info.model_dump(mode="json"),
            "path": str(found.path),
            "champion": now.champion,
            "former": list(now.former),
            "uses": uses(model, found.info.version),
            "events": [event.model_dump(mode="json") for event in history],
        }
        click.echo(json.dumps(plain))
        return
    verify(found)
    role = _role(found.info.version, now) or "-"
    _print_table(
        [
            ("version", found.info.name),
            ("role", role),
            ("bundle", str(found.path)),
            ("created", found.info.created),
            ("run", found.info.run or "-"),
            ("parent", found.info.parent or "-"),
            ("data", found.info.data_digest or "-"),
            ("digest", f"{found.info.digest}, as registered"),
            ("scores", _scores(found.info)),
            ("used by", ", ".join(uses(model, found.info.version)) or "-"),
        ]
    )
    if history:
        click.echo(f"\nchampions of {model.name}")
        _print_table([_event_row(number, event) for number, event in enumerate(history, 1)])


def _event_row(number: int, event: Event) -> tuple[str, ...]:
    which = ", ".join(event.versions)
    came = f"{event.before or 'none'} -> {which}" if event.action in ("promote", "rollback") else which
    return f"  {number}", event.time, event.action, came, event.by, event.reason


@models.command()
@click.argument("source", metavar="RUN|BUNDLE")
@click.option("--name", help="The model it is a version of. Default: the name of the job that trained it.")
@click.option("--version", default="", help="Name of the version. Default: today's date, UTC; .2 follows if taken.")
@click.option("--parent", default="", help="The version that its training started from.")
@click.option("--promote", "promoting", is_flag=True, help="Make it the champion, whatever it scores.")
@place_options
def register(
    source: str,
    name: str | None,
    version: str,
    parent: str,
    promoting: bool,
    registry_root: Path | None,
    runs_root: Path | None,
    site: Path | None,
) -> None:
    """Copy the model of a finished train run, or a bundle folder, into the registry.

    \b
    segbatch models register forest-train --name forest
    segbatch models register runs/forest-train/latest/model --name forest --version 2026-11-20
    """
    from segbatch.runs.champions import promote as make_champion
    from segbatch.runs.model_registry import register as add
    from segbatch.runs.registering import register_run
    from segbatch.spec.bundle import BUNDLE_FILE, read_info

    registry = open_registry(registry_root, runs_root, site)
    folder = Path(source)
    if (folder / BUNDLE_FILE).is_file():
        model = registry.model(name or read_info(folder).name)
        info = add(model, folder, version=version, parent=parent)
    else:
        run: Run = named_run(source, runs_root, site)
        model = registry.model(name or run.record.name)
        info = register_run(model, run, version=version, parent=parent)
    click.echo(f"registered {info.name}: {model.version(info.version)}")
    if promoting:
        now = make_champion(model, info.version, reason="models register --promote")
        click.echo(f"champion   {model.name}@{now.champion}")


@models.command()
@click.argument("name", metavar="MODEL@VERSION")
@click.option("--reason", default="", help="Kept with the change.")
@place_options
def promote(name: str, reason: str, registry_root: Path | None, runs_root: Path | None, site: Path | None) -> None:
    """Make a version the champion, whatever it scores. `segbatch models gate --promote` asks the figures first."""
    from segbatch.runs.champions import promote as make_champion
    from segbatch.runs.champions import standing
    from segbatch.runs.model_registry import resolve, verify

    found = resolve(open_registry(registry_root, runs_root, site), name)
    verify(found)
    before = standing(found.folder).champion
    make_champion(found.folder, found.info.version, reason=reason)
    click.echo(f"champion {found.info.name} (before: {before or 'none'})")


@models.command()
@click.argument("model")
@click.option("--reason", default="", help="Kept with the change.")
@place_options
def rollback(model: str, reason: str, registry_root: Path | None, runs_root: Path | None, site: Path | None) -> None:
    """Make the champion before the one of now the champion again; once more, and it is the one before that."""
    from segbatch.runs.champions import rollback as go_back
    from segbatch.runs.champions import standing

    folder = model_folder(open_registry(registry_root, runs_root, site), model)
    before = standing(folder).champion
    now = go_back(folder, reason=reason)
    click.echo(f"champion {folder.name}@{now.champion} (before: {before})")


@models.command()
@click.argument("names", nargs=-1, metavar="[MODEL]...")
@click.option("--keep", type=click.IntRange(0), default=0, help="Newest versions that stay, besides champions.")
@click.option("--older-than", type=click.FloatRange(0), default=0.0, metavar="DAYS", help="Only what is older.")
@click.option(
    "--champions",
    type=click.IntRange(0),
    default=3,
    show_default=True,
    help="Former champions that stay.",
)
@click.option("--dry-run", is_flag=True, help="Say what would go, and delete nothing.")
@place_options
def prune(
    names: tuple[str, ...],
    keep: int,
    older_than: float,
    champions: int,
    dry_run: bool,
    registry_root: Path | None,
    runs_root: Path | None,
    site: Path | None,
) -> None:
    """Delete old versions, of all models or some.

    A version stays if it is among the --keep newest, or not older than --older-than, or a champion, or one of the
    --champions former ones, or if a run that is not done, or a schedule, uses it.

    \b
    segbatch models prune --keep 5 --older-than 30 --dry-run
    """
    from segbatch.cluster.cron.store import default_home, stored
    from segbatch.cluster.prune import versions_of_schedules
    from segbatch.runs.model_pruning import Keep
    from segbatch.runs.model_pruning import prune as delete
    from segbatch.runs.model_registry import models as known_models

    if not keep and not older_than:
        raise click.UsageError("say what stays: --keep N, --older-than DAYS, or both")
    registry = open_registry(registry_root, runs_root, site)
    chosen = [model_folder(registry, name) for name in names] if names else list(known_models(registry))
    scheduled = versions_of_schedules(list(stored(default_home())))
    for model in chosen:
        used = {name.partition("@")[2]: why for name, why in scheduled.items() if name.startswith(f"{model.name}@")}
        outcome = delete(model, Keep(keep, older_than, champions), dry_run=dry_run, used_besides=used)
        for version in outcome.removed:
            click.echo(f"{'would go' if dry_run else 'removed '}  {model.name}@{version}")
        for version, reason in outcome.kept:
            click.echo(f"stays     {model.name}@{version}  {reason}")
