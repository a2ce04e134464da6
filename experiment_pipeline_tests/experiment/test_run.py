"""An experiment run from Python: stored, recorded, saved as a folder, and run again by
Dagster.
"""

import functools
import io
import itertools
import pickle
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock, patch

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from sklearn.metrics import roc_auc_score

import experiment_pipeline as ep
from experiment_pipeline.drafting.files import with_settings
from experiment_pipeline.errors import (
    DataError,
    InvalidExperiment,
    InvalidModel,
    NotAccepted,
)
from experiment_pipeline.experiment import run as run_module
from experiment_pipeline.experiment.context import RunBudget
from experiment_pipeline.experiment.files import named_columns
from experiment_pipeline.experiment.flow import analysis_fingerprint
from experiment_pipeline.reporting.outcome import Outcome
from experiment_pipeline.table.features import NamedColumns
from experiment_pipeline.tracking import outcomes
from experiment_pipeline_tests import own_metrics, runs, scenario

pytestmark = pytest.mark.usefixtures("storage", "quick")
LINEAR = {"algorithm": "linear", "hyperparameters": {"C": [0.1, 1.0]}}
WRITE_PAGES = outcomes.write_pages
MANY = {"algorithm": "linear", "hyperparameters": {"C": [0.01, 0.03, 0.1, 0.3, 1.0]}}
FEW = {"search": [LINEAR, {"algorithm": "dummy"}], "evaluation": "test_set"}
run = functools.partial(ep.run, target="readmitted", progress=False, **FEW)


def test_a_changed_preparation_function_is_analysed_anew(monkeypatch):
    """What it made before is neither read nor judged again, although the table is the
    same.
    """
    monkeypatch.syspath_prepend(Path.cwd())
    preparation, found = {"function": "own_preparation:change"}, list[str]()
    named = NamedColumns(
        scenario.spec("binary", preparation=preparation), scenario.SCHEMA
    )
    for returned in ("rows", "rows.assign(more=1.0)"):
        Path("own_preparation.py").write_text(
            f"def change(rows):\n    return {returned}\n"
        )
        found.append(analysis_fingerprint("digest", named))
    assert len({*found, analysis_fingerprint("another", named)}) == 3


@pytest.mark.parametrize("spent", [6, 30, 54, 65])
def test_a_bar_shows_the_share_of_the_seconds_in_whole_words(monkeypatch, spent: int):
    """Also in Jupyter without widgets, and in a narrow terminal."""
    console = Console(force_jupyter=True)
    monkeypatch.setattr(run_module, "get_console", lambda: console)
    cell, display = Mock(), Mock()
    display.return_value = cell
    notebook = SimpleNamespace(display=display)
    monkeypatch.setitem(sys.modules, "IPython.display", notebook)
    named = NamedColumns(scenario.spec("binary"), scenario.SCHEMA)
    budget = RunBudget(60, lambda: spent)
    reporter = run_module.ProgressReporter(named, progress=True, budget=budget)
    with reporter.shown(), reporter.at_work("search"):
        reporter.concluded([("linear", Outcome({}))] * 1_200)
        reporter.show()
        (bar,) = cell.update.call_args.args
        for width in (115, 50):
            written = io.StringIO()
            narrow = Console(file=written, width=width, force_jupyter=False)
            narrow.print(bar)
            words = " ".join(written.getvalue().replace("━", "").split())
            share = min(100, round(100 * spent / 60))
            assert f"{share} %" in words
            assert "…" not in words
            text = f"{spent} of 60 s: training models, 1,200 done"
            assert {*text.split()} <= {*words.split()}
    assert cell.update.call_args.kwargs == {"raw": True}
    quiet = run_module.ProgressReporter(named, progress=False, budget=budget)
    with quiet.shown():
        assert display.call_count == 1


