"""defs.yaml's keys as JSON schema: what editors, Dagster's docs page and `dg check yaml` know.

It is at most as strict as the models, which judge: a text with `{{ env… }}` stands for any single
value, and rules between keys are not in it. Unions become conditions on the kind of value: of a plain
union a validator only reports that nothing fits. Without references, it can be part of another schema.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from experiment_pipeline.spec.experiment import ExperimentSpec

Schema = dict[str, Any]
# A number may stand in quotes; a template is filled in before anything is judged.
_TEMPLATE = r"\{\{\s*env\b"
_NUMBER_OR_TEMPLATE = rf"^\s*[-+.\d]|{_TEMPLATE}"
_SINGLE = {"integer", "number", "boolean"}
# Keywords that would also bind the other kinds of a union.
_ANY_KIND = {"enum", "const", "allOf", "properties", "additionalProperties"}
# Judged by the models alone: a template has another length.
_DROPPED = ("pattern", "minLength", "maxLength", "title", "discriminator")


def defs_yaml_schema() -> Schema:
    """Return the schema of everything below `attributes`."""
    whole = ExperimentSpec.model_json_schema()
    schema = _published(whole, whole["$defs"])
    del schema["$defs"], schema["properties"]["name"]
    # An experiment in a file has its name from the folder, and reads its table from somewhere.
    schema["required"] = ["data", *(key for key in schema["required"] if key != "name")]
    return schema


def _published(node: Schema, models: Mapping[str, Schema]) -> Schema:
    """A schema with its references resolved, and with templates beside its single values."""
    return _or_template(_resolved(node, models))


def _resolved(node: Schema, models: Mapping[str, Schema]) -> Schema:
    if "$ref" in node:
        model = models[node["$ref"].removeprefix("#/$defs/")]
        return _resolved({**model, **{k: v for k, v in node.items() if k != "$ref"}}, models)
    stated = {key: value for key, value in node.items() if key not in _DROPPED}
    if "properties" in stated:
        fields = stated["properties"].items()
        stated["properties"] = {name: _published(one, models) for name, one in fields}
    for key in ("items", "additionalProperties"):
        if isinstance(stated.get(key), dict):
            stated[key] = _published(stated[key], models)
    if "oneOf" in stated:
        members = [_resolved(one, models) for one in stated.pop("oneOf")]
        return stated | _by_tag(members, node["discriminator"]["propertyName"])
    if "anyOf" in stated:
        return _by_kind([_resolved(one, models) for one in stated.pop("anyOf")]) | stated
    return stated


def _by_tag(members: Sequence[Schema], key: str) -> Schema:
    """A union whose members are selected by the value of one key."""
    tags = [one["properties"][key]["const"] for one in members]
    conditions = [
        {"if": {"properties": {key: {"const": tag}}, "required": [key]}, "then": member}
        for tag, member in zip(tags, members, strict=True)
    ]
    tagged = {"properties": {key: {"enum": tags}}, "required": [key]}
    return {"type": "object", **tagged, "allOf": conditions}


def _by_kind(members: Sequence[Schema]) -> Schema:
    """A union whose members are selected by the kind of value; a rule for one kind binds no other."""
    union: Schema = {"type": [], "allOf": []}
    for member in members:
        union["type"] += [kind for kind in _kinds(member) if kind not in union["type"]]
        if _ANY_KIND & member.keys():
            bound = {"if": {"type": member["type"]}, "then": _or_template(member)}
            union["allOf"].append(bound)
        else:
            union |= {key: value for key, value in member.items() if key != "type"}
    if "number" in union["type"]:  # a whole number is one, too
        union["type"] = [kind for kind in union["type"] if kind != "integer"]
    return {key: value for key, value in union.items() if value}


def _kinds(schema: Schema) -> list[str]:
    kinds = schema.get("type", [])
    return list(kinds) if isinstance(kinds, list) else [kinds]


def _or_template(schema: Schema) -> Schema:
    """A single value, or the text of a template in its place."""
    kinds = _kinds(schema)
    if _SINGLE & {*kinds} and "string" not in kinds:
        # What is quoted may also be meant as true or false; the models know.
        pattern = {} if "boolean" in kinds else {"pattern": _NUMBER_OR_TEMPLATE}
        return schema | {"type": [*kinds, "string"], **pattern}
    if "enum" in schema:
        rest = {key: value for key, value in schema.items() if key != "enum"}
        return rest | {"if": {"pattern": _TEMPLATE}, "else": {"enum": schema["enum"]}}
    return schema
