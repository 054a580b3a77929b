"""The gate's decision as a page of the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from segbatch.evaluation.gate import Decision
from segbatch.evaluation.page import DASH, Card, flatten, percent, template
from segbatch.evaluation.pictures import HATCH, MISSED, WRONG
from segbatch.spec.gate import Gate
from segbatch.spec.labels import LabelClass, Labels
from segbatch.spec.metrics import class_of, kind_of

TEMPLATE = "gate.html.j2"
_KINDS = {"iou": "IoU", "dice": "Dice", "accuracy": "Pixel accuracy"}


@dataclass(frozen=True)
class Glance:
    """A tile to look at: its mean IoU under both models (None: undefined), and a picture (None: there is none)."""

    tile: str
    champion: float | None
    challenger: float | None
    data: bytes | None


@dataclass(frozen=True)
class Group:
    """Tiles under one heading."""

    heading: str
    note: str
    tiles: tuple[Glance, ...]


@dataclass(frozen=True)
class GateContent:
    """All that the page tells."""

    job: str
    run: str
    """Id of the challenger's run, whose report the page belongs to."""
    labels: Labels
    challenger: str
    champion: str
    """Empty where there was none."""
    decision: Decision
    gate: Gate
    tiles: int
    groups: tuple[Group, ...]
    panels: tuple[str, ...]
    """Captions of the pictures' panels, left to right."""
    origins: Mapping[str, Any]


@dataclass(frozen=True)
class _ClassRow:
    item: LabelClass
    champion: float | None
    challenger: float | None
    gain: float | None
    fell: bool
    """By more than the gate allows."""


def render_gate(content: GateContent) -> str:
    """Return the page as HTML text: no scripts, no resource from elsewhere, light and dark."""
    return template(TEMPLATE).render(
        page=content,
        decision=content.decision,
        metric=metric_title(content.gate.metric),
        class_figure=_KINDS["dice" if kind_of(content.gate.metric) == "dice" else "iou"],
        cards=list(_cards(content)),
        classes=list(_classes(content)),
        groups=[group for group in content.groups if group.tiles],
        legend={"wrong": WRONG, "missed": MISSED, "hatch": HATCH},
        origins=list(flatten(content.origins)),
        precise=precise,
        signed=signed,
        rule_names={"gain": "It gains", "classes": "No class pays for it", "luck": "It is not luck", "first": "First"},
    )


def metric_title(metric: str) -> str:
    """A metric for a heading: `Mean IoU`, `IoU of building`, `Pixel accuracy`."""
    kind, name = _KINDS[kind_of(metric)], class_of(metric)
    if name is not None:
        return f"{kind} of {name}"
    return kind if metric == "accuracy" else f"Mean {kind}"


def precise(value: float | None) -> str:
    """A score with four decimals, as small gains need them, or a dash."""
    return DASH if value is None else f"{value:.4f}"


def signed(value: float | None) -> str:
    """A difference with its sign and four decimals, or a dash."""
    return DASH if value is None else f"{value:+.4f}"


def _cards(content: GateContent) -> Iterator[Card]:
    decision, metric = content.decision, metric_title(content.gate.metric)
    if content.champion:
        yield Card("Champion", precise(decision.champion), f"{metric} of {content.champion}.")
    yield Card("Challenger", precise(decision.challenger), f"{metric} of {content.challenger}.")
    if content.champion:
        yield Card("Gain", signed(decision.gain), f"Asked for: at least {content.gate.min_gain:g}.")
        yield Card(
            "Better in",
            percent(decision.share),
            f"of {content.gate.resamples:,} resamples of {decision.units:,} {decision.unit}. Asked for: at least "
            f"{100 * content.gate.confidence:g} %.",
        )


def _classes(content: GateContent) -> Iterator[_ClassRow]:
    for item, change in zip(content.labels.scored, content.decision.classes, strict=True):
        fell = change.gain is not None and change.gain < -content.gate.max_class_loss
        yield _ClassRow(item, change.champion, change.challenger, change.gain, fell)
