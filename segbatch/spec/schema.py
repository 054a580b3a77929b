"""JSON Schema (draft 2020-12) of the files, for editors; made from the declarations."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from segbatch.spec.job import KINDS
from segbatch.spec.labels import Labels
from segbatch.spec.pipeline import PipelineJob
from segbatch.spec.section import Section
from segbatch.spec.site import Site

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_REFERENCE = {"type": "string", "pattern": r"\$\{", "description": "${VAR} or ${VAR:-default}, from the environment."}
_EXTENDS = {
    "type": "string",
    "description": "A job file to build on, relative to this one: mappings merge, other values replace.",
}
_LABELS = "A built-in label set (forest, buildings, cityscapes, cityscapes-19, camvid) or the path of a labels file."
_HAS_DEFAULT = "name"
"""Key that the file's name stands in for."""


def job_schema() -> dict[str, Any]:
    """Schema of a job file; which keys it may have depends on its `kind`."""
    models: dict[str, type[Section]] = {**KINDS, "pipeline": PipelineJob}
    definitions = _definitions(*models.values())
    rules: list[dict[str, Any]] = []
    for kind, model in models.items():
        definition = definitions[model.__name__]
        required = [key for key in definition.pop("required") if key not in (_HAS_DEFAULT, "kind")]
        properties = definition["properties"] | {"extends": _EXTENDS}
        labels = properties.get("labels")
        if labels:
            word = {"type": "string", "description": _LABELS}
            arms = [arm for arm in labels["anyOf"] if arm != {"type": "null"}]
            properties["labels"] = {"description": labels["description"], "anyOf": [word, *arms]}
        if kind == "predict":
            path = {"type": "string", "description": "The bundle folder."}
            arms = [arm for arm in properties["model"]["anyOf"] if arm.get("type") not in ("null", "string")]
            properties["model"] |= {"anyOf": [path, *arms]}
        definition["properties"] = properties
        said = {"properties": {"kind": {"const": kind}}, "required": ["kind"]}
        rules.append({"if": said, "then": {"$ref": f"#/$defs/{model.__name__}"}})
        alone = {"allOf": [said, {"not": {"required": ["extends"]}}]}
        rules.append({"if": alone, "then": {"required": required}})
    kinds = {"enum": list(models), "description": "What the job does."}
    return {
        "$schema": _DIALECT,
        "title": "segbatch job",
        "type": "object",
        "properties": {"kind": kinds, "extends": _EXTENDS},
        "anyOf": [{"required": ["kind"]}, {"required": ["extends"]}],
        "allOf": rules,
        "$defs": definitions,
    }


def site_schema() -> dict[str, Any]:
    """Schema of a site file."""
    return {"$schema": _DIALECT, "title": "segbatch site", "$ref": "#/$defs/Site", "$defs": _definitions(Site)}


def labels_schema() -> dict[str, Any]:
    """Schema of a labels file."""
    return {"$schema": _DIALECT, "title": "segbatch labels", "$ref": "#/$defs/Labels", "$defs": _definitions(Labels)}


def _definitions(*models: type[Section]) -> dict[str, Any]:
    """Schemas of the models and all sections in them, by class name."""
    modes: list[Any] = [(model, "validation") for model in models]
    _, schema = models_json_schema(modes, ref_template="#/$defs/{model}")
    definitions: dict[str, Any] = {name: _definition(body, schema["$defs"]) for name, body in schema["$defs"].items()}
    if "Labels" in definitions:
        definitions["Labels"]["required"].remove(_HAS_DEFAULT)
    return definitions | {"Reference": _REFERENCE}


def _definition(body: dict[str, Any], bodies: dict[str, Any]) -> dict[str, Any]:
    properties = {key: _property(value) for key, value in body["properties"].items() if key != "kind"}
    for key, value in properties.items():
        # pydantic leaves out a key's description where its section has the same one.
        section = bodies.get(_section_name(body["properties"][key]), {})
        value["description"] = value["description"] or _line(section.get("description", ""))
    if "kind" in body["properties"]:
        properties["kind"] = {"const": body["properties"]["kind"]["const"]}
    out = {"type": "object", "description": _line(body.get("description", "")), "properties": properties}
    required = {"required": list(body["required"])} if "required" in body else {}
    return out | required | {"additionalProperties": False}


def _property(node: dict[str, Any]) -> dict[str, Any]:
    """A key's schema: its type, opened for references to the environment and for sections left empty."""
    notes: dict[str, Any] = {"description": _line(node.get("description", ""))}
    if "default" in node and not isinstance(node["default"], dict) and node["default"] not in (None, []):
        notes["default"] = node["default"]
    return notes | _opened({key: value for key, value in node.items() if key not in ("description", "default")})


def _section_name(node: dict[str, Any]) -> str:
    """Name of the section that a key takes; empty if it takes none."""
    arms = [node, *node.get("anyOf", [])]
    return next((str(arm["$ref"]).rpartition("/")[2] for arm in arms if "$ref" in arm), "")


def _opened(node: dict[str, Any]) -> dict[str, Any]:
    node = {key: value for key, value in node.items() if key not in ("title", "default")}
    arms = [_bare(arm) for arm in node.get("anyOf", [node])]
    if any(_is_section(arm) for arm in arms):
        arms.append({"type": "null"})
    if any(_is_scalar(arm) for arm in arms) and {"type": "string"} not in arms:
        arms.append({"$ref": "#/$defs/Reference"})
    unique = [arm for position, arm in enumerate(arms) if arm not in arms[:position]]
    return {"anyOf": unique} if len(unique) > 1 else unique[0]


def _bare(node: dict[str, Any]) -> dict[str, Any]:
    """One alternative without its title, what lies inside it opened."""
    out = {key: value for key, value in node.items() if key not in ("title", "default")}
    for key in ("items", "additionalProperties"):
        if isinstance(out.get(key), dict):
            out[key] = _opened(out[key])
    if "prefixItems" in out:
        out["prefixItems"] = [_opened(item) for item in out["prefixItems"]]
    return out


def _is_scalar(node: dict[str, Any]) -> bool:
    """Whether text with a reference would not fit the node as it is."""
    return node.get("type") in ("integer", "number", "boolean") or bool({"enum", "const", "pattern"} & set(node))


def _is_section(node: dict[str, Any]) -> bool:
    """Whether the node's keys or items may all be commented out, which leaves nothing (null)."""
    return "$ref" in node or node.get("type") == "object" or "items" in node


def _line(text: str) -> str:
    return " ".join(text.split())