def test_an_experiment_is_found_below_this_folder_and_not_below_hidden_ones():
    """A virtual environment may hold thousands of folders, and copies of an
    experiment.
    """
    for place in ("shop/defs/orders", ".venv/lib/defs/orders", "defs/visits"):
        Path(place).mkdir(parents=True)
        (Path(place) / "defs.yaml").write_text("type: 1")
    for name, place in (("orders", "shop/defs/orders"), ("visits", "defs/visits")):
        with pytest.raises(InvalidExperiment, match=f"^{place}/defs.yaml:1"):
            ep.run(name)
    with pytest.raises(InvalidExperiment, match="nor an experiment below"):
        ep.run("shop", progress=False)


def test_a_table_gives_a_decision_tables_a_model_and_pages():
    """All that was found is at hand, and in the database as a run of a notebook; names
    are shown as text.
    """
    spelt = {" north ": scenario.MARKUP, "North": scenario.MARKUP.upper()}
    scenario.write_csv(Path("visits.csv"), scenario.table().replace({"ward": spelt}))
    given = {"patient": "names a person"} | dict.fromkeys(
        ["cost", "triage"], "known later"
    )
    with patch.object(outcomes, "write_pages", WRITE_PAGES):
        found = run("visits.csv", exclude=given, audit=["ward", "cost"])
    assert found.accepted
    assert found.decision.startswith(
        "visits: accepted with conditions (repeated_entities, "
    )
    assert (
        found.decision.partition(":")[2].partition(", v0001")[0] in found._repr_html_()
    )
    assert "positive  yes: the affirmative of 'no' and 'yes'" in found.summary
    assert set(found.leaderboard["algorithm"]) >= {"linear", "dummy"}
    assert found.named.spec.exclude.keys() >= {"cost", "patient", "visit_id"}
    assert found.named.spec.exclude["cost"] == "known later"
    rows = [*found.sets.values(), found.rejected]
    assert sum(map(len, rows)) == len(scenario.table())
    audited = (
        found.audit.query("measure == 'selection_rate'")
        .groupby("column_name")["rows"]
        .sum()
    )
    assert audited.to_dict() == dict.fromkeys(
        ["cost", "ward"], len(found.sets["validation"])
    )
    assert found.errors(2)["set"].tolist() == ["validation"] * 2 + ["test"] * 2
    predicted = found.model.predict(scenario.table().drop(columns=["cost", "patient"]))
    counts = (
        f"{len(predicted.predictions)} rows predicted, {len(predicted.rejected)} "
        "rejected"
    )
    conditions = "Check the conditions before you use v0001: repeated_entities, "
    assert repr(found).splitlines()[-1].startswith(f"What next: {conditions}")
    title, scored = repr(found.model).splitlines()
    assert title.startswith("visits v0001: binary, readmitted from ")
    assert scored.split(" on ")[0] in found.decision.replace(", roc_auc", ": roc_auc")
    assert repr(predicted).splitlines()[0] == counts
    for shown, says in (
        (found, "Warnings"),
        (found.model, scored),
        (predicted, counts),
    ):
        assert says in shown._repr_html_()
        assert "color" not in shown._repr_html_(), "a notebook may be dark"
        assert "<script>" not in shown._repr_html_()
    assert "&lt;script&gt;" in found._repr_html_()
    (row,) = ep.runs("visits", all_columns=True).to_dict("records")
    assert (row["triggered_by"], row["status"], row["version"]) == (
        "notebook",
        "accepted",
        "v0001",
    )
    assert row["data_modified_at"] is not pd.NaT
    assert all(Path(place).exists() for place in found.pages.values())
    assert Path("artifacts/overview.html").exists()


def test_the_worst_rows_are_found_in_the_table_as_it_is_delivered_now():
    """The same rows in another order are the same sets and model, under the labels of
    the given table.
    """
    table = scenario.table()
    for rows in (table, table.set_axis(table.index + 7).sample(frac=1)):
        found = run(rows, name="visits")
        worst = found.errors()
        assert worst["target"].tolist() == rows.loc[worst.index, "readmitted"].tolist()
        ages = rows.loc[worst.index, "age"].tolist()
        assert worst["age"].tolist() == pytest.approx(ages, nan_ok=True)
        for some in (*found.sets.values(), found.rejected):
            delivered = rows.loc[some.index, scenario.MARKUP]
            assert some[scenario.MARKUP].tolist() == delivered.tolist()
    assert ep.worst_rows("visits").index.name == "row_number"
    assert (found.facts["looks"], found.facts["version"]) == (1, "v0001")


