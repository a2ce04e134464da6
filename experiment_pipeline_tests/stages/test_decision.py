"""What decides about a model across runs: looks, the champion, and the reasons of a
refusal.
"""

from functools import partial

import numpy as np
import pandas as pd
import pytest

from experiment_pipeline.orchestration.job import range_tags
from experiment_pipeline.prediction.champions import find_champions
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.storage.registry import registry_of
from experiment_pipeline.tracking import questions
from experiment_pipeline_tests import runs, scenario
from experiment_pipeline_tests.stages.data_analysis import tables

pytestmark = pytest.mark.usefixtures("storage")
LINEAR = {"search": [{"algorithm": "linear"}]}
OTHER = [{"algorithm": "linear", "hyperparameters": {"C": 0.01}}]


def test_looks_and_champion_through_the_life_of_an_experiment(tmp_path):
    """A worse model does not replace the champion, a better one does."""
    table = scenario.write_csv(tmp_path / "visits.csv", scenario.sound_table())
    spec = scenario.spec(url=str(table), **LINEAR)
    registry = registry_of(spec)
    assert find_champions(registry) == []
    first = runs.succeeded(spec, scenario.SCHEMA)
    assert first.metadata("validation_report")["looks"] == 1
    # Patients come several times: where "accepted" is said, that is said, too.
    accepted = "ccepted with conditions (repeated_entities)"
    assert accepted in first.metadata("validation_report")["decision"]
    version = find_champions(registry)[0].exported
    assert accepted in version.read("decision_record.md").decode()
    card = version.read("README.md").decode()
    decision = questions.runs("clinic", all_columns=True)["decision"].item()
    for text in (card, decision):
        assert "Values repeat in patient (151 entities" in text
    assert find_champions(registry)[0].facts["champions"] == []

    # A source without a column that the champion does not need, and a model that knows
    # less.
    scenario.write_csv(table, scenario.sound_table().drop(columns="cost"))
    schema = scenario.SCHEMA.replace("  cost: {dtype: float64, greater_than: 0}\n", "")
    ignored = {**scenario.spec_mapping()["exclude"]}
    del ignored["cost"]
    ignored |= dict.fromkeys(["age", scenario.STRANGE], "to know less")
    less = scenario.spec(url=str(table), exclude=ignored, **LINEAR)
    stopped = runs.run(less, schema)
    assert not stopped.success
    assert "not_worse_than_champion v0001: roc_auc" in stopped.failure
    assert stopped.metadata("validation_report")["looks"] == 2
    judgement = stopped.metadata("validation_report")["judgement"]
    assert "looked at 2 times (overlap 100 %)" in judgement
    assert "| champion v0001 (" in judgement
    assert registry.versions() == ["v0001"]

    # Whoever wants it all the same says so; from then on it is the one to beat.
    runs.succeeded(less.model_copy(update={"not_worse_than_champion": None}), schema)
    assert registry.versions() == ["v0001", "v0002"]
    scenario.write_csv(table, scenario.sound_table())
    runs.succeeded(spec, scenario.SCHEMA)
    (champion,) = find_champions(registry)
    (before,) = champion.facts["champions"]
    assert (champion.version, before["version"]) == ("v0003", "v0002")
    numbers = before["scores"]
    assert numbers["challenger"] > numbers["champion"]
    rules = [gate["rule"] for gate in champion.facts["gates"]]
    assert "not_worse_than_champion v0002" in "".join(rules)


def test_the_report_alone_judges_no_leaderboard_of_another_yaml(tmp_path):
    """A choice by another metric, by another rule or of another search; the error names
    what changed.
    """
    settings = {"url": str(scenario.write_csv(tmp_path / "visits.csv")), **LINEAR}
    runs.succeeded(scenario.spec(**settings), scenario.SCHEMA)
    for says, changed in {
        "'metric'": {"metric": "log_loss"},
        "'search'": {"search": [{"algorithm": "dummy"}]},
        "'search', 'ensemble'": {"search": OTHER, "ensemble": False},
    }.items():
        spec = scenario.spec(**settings | changed)
        alone = runs.run(spec, scenario.SCHEMA, stages=["validation_report"])
        expected = f"leaderboard: the YAML's {says} changed after it was made"
        assert expected in alone.failure


def test_the_export_alone_publishes_nothing_that_the_report_has_not_accepted(tmp_path):
    """Neither a refused model, nor one of later gates, leaderboard or rows; an accepted
    one again.
    """
    alone = partial(runs.run, schema=scenario.SCHEMA, stages=["exported_model"])
    url = str(scenario.write_csv(tmp_path / "visits.csv"))
    settings = {"url": url, "search": [*LINEAR["search"], *OTHER]}
    strict = scenario.spec(
        acceptance=[{"metric": "roc_auc", "at_least": 0.999}], **settings
    )
    assert not runs.run(strict, scenario.SCHEMA).success
    assert (
        "NotAccepted: ensemble: lower bound of roc_auc at least"
        in alone(strict).failure
    )
    runs.succeeded(spec := scenario.spec(**settings), scenario.SCHEMA)
    runs.succeeded(
        spec, scenario.SCHEMA, stages=["validation_report", "exported_model"]
    )
    assert alone(spec).success
    assert "validation_report: the YAML's 'acceptance' changed" in alone(strict).failure
    smallest = scenario.spec(**settings, choice="smallest_in_tie_group")
    ranked = ["trained_model", "search_results", "leaderboard"]
    runs.succeeded(
        smallest, scenario.SCHEMA, stages=ranked, **range_tags(configurations(smallest))
    )
    assert (
        "it is the report of another model than linear__C=0.01"
        in alone(smallest).failure
    )
    scenario.write_csv(tmp_path / "visits.csv", scenario.sound_table())
    sets = ["raw_data", "data_analysis", "validated_data", "train_set", "test_set"]
    runs.run(spec, scenario.SCHEMA, stages=[*sets, "validation_set"])
    assert "validation set: another run replaced it after" in alone(spec).failure
    assert registry_of(spec).versions() == ["v0001"]


def test_a_refusal_names_the_ceiling_of_the_labels_and_the_sample_size(tmp_path):
    """What the analysis measured reaches the report of a model that is not
    good enough.
    """
    generator = np.random.default_rng(0)
    dose = generator.integers(0, 10, 600)
    frame = pd.DataFrame({"number": range(600), "dose": dose, "place": dose % 3})
    frame["cured"] = np.where(generator.random(600) < dose / 9, "yes", "no")
    table = scenario.write_csv(tmp_path / "doses.csv", frame)
    spec = tables.experiment(
        name="doses",
        data=str(table),
        target="cured",
        split={"by": "random", "id_columns": ["number"]},
        analysis={"accept": {"conflicting_labels": "to see what happens"}},
        acceptance=[{"metric": "roc_auc", "at_least": 0.999}],
        **LINEAR,
    )
    schema = "columns: {number: {}, dose: {}, place: {}, cured: {dtype: str}}"
    runs.run(spec, schema)
    reasons = " ".join(
        questions.rows_of("evidence", {"experiment": "doses"})["because"].dropna()
    )
    assert "on the train and test rows no model can do better than roc" in reasons
    assert "Even a perfect score would have the bound" in reasons
