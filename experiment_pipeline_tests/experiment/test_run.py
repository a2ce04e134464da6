"""An experiment run from Python: stored, recorded, saved as a folder, and run again by
Dagster.
"""

import io
import itertools
import pickle
import sys
from pathlib import Path
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
from experiment_pipeline.experiment import reporter as reporter_module
from experiment_pipeline.experiment import run as run_module
from experiment_pipeline.experiment.context import RunBudget
from experiment_pipeline.experiment.files import named_columns
from experiment_pipeline.experiment.flow import analysis_fingerprint
from experiment_pipeline.experiment.reporter import ProgressReporter
from experiment_pipeline.experiment.result import RunResult
from experiment_pipeline.reporting.outcome import Outcome
from experiment_pipeline.table.features import NamedColumns
from experiment_pipeline.tracking.database import recording
from experiment_pipeline_tests import own_metrics, runs, scenario
from experiment_pipeline_tests.experiment.visits import (
    SETTINGS,
    delivered,
    run_visits,
)

pytestmark = pytest.mark.usefixtures("storage", "quick")
MANY = {"algorithm": "linear", "hyperparameters": {"C": [0.01, 0.03, 0.1, 0.3, 1.0]}}


def run_for(seconds: float) -> RunResult:
    """Run the experiment `visits` with a limit of seconds, one fit at a time."""
    settings = {**SETTINGS, "search": [MANY, "dummy"], "workers": 1}
    del settings["budget"]
    table = delivered()
    return ep.run(
        table, "readmitted", name="visits", seconds=seconds, progress=False, **settings
    )


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


def test_a_bar_shows_the_share_of_the_seconds_in_whole_words(monkeypatch):
    """Also in Jupyter without widgets, and in a narrow terminal."""
    console = Console(force_jupyter=True)
    monkeypatch.setattr(reporter_module, "get_console", lambda: console)
    notebook = Mock()
    monkeypatch.setitem(sys.modules, "IPython.display", notebook)
    named = NamedColumns(scenario.spec("binary"), scenario.SCHEMA)
    budget = RunBudget(60, lambda: 30)
    reporter = ProgressReporter(named, progress=True, budget=budget)
    with reporter.shown(), reporter.at_work("search"):
        reporter.concluded([("linear", Outcome({}))] * 1_200)
        reporter.show()
        (bar,) = notebook.display.return_value.update.call_args.args
        written = io.StringIO()
        Console(file=written, width=50, force_jupyter=False).print(bar)
    assert "…" not in written.getvalue()
    words = "50 % 30 of 60 s: training models, 1,200 done"
    assert {*words.split()} <= {*written.getvalue().split()}
    quiet = ProgressReporter(named, progress=False, budget=budget)
    with quiet.shown():
        assert notebook.display.call_count == 1


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


def test_a_table_gives_a_decision_tables_a_model_and_pages(visits: RunResult):
    """All that was found is at hand, and in the database as a run of a notebook; each
    page of a stage is a tab of the run.
    """
    said = "visits: accepted with conditions (repeated_entities, "
    assert visits.decision.startswith(said)
    assert "positive  yes: the affirmative of 'no' and 'yes'" in visits.summary
    assert set(visits.leaderboard["algorithm"]) == {"linear", "dummy"}
    spec = visits.named.spec
    assert (spec.exclude["cost"], spec.ensemble) == ("left out in the call", None)
    rows = [*visits.sets.values(), visits.rejected]
    assert sum(map(len, rows)) == len(delivered())
    audited = visits.audit.query("measure == 'selection_rate'")["rows"].sum()
    assert audited == len(visits.sets["validation"])
    assert visits.errors(2)["set"].tolist() == ["validation"] * 2 + ["test"] * 2
    (row,) = ep.runs("visits", all_columns=True).to_dict("records")
    recorded = (row["triggered_by"], row["status"], row["version"])
    assert recorded == ("notebook", "accepted", "v0001")
    assert all(Path(place).exists() for place in visits.pages.values())
    without_tab = [
        name
        for name, place in visits.pages.items()
        if place.endswith(".html") and Path(place).parent.name != visits.run_id
    ]
    assert without_tab == [], "name it in STAGE_TABS of reporting/header.py"


def test_what_a_notebook_shows_is_text_in_any_colour(visits: RunResult):
    """Run, model and predictions; cells of the table never run as scripts."""
    predicted = visits.model.predict(delivered())
    counts = (
        f"{len(predicted.predictions)} rows predicted, {len(predicted.rejected)} "
        "rejected"
    )
    title, scored = repr(visits.model).splitlines()
    assert title.startswith("visits v0001: binary, readmitted from ")
    assert scored.split(" on ")[0] in visits.decision.replace(", roc_auc", ": roc_auc")
    for shown, says in (
        (visits, "What next: Check the conditions before you use v0001: repeated_"),
        (visits.model, scored),
        (predicted, counts),
    ):
        assert says in repr(shown)
        assert says in shown._repr_html_()
        assert "color" not in shown._repr_html_(), "a notebook may be dark"
        assert "<script>" not in shown._repr_html_()
    assert "&lt;script&gt;" in visits._repr_html_()


