"""The report as one web page that needs nothing but itself."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from segbatch.evaluation.charts import HEIGHT, WIDTH, heat, histogram
from segbatch.evaluation.counts import Counts
from segbatch.evaluation.pictures import HATCH, MISSED, WRONG
from segbatch.evaluation.ranking import Shown
from segbatch.evaluation.scores import Score, Scores
from segbatch.evaluation.summary import TileCounts, Title
from segbatch.spec.labels import LabelClass, Labels

TEMPLATE = "page.html.j2"
DASH = "—"
"""Stands for what is undefined."""
LARGEST_HEAT = 60
"""Classes beyond which the page leaves the confusion matrix to `confusion.csv`."""

_CONTROLS = {
    **{code: 0x2400 + code for code in range(32)},
    127: 0x2421,
    **dict.fromkeys(range(0xD800, 0xE000), 0xFFFD),
}
"""Control characters as their pictures; half characters, which stand for bytes that are no UTF-8, as U+FFFD."""


@dataclass(frozen=True)
class Picture:
    """A tile and its picture."""

    shown: Shown
    data: bytes | None
    """PNG or JPEG file; None where there is none."""


@dataclass(frozen=True)
class PageContent:
    """All that the page tells."""

    title: Title
    labels: Labels
    scores: Scores | None
    """Of the whole set; None without ground truth."""
    shares: tuple[Score, ...]
    """Share of the prediction by class."""
    counts: Counts | None
    """int64 [C, C + 1]; None without ground truth."""
    pixels: int
    """Of all tiles done."""
    tiles: TileCounts
    histogram: tuple[int, ...]
    """Tiles by mean IoU, in equal parts of 0 to 1."""
    best: tuple[Picture, ...]
    worst: tuple[Picture, ...]
    sample: tuple[Picture, ...]
    panels: tuple[str, ...]
    """Captions of the pictures' panels, left to right."""
    rejected: tuple[tuple[str, str], ...]
    """The first rejected tiles, each with its reason."""
    missing: tuple[str, ...]
    """Names of the first missing tiles, where they are known."""
    timing: Mapping[str, Any]
    provenance: Mapping[str, Any]


@dataclass(frozen=True)
class Card:
    """A headline number."""

    label: str
    value: str
    note: str
    """What the number means, in one line."""


def render_page(content: PageContent) -> str:
    """Return the page as HTML text: no scripts, no resource from elsewhere, light and dark."""
    return template(TEMPLATE).render(
        page=content,
        cards=list(_cards(content)),
        classes=list(_classes(content)),
        heat=_heat(content),
        undefined=_undefined(content),
        bars=histogram(content.histogram),
        chart={"width": WIDTH, "height": HEIGHT, "highest": max(content.histogram, default=0)},
        groups=_groups(content),
        stages=list(_stages(content.timing)),
        timings=list(_timings(content)),
        origins=list(flatten(content.provenance)),
        legend={"wrong": WRONG, "missed": MISSED, "hatch": HATCH},
    )


def visible(value: object) -> object:
    """Return text with control characters, and bytes that are no UTF-8, replaced by visible signs."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return value.translate(_CONTROLS)


def fixed(value: Score) -> str:
    """A score with three decimals, or a dash."""
    return DASH if value is None else f"{value:.3f}"


def percent(value: Score) -> str:
    """A share in percent, or a dash; small shares keep two digits that count."""
    if value is None:
        return DASH
    digits = 1 if value >= 0.01 or value == 0 else 2
    return "< 0.01 %" if 0 < value < 0.0001 else f"{100 * value:.{digits}f} %"


def count(value: int) -> str:
    """A number with its thousands set apart."""
    return f"{value:,}"


def data_uri(data: bytes) -> str:
    """A picture as part of the page."""
    kind = "png" if data.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def flatten(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Yield nested names and values as rows: `versions · numpy`, `2.4.0`."""
    for key, value in values.items():
        name = f"{above} · {key}" if above else str(key)
        if isinstance(value, Mapping):
            yield from flatten(value, name)
        elif isinstance(value, list | tuple):
            yield name, ", ".join(map(str, value))
        elif value is not None:
            yield name, f"{value:.6g}" if isinstance(value, float) else str(value)