def test_what_is_saved_is_the_same_experiment_for_dagster():
    """Whatever the clock left out, Dagster trains nothing again, chooses the same
    configuration and publishes no other version; only more seconds go on.
    """
    table = scenario.table()
    given = {"schema": scenario.SCHEMA, "preparation": scenario.PREPARATION}
    given |= {"name": "visits", "workers": 1, "search": [MANY, {"algorithm": "dummy"}]}
    late = itertools.chain([0.0], itertools.repeat(97.9))
    with patch.object(run_module, "perf_counter", lambda: next(late)):
        found = run(table, seconds=100, **given)
    assert found.facts["not_started"] > 0
    folder = found.save("defs/visits")
    by_dagster = runs.run_named(named_columns(folder))
    assert by_dagster.success, by_dagster.failure
    first, second = ep.runs("visits", all_columns=True).to_dict("records")[::-1]
    assert first["reused"] == 0
    assert second["reused"] == second["trained"] == first["trained"]
    same = (
        "chosen",
        "test_score",
        "validation_score",
        "not_started",
        "version",
        "looks",
        "schema_digest",
    )
    assert {name: second[name] for name in same} == {name: first[name] for name in same}
    assert ep.run("visits", progress=False).facts["version"] == "v0001"
    with pytest.raises(InvalidExperiment, match="this one is visits"):
        found.save("defs/other")
    (folder / "schema.yaml").write_text("columns: {}")
    with pytest.raises(InvalidExperiment, match="holds something else"):
        found.save(folder)
    longer = run(table, seconds=500, **given)
    assert longer.facts["not_started"] == 0
    assert longer.facts["trained"] > first["trained"]


def test_an_interrupted_run_goes_on_where_it_was(monkeypatch, caplog):
    """What is trained is kept, and the search gets the seconds that are left of those
    given.
    """
    table = scenario.table()
    caplog.set_level("INFO", logger="experiment_pipeline")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(run_module.ProgressReporter, "concluded", interrupt)
        with pytest.raises(KeyboardInterrupt, match="the same call continues") as ended:
            run(table, workers=1, seconds=500)
    assert len(ended.traceback) == 3, "pages of a notebook"
    assert list(ep.runs("experiment")["status"]) == ["killed"]
    clock = itertools.chain(
        [0.0], itertools.repeat(100.0)
    )  # the call, and whatever comes later
    with patch.object(run_module, "perf_counter", lambda: next(clock)):
        found = run(table, workers=1, seconds=500)
    assert found.facts["reused"] >= 1
    assert found.accepted
    *_, said = [line for line in caplog.messages if "of 500 seconds" in line]
    assert said.startswith("397 of 500 seconds are left")
    assert found.named.spec.budget.seconds == 500


