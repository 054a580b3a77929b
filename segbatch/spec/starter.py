"""A commented job file to start from, generated from the declarations."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from segbatch.spec import declared
from segbatch.spec.data import Data
from segbatch.spec.help import default_text, section_of_items
from segbatch.spec.job import KINDS
from segbatch.spec.section import Section

_WIDTH = 100
STARTER_VALUES: Mapping[str, Mapping[str, str]] = {
    "train": {"data.images": "path/to/images", "data.masks": "path/to/masks", "labels": "buildings"},
    "predict": {"data.images": "path/to/images", "model.bundle": "path/to/run/model"},
    "evaluate": {
        "data.masks": "path/to/masks",
        "data.predictions.folder": "path/to/predicted/masks",
        "labels": "buildings",
    },
    "gate": {"model": "forest", "challenger": "path/to/run"},
}
"""Keys that a job of each kind cannot do without, with something to put in their place."""
_FIRST = ("kind", "name", "data", "labels", "model")
_EXAMPLES: Mapping[str, str] = {
    "data.split": "{by: hash, fractions: {train: 0.8, val: 0.2}}",
    "data.size": "[256, 256]",
    "augment": "[{op: flip_left_right}]",
    "slurm": "{exclude: node7}",
    "notify": "[{on: failure, mail: ana@example.org}]",
    "keep": "{runs: 14, days: 90}",
    "schedule": '{cron: "0 2 * * *", zone: Europe/Madrid}',
    "container.binds": '["/data:/data:ro"]',
    "container.env": "[HF_HOME]",
}
"""What to show behind keys that have no default."""
_HIDDEN: Mapping[str, frozenset[str]] = {
    "train": frozenset({"data.part", "data.predictions"}),
    "predict": frozenset({"data.labelled", "data.predictions", "data.new_since", "resources.nodes"}),
    "evaluate": frozenset({"data.labelled", "data.new_since", "resources.nodes"}),
    "gate": frozenset({*(f"data.{key}" for key in Data.model_fields), "resources.nodes"}),
}
"""Keys of shared sections that mean nothing in a job of this kind."""


def starter(kind: str, file: str = "job.yaml") -> str:
    """Text of a job file of this kind: what is needed filled in, everything else commented out with its default.

    Args:
        kind: `train`, `predict`, `evaluate` or `gate`.
        file: name of the file to be, for the commands shown.
    """
    section = KINDS[kind]
    first_line = (section.__doc__ or "").splitlines()[0]
    lines = [
        f"# {first_line}",
        "# Lines with a # and no space behind it are defaults; take away the # to change one.",
        f"#   segbatch check {file}     is the file right, and the data?",
        f"#   segbatch submit {file}    run it",
        "",
    ]
    order = sorted(declared.keys_of(section), key=lambda key: _FIRST.index(key) if key in _FIRST else len(_FIRST))
    for key in order:
        lines += [*_key(section, key, kind, ()), ""]
    return "\n".join(lines).rstrip() + "\n"


def _key(section: type[Section], key: str, kind: str, above: tuple[str, ...]) -> list[str]:
    name = ".".join((*above, key))
    if name in _HIDDEN[kind]:
        return []
    annotation, field = declared.keys_of(section)[key], section.model_fields[key]
    indent = "  " * len(above)
    text = declared.description(section, key)
    lines = textwrap.wrap(text, _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
    inner = declared.section_in(annotation)
    values = STARTER_VALUES[kind]
    if name in values:
        return [*lines, f"{indent}{key}: {values[name]}"]
    if key == "kind":
        return [*lines, f"{indent}kind: {kind}"]
    needed = any(known.startswith(f"{name}.") for known in values)
    if inner is not None and (needed or not (declared.is_optional(annotation) or field.is_required())):
        below = [line for name in declared.keys_of(inner) for line in _key(inner, name, kind, (*above, key))]
        return [*lines, f"{indent}{key}:", *below]
    if inner is not None or section_of_items(annotation)[0] is not None:
        lines += [f"{indent}# All its keys: segbatch schema --keys {name}"]
    example = _EXAMPLES.get(name) or ("" if field.is_required() else default_text(field.default))
    return [*lines, f"{indent}#{key}: {example}".rstrip()]
