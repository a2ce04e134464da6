"""The README says what the code does."""

import re
from pathlib import Path

import pytest
import yaml

from experiment_pipeline.spec import ExperimentSpec

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
STAGES = (
    "raw_data",
    "data_analysis",
    "validated_data",
    "split_sets",
    "search",
    "leaderboard",
    "validation_report",
    "exported_model",
)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_one_package_with_its_tests(stage):
    """The code and the tests call a stage by one name; its assets lie beside its pure part."""
    assert (ROOT / "experiment_pipeline" / "stages" / stage / "asset.py").exists()
    assert list((ROOT / "experiment_pipeline_tests" / "stages" / stage).glob("test_*.py"))


def test_the_stage_table_names_the_assets_and_checks_of_the_graph():
    """Every asset and every asset check stands in the README's table, and nothing else does."""
    from experiment_pipeline.definitions import defs

    graph = defs().resolve_asset_graph()
    assets = {key.path[-1] for key in graph.get_all_asset_keys() if key.path[0] == "flight_delay"}
    checks = {key.name for key in graph.asset_check_keys if key.asset_key.path[0] == "flight_delay"}
    table = README.split("## Stages")[1].split("## ")[0]
    rows = [line.split("|") for line in table.splitlines() if line.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row[1])} == assets
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row[3])}
    assert named == checks


def test_the_makefile_has_the_targets_that_the_readme_names():
    """Every `make` command of the README exists."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make ([a-z]+)\b", README, re.MULTILINE)) <= targets


def test_the_example_of_the_readme_is_a_valid_experiment():
    """Whoever copies the YAML gets an experiment that loads."""
    (example,) = re.findall(r"```yaml\n(type:.*?)```", README, re.DOTALL)
    attributes = yaml.safe_load(example)["attributes"]
    assert ExperimentSpec.model_validate({"name": "churn", **attributes}).target == "churned"


def test_the_project_does_not_refer_to_anything_outside_itself():
    """No text of the project points to a folder that a clone does not have."""
    texts = [*ROOT.glob("*.md"), *(ROOT / "experiment_pipeline").rglob("*.py")]
    outside = "../" + "shared"
    assert not [str(path) for path in texts if outside in path.read_text()]