def test_the_worst_rows_are_found_in_the_table_as_it_is_delivered_now(
    visits: RunResult,
):
    """The same rows in another order are the same sets and model, under the labels of
    the given table.
    """
    shuffled = delivered().sample(frac=1, random_state=1)
    again = run_visits(shuffled)
    assert (again.facts["looks"], again.facts["version"]) == (1, "v0001")
    for found, rows in ((visits, delivered()), (again, shuffled)):
        worst = found.errors()
        assert worst["target"].tolist() == rows.loc[worst.index, "readmitted"].tolist()
        ages = rows.loc[worst.index, "age"].tolist()
        assert worst["age"].tolist() == pytest.approx(ages, nan_ok=True)
        for some in (*found.sets.values(), found.rejected):
            cells = rows.loc[some.index, scenario.MARKUP]
            assert some[scenario.MARKUP].tolist() == cells.tolist()
    assert ep.worst_rows("visits").index.name == "row_number"


def test_what_is_saved_is_the_same_experiment_for_dagster():
    """Whatever the clock left out, Dagster trains nothing again, chooses the same
    configuration and publishes no other version.
    """
    late = itertools.chain([0.0], itertools.repeat(97.9))
    with patch.object(run_module, "perf_counter", lambda: next(late)):
        found = run_for(100)
    assert found.facts["not_started"] > 0
    folder = found.save("defs/visits")
    by_dagster = runs.run_named(named_columns(folder))
    assert by_dagster.success, by_dagster.failure
    first, second = ep.runs("visits", all_columns=True).to_dict("records")[::-1]
    assert first["reused"] == 0
    assert second["reused"] == second["trained"] == first["trained"]
    scores = ("chosen", "test_score", "validation_score")
    for name in (*scores, "not_started", "version", "looks", "schema_digest"):
        assert second[name] == first[name]
    with pytest.raises(InvalidExperiment, match="this one is visits"):
        found.save("defs/other")
    (folder / "schema.yaml").write_text("columns: {}")
    with pytest.raises(InvalidExperiment, match="holds something else"):
        found.save(folder)


def test_an_interrupted_run_goes_on_where_it_was(monkeypatch, caplog):
    """What is trained is kept, and the search gets the seconds that are left of those
    given.
    """
    caplog.set_level("INFO", logger="experiment_pipeline")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ProgressReporter, "concluded", interrupt)
        # What is written at the end is concluded in this thread, as Ctrl-C arrives here.
        patched.setattr(recording, "SECONDS_BETWEEN_WRITES", 1_000.0)
        with pytest.raises(KeyboardInterrupt, match="the same call continues") as ended:
            run_for(500)
    assert len(ended.traceback) == 4, "pages of a notebook"
    assert list(ep.runs("visits")["status"]) == ["killed"]
    # The call, and whatever comes later.
    clock = itertools.chain([0.0], itertools.repeat(100.0))
    with patch.object(run_module, "perf_counter", lambda: next(clock)):
        found = run_for(500)
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
    gate = {"metric": "roc_auc", "at_least": np.float64(0.999)}
    found = run_visits(acceptance=[gate, own])
    path = "- metric: experiment_pipeline_tests.own_metrics:profit"
    assert path in found.named.yaml_text
    assert not found.accepted
    why = "lower bound of roc_auc at least 0.999"
    with pytest.raises(NotAccepted, match=why):
        _ = found.model
    assert why in found._repr_html_()
    with pytest.warns(UserWarning, match=f"NOT ACCEPTED: {why}") as said:
        candidate = found.candidate
    assert said[0].filename == __file__
    assert f"NOT ACCEPTED: {why}" in repr(candidate)
    validation = delivered().loc[found.sets["validation"].index]
    predicted = candidate.predict(validation).predictions
    truth = validation.loc[predicted["row_number"], "readmitted"]
    score = roc_auc_score(truth == "yes", predicted["probability_yes"])
    assert score == pytest.approx(found.facts["validation_score"])
    assert f"What next: {found.next_step}" in repr(found)
    assert repr(found).startswith("visits: not accepted: ")
    with pytest.raises(InvalidModel, match="Run the experiment with its search"):
        ep.refit("visits")


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        (
            {"serach": []},
            InvalidExperiment,
            r"^serach: unknown key 'serach'; did you mean 'search'\?\n",
        ),
        ({"target": None}, InvalidExperiment, "^target: .*\n.* of 'visit_id', "),
        ({"search": "linea"}, InvalidExperiment, "^search.0.algorithm: 'linea' is not"),
        (
            {"features": lambda rows: rows},
            InvalidExperiment,
            "^features: .*<lambda> .* no import path",
        ),
        ({"split": 3}, InvalidExperiment, "Write one, such as {'by': 'random'}"),
        ({"seconds": 0}, InvalidExperiment, "^seconds: "),
        ({"target": 3}, InvalidExperiment, "no such column"),
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
    usual = {"data": scenario.table(), "target": "readmitted", "search": "linear"}
    with pytest.raises(error, match=says):
        ep.run(**{**usual, "progress": False, **changes})
    assert not Path("../elsewhere").exists()


def test_a_result_stands_for_its_run(visits: RunResult):
    """What is chosen is of its own leaderboard, also after a later run; it can be
    pickled.
    """
    later = run_visits(search="dummy")
    chosen = ep.choose(visits, "linear__C=1.0", "it is what we had")
    assert chosen.facts["chosen"] == "linear__C=1.0"
    assert visits.compare(later).changes
    again = pickle.loads(pickle.dumps(visits))
    assert repr(again) == repr(visits)
    assert again.errors().equals(visits.errors())
    assert again.sets["test"].equals(visits.sets["test"])
    predicted = again.candidate.predict(delivered()).predictions
    assert predicted.equals(visits.candidate.predict(delivered()).predictions)
    assert len(pickle.dumps(visits)) < len(pickle.dumps(visits.values)) / 1.5


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