def test_a_model_that_is_not_good_enough_is_not_handed_out():
    """It is refused with gate and fix. Metric and number may be objects: the YAML has
    path and digits.
    """
    own = {"metric": own_metrics.profit, "at_least": 1}
    found = run(
        scenario.table(),
        acceptance=[{"metric": "roc_auc", "at_least": np.float64(0.999)}, own],
    )
    assert (
        "- metric: experiment_pipeline_tests.own_metrics:profit"
        in found.named.yaml_text
    )
    assert not found.accepted
    assert len(found.leaderboard)
    with pytest.raises(NotAccepted, match=r"lower bound of roc_auc at least 0\.999"):
        _ = found.model
    assert "lower bound of roc_auc at least 0.999" in found._repr_html_()
    with pytest.warns(
        UserWarning, match="NOT ACCEPTED: lower bound of roc_auc"
    ) as said:
        candidate = found.candidate
    assert said[0].filename == __file__
    assert "NOT ACCEPTED: lower bound of roc_auc at least 0.999" in repr(candidate)
    validation = found.sets["validation"].index
    predicted = candidate.predict(scenario.table().loc[validation]).predictions
    truth = scenario.table().loc[predicted["row_number"], "readmitted"]
    score = roc_auc_score(truth == "yes", predicted["probability_yes"])
    assert score == pytest.approx(found.facts["validation_score"])
    assert f"What next: {found.next_step}" in repr(found)
    assert repr(found).startswith("experiment: not accepted: ")
    with pytest.raises(InvalidModel, match="Run the experiment with its search"):
        ep.refit("experiment")


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"metric": "roc_acu"}, InvalidExperiment, "roc_auc"),
        ({"serach": []}, InvalidExperiment, "did you mean 'search'"),
        ({"target": None}, InvalidExperiment, "Name the target"),
        ({"exclude": 3}, InvalidExperiment, "is not a mapping"),
        ({"split": 3}, InvalidExperiment, "Write one, such as {'by': 'random'}"),
        ({"positive_class": "maybe"}, InvalidExperiment, "these as positive_class"),
        ({"seconds": 0}, InvalidExperiment, "^seconds: "),
        ({"target": 3}, InvalidExperiment, "no such column"),
        ({"name": "no good"}, InvalidExperiment, "Give another name"),
        ({"name": "../elsewhere"}, InvalidExperiment, "Give another name"),
        (
            {"data": pd.DataFrame({"a": [object()] * 9})},
            DataError,
            r"its cells \(object in row 0: <object",
        ),
        ({"data": scenario.table().iloc[:, [0, 0]]}, DataError, "the same name; twice"),
        ({"data": "visits"}, DataError, "visits"),
    ],
)
def test_a_mistake_is_named(
    changes: dict[str, object], error: type[Exception], says: str
):
    """Before anything is trained, with what would be right; a name that is no name
    becomes no path.
    """
    with pytest.raises(error, match=says):
        run(**{"data": scenario.table(), **changes})
    assert not Path("../elsewhere").exists()


def test_a_result_stands_for_its_run():
    """In Python's own words; what is chosen is of its own leaderboard, also after a
    later run.
    """
    table = scenario.table()
    settings = {"exclude": ["cost", "triage"], "split": "random", "ensemble": None}
    settings["evaluation"] = "test_set"
    first = ep.run(
        table, "readmitted", name="visits", search=["linear", "dummy"], **settings
    )
    spec = first.named.spec
    assert spec.exclude["cost"] == "left out in the call"
    assert spec.ensemble is None
    later = ep.run(table, "readmitted", name="visits", search="dummy", **settings)
    chosen = ep.choose(first, "linear", "it is what we had")
    assert chosen.facts["chosen"] == "linear"
    assert {change.what for change in first.compare(later).changes} >= {"yaml"}
    assert len(ep.sensitivity(first, seeds=1, agree=str)) == 1
    again = pickle.loads(pickle.dumps(first))
    assert repr(again) == repr(first)
    assert again.errors().equals(first.errors())
    assert again.sets["test"].equals(first.sets["test"])
    rows = table.drop(columns=["cost", "triage"])
    predicted = again.candidate.predict(rows).predictions
    assert predicted.equals(first.candidate.predict(rows).predictions)
    assert len(pickle.dumps(first)) < len(pickle.dumps(first.values)) / 1.5


def test_given_settings_replace_inferred_ones_in_the_text():
    """Reasons for what was inferred go with it, other comments stay; what is new stands
    last.
    """
    text = (
        "  # The metric.\n  # Inferred: because.\n  # So.\n  metric: a\n  search:\n    "
        "- b: 1\n"
    )
    assert with_settings(text, {"metric": "c", "search": [1], "x": "y: z"}) == (
        "  # The metric.\n  # Given.\n  metric: c\n  # Given.\n  search:\n  - 1\n"
        "  # Given.\n  x: 'y: z'\n"
    )
