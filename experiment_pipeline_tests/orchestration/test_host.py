"""In somebody else's Dagster project: what their assets get, what they select, how they
load it.
"""

import re
import warnings
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest
from upath import UPath

from experiment_pipeline import Model, load_experiments
from experiment_pipeline import runs as recorded
from experiment_pipeline.orchestration.job import CODE_VERSIONS
from experiment_pipeline.storage.registry import Registry
from experiment_pipeline_tests import exported, runs, scenario
from experiment_pipeline_tests.orchestration.folder import YAML, ExperimentsFolder

# Dagster reads component files through pydantic's old interface.
pytestmark = [
    pytest.mark.usefixtures("storage"),
    pytest.mark.filterwarnings("ignore:`parse_obj_as` is deprecated"),
]


@dg.asset(ins={"rows": dg.AssetIn(["clinic", "validated_data"])})
def scored(rows: pd.DataFrame) -> int:
    return len(rows)


def test_a_host_selects_one_table_of_a_stage(tmp_path):
    """The stage makes and checks its other tables as well; the run is partial, not
    killed.
    """
    spec = scenario.spec(url=str(scenario.write_csv(tmp_path / "visits.csv")))
    upstream = dg.AssetSelection.assets("scored", "clinic/test_set").upstream()
    wanted = upstream - dg.AssetSelection.assets("clinic/data_analysis")
    host = dg.Definitions([scored], jobs=[dg.define_asset_job("score", wanted)])
    both = dg.Definitions.merge(runs.definitions(spec, scenario.SCHEMA), host)
    with dg.DagsterInstance.ephemeral() as instance:
        done = runs.Run(
            both.resolve_job_def("score").execute_in_process(instance=instance)
        )
    assert done.success, done.failure
    assert done.result.output_for_node("scored") > 0
    for stage in ("rejected_rows", "train_set", "test_set", "validation_set"):
        assert done.materialized(stage) == [None]
    assert done.checks()["sets_are_disjoint"]
    assert [*recorded("clinic")["status"]] == ["partial"]


def asked(stage: str) -> tuple[runs.Run, list[object]]:
    """The run of an asset that asks for one of the experiment, and what it
    was given.
    """
    given: list[object] = []

    @dg.asset(ins={"value": dg.AssetIn(["flights", stage])})
    def asks(value) -> None:
        given.append(value)

    flights = runs.definitions(exported.make_spec(), exported.SCHEMA)
    options = {
        "selection": [asks],
        "resources": flights.resources,
        "raise_on_error": False,
    }
    return runs.Run(dg.materialize([asks, *flights.assets], **options)), given


def test_a_host_asks_for_the_exported_model(storage: Path):
    """It gets the champion, ready to predict for rows as delivered."""
    Registry(UPath(storage), "flights").publish(exported.package(), lambda _: None)
    done, (model,) = asked("exported_model")
    assert done.success
    assert isinstance(model, Model)
    assert model.name == "flights v0001"
    assert len(model.predict(exported.delivered()).predictions) == len(
        exported.delivered()
    )


@pytest.mark.parametrize(
    ("stage", "rule", "fix"),
    [
        (
            "exported_model",
            "nor an experiment with an exported model",
            "Export a model first",
        ),
        ("data_analysis", "has a report and no value", "experiment_pipeline.findings"),
        ("trained_model", "cannot be loaded", "exported_model"),
    ],
)
def test_what_a_host_cannot_be_given_is_an_error(stage: str, rule: str, fix: str):
    """Its asset fails with the experiment's asset and what to do."""
    done, _ = asked(stage)
    assert rule in done.failure
    assert fix in done.failure.partition("fix: ")[2]


GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "own_project.md"


@pytest.fixture
def project(tmp_path, monkeypatch) -> ExperimentsFolder:
    """A project as `create-dagster` makes it, with a model that dbt would make."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    folder = ExperimentsFolder(tmp_path)
    (tmp_path / "dg.toml").write_text(f'project = {{root_module = "{folder.package}"}}')
    dbt = "import dagster as dg\n\n\n@dg.asset\ndef stg_customers(): ...\n"
    (folder.defs / "models.py").write_text(dbt)
    return folder


def test_the_example_of_the_guide_is_understood(project: ExperimentsFolder):
    """Dagster's own loader gives neighbours, automation and groups, and the job stays
    whole.
    """
    (example,) = re.findall(
        r"```yaml\n(post_processing.*?)```", GUIDE.read_text(), re.DOTALL
    )
    project.write(f"{YAML}{example}")
    definitions = dg.load_from_defs_folder(path_within_project=project.root)
    dg.Definitions.validate_loadable(definitions)
    specs = {
        asset.key.to_user_string(): asset
        for asset in definitions.resolve_all_asset_specs()
    }
    raw = specs["visits/raw_data"]
    assert [dep.asset_key.to_user_string() for dep in raw.deps] == ["stg_customers"]
    assert raw.automation_condition is not None
    assert {one.group_name for name, one in specs.items() if "/" in name} == {
        "customers"
    }
    in_job = definitions.resolve_job_def("visits").asset_layer.executable_asset_keys
    assert {key.path[-1] for key in in_job} == CODE_VERSIONS.keys()


def test_a_wrong_file_stops_only_its_experiment(project: ExperimentsFolder):
    """A wrong setting also where Dagster loads the project; what is not YAML where ours
    does.
    """
    project.write(YAML, "sound")
    project.write(YAML.replace("target", "targt"), "wrong")
    mine = 'import dagster as dg\n@dg.asset(ins={"x": dg.AssetIn(["wrong", "leaderboard"])})\ndef y(x): ...'
    (project.defs / "mine.py").write_text(mine)
    by_dagster = dg.load_from_defs_folder(path_within_project=project.root)
    assert "targt: unknown key" in by_dagster.resolve_job_def("wrong").description
    project.write(YAML.replace("late", "[late"), "unreadable")
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        loaded = load_experiments(project.root)
    assert not [
        one for one in warned if one.category in (dg.BetaWarning, dg.PreviewWarning)
    ]
    assert "5: is not YAML" in loaded.resolve_job_def("unreadable").description
    keys = {
        key.to_user_string()
        for key in loaded.resolve_asset_graph().get_all_asset_keys()
    }
    assert keys > {
        "stg_customers",
        "y",
        "sound/exported_model",
        "wrong/cannot_be_loaded",
    }