@cache
def template(name: str) -> Template:
    """Read a page's template, with the filters that all pages use."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=visible,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"fixed": fixed, "percent": percent, "count": count, "data_uri": data_uri}
    return environment.get_template(name)


def _cards(content: PageContent) -> Iterator[Card]:
    scores, names = content.scores, content.labels.names
    if scores is None:
        found = sum(bool(share) for share in content.shares)
        yield Card("Classes found", f"{found} of {len(names)}", "Classes that were predicted anywhere.")
        yield Card("Pixels", count(content.pixels), "Pixels of all tiles done.")
        return
    if len(names) == 2:
        name = names[1]
        yield Card(f"IoU of {name}", fixed(scores.iou[1]), f"Overlap of predicted and true {name}; 1 is perfect.")
        yield Card(f"Dice of {name}", fixed(scores.dice[1]), "The same overlap, as a share of the mean area.")
    over = f"{len(scores.entered)} of {len(names)} classes"
    yield Card("Mean IoU", fixed(scores.mean_iou), f"Overlap of prediction and truth, averaged over {over}.")
    yield Card("Mean Dice", fixed(scores.mean_dice), f"Overlap as a share of the mean area, over {over}.")
    yield Card("Pixel accuracy", fixed(scores.accuracy), "Share of the valid pixels that got the right class.")


@dataclass(frozen=True)
class _ClassRow:
    item: LabelClass
    index: int
    share: Score
    largest: float
    """The largest share of all classes, for the length of bars."""


def _classes(content: PageContent) -> Iterator[_ClassRow]:
    largest = max((share or 0.0 for share in content.shares), default=0.0) or 1.0
    for index, (item, share) in enumerate(zip(content.labels.scored, content.shares, strict=True)):
        yield _ClassRow(item, index, share, largest)


def _undefined(content: PageContent) -> list[str]:
    if content.scores is None:
        return []
    return [name for name, iou in zip(content.labels.names, content.scores.iou, strict=True) if iou is None]


def _heat(content: PageContent) -> Any:
    scores, counts = content.scores, content.counts
    if scores is None or counts is None or not 0 < len(scores.entered) <= LARGEST_HEAT:
        return None
    return heat(counts, content.labels.names, scores.entered)


def _groups(content: PageContent) -> list[tuple[str, str, Sequence[Picture]]]:
    groups: list[tuple[str, str, Sequence[Picture]]] = [
        ("Worst tiles", "Lowest mean IoU first. Look here for what the model gets wrong.", content.worst),
        ("Best tiles", "Highest mean IoU first, of the tiles that show more than one class.", content.best),
        ("Some tiles", "Drawn by hash of their names, so the same ones every time.", content.sample),
    ]
    return [group for group in groups if group[2]]


def _stages(timing: Mapping[str, Any]) -> Iterator[tuple[str, float, float]]:
    """Name, seconds, and share of the longest."""
    stages: Mapping[str, float] = timing.get("stages") or {}
    longest = max(stages.values(), default=0.0) or 1.0
    for name, seconds in stages.items():
        yield name, seconds, max(0.0, seconds) / longest


def _timings(content: PageContent) -> Iterator[tuple[str, str]]:
    wanted = [
        ("tiles_per_second", "Tiles a second, per task"),
        ("megapixels_per_second", "Megapixels a second, per task"),
    ]
    for key, label in wanted:
        value = content.timing.get(key)
        if value is not None:
            yield label, f"{value:,.2f}" if value < 100 else f"{value:,.0f}"
    if content.timing.get("seconds") is not None:
        yield "Time of all tasks, added up", duration(content.timing["seconds"])
    others = {key: value for key, value in content.timing.items() if key not in ("stages", "seconds", *dict(wanted))}
    yield from flatten(others)


def duration(seconds: float) -> str:
    """Seconds as people say them: `4.2 s`, `12 min 5 s`, `3 h 7 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60} min"
