"""A Sphinx extension: writes the pages of `reference/` that the code itself knows best.

Every key of both YAML files from their JSON schema, every finding with its thresholds,
every asset and check, every metric. Out: Markdown in `docs/reference/made/`, which git
ignores.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

MADE = Path(__file__).parent / "reference" / "made"


def setup(app: Sphinx) -> dict[str, bool]:
    """Write the pages before Sphinx looks for them."""
    app.connect("builder-inited", lambda _: write())
    return {"parallel_read_safe": True}


def write() -> None:
    """Write every page; one that would be the same keeps its time, so that rebuilds are
    quick.
    """
    MADE.mkdir(exist_ok=True)
    pages = {
        "keys": _keys,
        "findings": _findings,
        "stages": _stages,
        "metrics": _metrics,
    }
    for name, page in pages.items():
        text, place = "\n".join(page()) + "\n", MADE / f"{name}.md"
        if not place.exists() or place.read_text() != text:
            place.write_text(text)


def _keys() -> Iterator[str]:
    from experiment_pipeline import ExperimentSpec

    schema = ExperimentSpec.model_json_schema()
    models = schema["$defs"]
    # An experiment in a file has its name from the folder, and reads its table from
    # somewhere.
    del schema["properties"]["name"]
    schema["required"].append("data")
    yield "# defs.yaml, key by key\n"
    yield (
        "Keys stand below `attributes:`. A key that is not named here is an error, "
        "with a suggestion.\n"
    )
    yield from _table(schema, models)
    for name, model in sorted(models.items()):
        if "properties" in model:
            purpose = model.get("description", "").split(". ")[0].rstrip(".")
            yield f"\n## {name}\n\n{purpose}.\n"
            yield from _table(model, models)


def _table(model: Mapping[str, Any], models: Mapping[str, Any]) -> Iterator[str]:
    required = model.get("required", ())
    yield "| key | takes | default | meaning |\n|---|---|---|---|"
    for key, declared in model["properties"].items():
        parts = "$ref" in declared or "discriminator" in declared
        default = "of its parts" if parts else f"`{_yaml(declared.get('default'))}`"
        default = "required" if key in required else default
        example = (
            f"; example: `{declared['examples'][0]}`" if "examples" in declared else ""
        )
        meaning = declared.get("description") or _described(declared, models)
        yield (
            f"| `{key}` | {_type(declared)} | {default} | "
            f"{_cell(meaning + example).removeprefix('; ')} |"
        )


def _described(declared: Mapping[str, Any], models: Mapping[str, Any]) -> str:
    name = declared.get("$ref", "").rpartition("/")[2]
    return models[name].get("description", "").split("\n")[0] if name else ""


def _type(declared: Mapping[str, Any]) -> str:
    """The kind of value that a key takes, with links to the tables of its parts."""
    if name := declared.get("$ref", "").rpartition("/")[2]:
        return name if name == "JsonValue" else f"[{name}](#{name.lower()})"
    if values := declared.get("enum") or (
        [declared["const"]] if "const" in declared else []
    ):
        return ", ".join(f"`{_yaml(one)}`" for one in values)
    if several := declared.get("anyOf") or declared.get("oneOf"):
        return " or ".join(_type(one) for one in several if one.get("type") != "null")
    kind = declared.get("type", "any")
    inner = declared.get("items") or declared.get("additionalProperties")
    of = f" of {_type(inner)}" if isinstance(inner, Mapping) else ""
    return {"array": "list", "object": "mapping", "boolean": "true, false"}.get(
        kind, kind
    ) + of


def _yaml(value: Any) -> str:
    import yaml

    text = yaml.safe_dump(value, default_flow_style=True, width=1_000_000)
    return "unset" if value is None else text.removesuffix("\n...\n").strip()


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _findings() -> Iterator[str]:
    from experiment_pipeline.stages.data_analysis.findings import (
        PROBE_RULES,
        TABLE_RULES,
    )

    yield "# Findings\n"
    yield (
        "What the data analysis looks for. `analysis: {thresholds: {code: number}}` "
        "changes a limit, "
        "`analysis: {accept: {code: reason}}` accepts a finding with a reason. "
        '"From it" means at or above the limit.\n'
    )
    yield "| code | finding | limits: default (allowed), meaning |\n|---|---|---|"
    for rule in (*TABLE_RULES, *PROBE_RULES):
        limits = "; ".join(
            f"`{name}`: {one.default:g} ({one.low:g} to {one.high:g}), {one.meaning}"
            for name, one in rule.thresholds.items()
        )
        yield f"| `{rule.code}` | {_cell(rule.title)} | {_cell(limits) or 'none'} |"


def _stages() -> Iterator[str]:
    from experiment_pipeline.stages.registry import STAGES

    yield "# Assets and checks\n"
    yield "A check that blocks ends the run before the next stage.\n"
    yield "| asset | check | blocks | what holds when it passes |\n|---|---|---|---|"
    for stage in STAGES.values():
        assets = ", ".join(f"`{name}`" for name in stage.assets)
        for check, meaning in stage.checks.items() or (("none", ""),):
            blocks = "yes" if check in stage.blocking else ""
            yield f"| {assets} | `{check}` | {blocks} | {_cell(meaning)} |"


def _metrics() -> Iterator[str]:
    from experiment_pipeline.statistics.metrics import METRICS

    yield "# Metrics\n"
    yield "Each may rank (`metric`) and be a limit (`acceptance`).\n"
    yield "| metric | task | better |\n|---|---|---|"
    for metric in METRICS.values():
        better = "higher" if metric.greater_is_better else "lower"
        yield f"| `{metric.name}` | {', '.join(metric.tasks)} | {better} |"
