"""Every impossible value, and every setting without effect, is refused by name, at its
own key.
"""

from datetime import date
from typing import Any

import pytest

from experiment_pipeline.errors import InvalidExperiment
from experiment_pipeline.spec import Data, ExperimentSpec
from experiment_pipeline.spec.experiment import spec_from
from experiment_pipeline.spec.reading import MOST_PROBLEMS
from experiment_pipeline.stages.registry import STAGES
from experiment_pipeline_tests.spec.spec_scenario import VALID, changed, spec_of, told

PLAIN = {"algorithm": "lightgbm"}
DEEP = {**PLAIN, "configurations": [{"max_depth": 3}]}
BY_TIME = {"by": "time", "column": "departure"}
CRITERION = {"metric": "roc_auc", "at_least": 0.7}

DASK = "engine.dask"
# One place after the other: what is wrong there, and a part of what is reported.
IMPOSSIBLE: list[tuple[str, Any, str]] = [
    (
        "data.url",
        "",
        "data.url: '': String should have at least 1 character (Any fsspec URL",
    ),
    ("data.format", "xlsx", "data.format: 'xlsx' should be 'csv' or 'parquet'"),
    (
        "data.endpoint_url",
        "http://localhost",
        "endpoint_url has no effect on a file URL",
    ),
    ("data.anonymous", True, "data.anonymous: anonymous has no effect on a file URL"),
    (
        "data",
        {"url": "x", "format": "parquet", "delimiter": ","},
        "data.delimiter: delimiter has",
    ),
    ("data", ["s3://b/t?token=pass"], "data: ['s3://b/t?***'] should be"),
    ("target", 2013, "target: 2013 should be a valid string; put it in quotes"),
    ("task", "regression", "metric: 'roc_auc' is not a metric of task regression"),
    (
        "positive_class",
        ["yes"],
        "a valid boolean or a valid integer or a valid number or a valid",
    ),
    ("exclude", ["arrival"], "a valid dictionary (Column → the reason"),
    ("exclude", {"arrival": None}, "exclude.arrival: null should be a valid string"),
    ("exclude", {"late": "leaks"}, "exclude.late: names the target 'late'"),
    ("sample_weight", "late", "sample_weight: names the target 'late'"),
    ("sample_weight", "arrival", "exclude.arrival: names the column of weights"),
    (
        "monotone",
        {"arrival": "increasing"},
        "monotone.arrival: 'arrival' is not a feature",
    ),
    ("monotone", {"age": "up"}, "monotone.age: "),
    ("split.id_columns", ["late"], "split.id_columns: names the target"),
    (
        "preparation.calendar",
        {"late": ["month"]},
        "preparation.calendar: names the target",
    ),
    ("preparation.calendar", [{"arrival": ["month"]}], "preparation.calendar: "),
    (
        "preparation.datetime_formats",
        {"t": "YYYY"},
        "t: write strptime formats, such as",
    ),
    (
        "preparation.datetime_formats",
        {"t": "%Q"},
        "'Q' is a bad directive in format '%Q'",
    ),
    (
        "preparation.numbers",
        {"t": {"decimal": ","}},
        "does not declare as number; write types:",
    ),
    (
        "preparation.numbers",
        {"t": {"thousands": "."}},
        "decimal and thousands are both '.'",
    ),
    (
        "preparation.categories",
        {"t": {"variants": {"a": ["a"]}}},
        "variants lists 'a' twice",
    ),
    (
        "costs",
        {"false_positive": 1},
        "costs: a positive row that is found costs no less than one that is missed",
    ),
    (
        "costs",
        {"false_positive": 1, "false_negative": float("inf")},
        "should be a finite number",
    ),
    (
        "costs",  # what it brings is a negative cost
        {"false_positive": 2, "true_positive": 40},
        "as a negative cost (true_positive: -40)",
    ),
    (
        "validation.drift",
        {"warn": 0.3, "block": 0.2},
        "validation.drift.block: 0.2 is below warn",
    ),
    (
        "split",
        {"column": "x"},
        "split.by: is missing; allowed: random, group, time, column",
    ),
    ("split", {"by": "tme"}, "split.by: 'tme' is not allowed; did you mean 'time'?"),
    (
        "split",
        {"by": "group"},
        "split.column: is missing: the column whose values stay together",
    ),
    (
        "split",
        {"by": "time", "column": "t", "gap": "soon"},
        "split.gap: 'soon' is not a duration",
    ),
    (
        "split",
        {"by": "time", "column": "t", "unit": "0 days"},
        "split.unit: the unit is zero",
    ),
    (
        "split",
        {"by": "column", "column": "s", "train": ["test"]},
        "the value test stands in two",
    ),
    (
        "split.fractions",
        {"train": 0.5},
        "split.fractions: train (0.5) + test (0.2) + validation",
    ),
    ("search.0.algorithm", "ligthgbm", "did you mean 'lightgbm'? allowed: lightgbm"),
    ("search.0.draws", None, "search.0: method random needs draws"),
    (
        "search.0",
        {**PLAIN, "draws": 3},
        "search.0.draws: draws has no effect on a grid",
    ),
    (
        "search.0.hyperparameters",
        {"C": 1},
        "search.0.method: random has nothing to draw",
    ),
    ("search.0.name", "mine", "search.0.name: needs a single configuration"),
    (
        "search.0",
        {**PLAIN, "name": "../mine"},
        "search.0.name: '../mine': String should match",
    ),
    (
        "search.0.hyperparameters.C",
        {"low": 2, "high": 1},
        "C: low (2) is not below high (1)",
    ),
    (
        "search.0.hyperparameters.C",
        {"low": 0, "high": 1, "scale": "log"},
        "needs low > 0",
    ),
    (
        "search.0",
        {**PLAIN, "hyperparameters": {"C": {"low": 1, "high": 2}}},
        "a grid cannot hold",
    ),
    ("search.0", {**DEEP, "hyperparameters": {"C": [1, 2]}}, "C: cannot be searched"),
    (
        "search.0",
        {**DEEP, "method": "random", "draws": 2},
        "0.method: random has no effect on",
    ),
    (
        "search.0",
        {**DEEP, "hyperparameters": {"max_depth": 1}},
        ".0.max_depth: max_depth is also",
    ),
    (
        "search.0.features",
        ["text", "text"],
        "search.0.features: the list is empty or names an",
    ),
    ("calibrate", True, "calibrate: true should be 'sigmoid' or 'off'"),
    (
        "halving",
        None,
        "halving: no value is given; write on, off, or its keys and values",
    ),
    (
        "halving",
        {"fractions": [1.0]},
        "halving.fractions: one rung stops no configuration; write",
    ),
    (
        "halving",
        {"fractions": [0.5, 0.5, 1]},
        "halving.fractions: each rung needs more rows",
    ),
    (
        "halving",
        {"fractions": [0.1, 0.5]},
        "halving.fractions: the last rung has 0.5 of the rows",
    ),
    (
        "engine",
        "tls://me:pass@h:8786",
        "engine: 'tls://***@h:8786' should be a valid dictionary",
    ),
    (
        DASK,
        "lokal",
        "engine.dask.address: is not the address of a scheduler; write local, or tl",
    ),
    (DASK, "tls://me:pass@h:8786", "tls://host:8786, without user and password"),
    (
        DASK,
        "tcp://10.0.0.7:8786",
        "engine.dask.address: tcp:// to another machine is nei",
    ),
    (
        DASK,
        "tcp://127.0.0.1.example:8786",
        "engine.dask.address: tcp:// to another machin",
    ),
    (DASK, ["tls://me:pass@h:8786"], "engine.dask: ['tls://***@h:8786'] should be"),
    (
        "evaluation",
        "cv",
        "evaluation: 'cv' should be a valid dictionary (test_set, or cross_va",
    ),
    ("metric", "auc", "metric: 'auc' is not a metric of task binary"),
    (
        "acceptance",
        [{"metric": "roc_auc"}],
        "acceptance.0: give exactly one of at_least",
    ),
    (
        "acceptance",
        [{"metric": "brier", "at_least": 0.1}],
        "brier is a metric that needs at_most",
    ),
    (
        "acceptance",
        [{"metric": "roc_auc", "at_least": 70}],
        "acceptance.0.at_least: 70 is i",
    ),
    (
        "acceptance",
        [{"metric": "rmse", "at_most": 1}],
        "acceptance.0.metric: 'rmse' is not a metr",
    ),
    (
        "acceptance",
        [CRITERION, CRITERION],
        "acceptance.0.metric: roc_auc has several limits",
    ),
    ("audit", [], "audit: []: Tuple should have at least 1 item"),
    ("audit", ["late"], "audit.columns: names the target 'late'; drop it there"),
    (
        "audit",
        {"columns": ["sex"], "selection_rate_ratio": 1.25},
        "less than or equal to 1",
    ),
    (
        "audit",
        {"columns": ["sex"], "accuracy_ratio": 0.8},
        "no effect on task binary; drop it",
    ),
    (
        "lab",
        {"money": 5},
        "lab.money: no effect without price_per_hour; write that too, or drop it",
    ),
    (
        "baseline",
        "off",
        "baseline: off leaves no gate; write acceptance criteria, or drop it",
    ),
    (
        "export",
        {"refit": "none", "fits": 3},
        "exports the model fitted in the search; drop",
    ),
    ("freshness", {"fail_after": "7"}, "freshness.fail_after: '7' is not a duration"),
    ("name", "visits", "name: the folder names the experiment (visits); drop this key"),
]


@pytest.mark.parametrize(("path", "value", "message"), IMPOSSIBLE)
def test_an_impossible_value_is_refused(path: str, value: Any, message: str):
    """One impossible value gives one problem, which names the key and what is right."""
    problems = told(changed(path, value))
    assert len(problems) == 1
    assert message in problems[0]


@pytest.mark.parametrize(
    ("key", "value", "other"),
    [
        ("positive_class", "yes", {"task": "multiclass", "metric": "log_loss"}),
        ("costs", {"false_positive": 1, "false_negative": 10}, {"task": "regression"}),
        ("calibrate", "sigmoid", {"task": "regression"}),
        (
            "monotone",
            {"age": "increasing"},
            {"task": "multiclass", "metric": "log_loss"},
        ),
    ],
)
def test_a_setting_of_another_task_is_refused(
    key: str, value: Any, other: dict[str, str]
):
    """A positive class, costs, a calibration or a direction that nothing
    would look at.
    """
    (problem,) = told({**changed(key, value), "metric": "rmse"} | other)
    assert problem.startswith(f"defs.yaml:1: {key}: ")


@pytest.mark.parametrize("name", ["my-visits", "2visits", "visits 2", "", "v" * 81])
def test_a_name_must_do_for_asset_keys_and_ops(name: str):
    """The folder's name becomes part of keys and op names, so it is judged
    like them.
    """
    with pytest.raises(
        InvalidExperiment, match="A folder name of letters, digits and _"
    ):
        spec_from(name, VALID)


def test_hyperparameters_keep_their_types():
    """Whole numbers stay whole, texts stay texts, and true stays true."""
    values = {"a": 3, "b": 3.0, "c": "3", "d": True, "e": None, "f": ["sqrt", 0.5]}
    read = (
        spec_of(changed("search.1.hyperparameters", values)).search[1].hyperparameters
    )
    assert {key: repr(value) for key, value in read.items()} == {
        **{key: repr(value) for key, value in values.items()},
        "f": "('sqrt', 0.5)",
    }


@pytest.mark.parametrize("key", ["halving", "ensemble", "not_worse_than_champion"])
@pytest.mark.parametrize(
    ("written", "on"),
    [
        (None, True),
        (True, True),
        ("on", True),
        ({}, True),
        (False, False),
        ("off", False),
    ],
)
def test_what_is_on_by_default_is_switched_off_by_a_word(
    key: str, written: Any, on: bool
):
    """Or by its keys; and an exported experiment.yaml can be read again."""
    spec = spec_of(VALID if written is None else {**VALID, key: written})
    again = spec.model_dump(mode="json", exclude_unset=True, exclude={"name"})
    assert (getattr(spec, key) is not None) == on
    assert spec_of(again) == spec


def test_what_never_reaches_a_model():
    """Target, excluded, id and split columns are no features."""
    spec = spec_of(changed("split", BY_TIME | {"id_columns": ["visit"]}))
    assert spec.not_features == {"late", "arrival", "visit", "departure"}
    tails = BY_TIME | {"group": "tail", "predicts": "new"}
    assert "tail" in spec_of(changed("split", tails)).not_features
    known = tails | {"predicts": "known"}
    assert "tail" not in spec_of(changed("split", known)).not_features


def test_groups_in_time_need_a_column_of_their_own():
    """What the model meets is said of a group, which has no other role."""
    [problem] = told(changed("split", BY_TIME | {"predicts": "new"}))
    assert "split.predicts: no effect without group" in problem
    [problem] = told(changed("split", BY_TIME | {"group": "late"}))
    assert "split.group: names the target 'late'" in problem


def test_the_ranking_metric_comes_first():
    """Metrics of the gates are computed too, each once, after the one that ranks."""
    gates = [{"metric": "brier", "at_most": 0.2}, CRITERION]
    assert spec_of(changed("acceptance", gates)).metric_names == ("roc_auc", "brier")


DATA, ANALYSIS, ROWS, SETS = "raw_data", "data_analysis", "validated_data", "split_sets"
FITS, BOARD, REPORT = "search", "leaderboard", "validation_report"
FROM_FITS = {FITS, BOARD, REPORT}
FROM_ANALYSIS = {ANALYSIS, ROWS, SETS} | FROM_FITS
# Key → another value, and the stages that are given it; what is exported depends on
# all.
DAY = "2027-06-30"
READ_BY: dict[str, tuple[Any, set[str]]] = {
    "name": ("other", {DATA} | FROM_ANALYSIS),
    "data": ("other.csv", {DATA}),
    "target": ("other", FROM_ANALYSIS),
    "task": ("multiclass", FROM_ANALYSIS),
    "positive_class": ("yes", FROM_ANALYSIS),
    "label": ({"since": "day", "within": "9 days"}, {ANALYSIS, ROWS, SETS}),
    "sample_weight": ("weight", FROM_ANALYSIS),
    "incumbent": ("rule", {ANALYSIS, ROWS, SETS, BOARD, REPORT}),
    "exclude": ({"arrival": "known only afterwards"}, {ANALYSIS, ROWS, SETS}),
    "preparation": ({"types": {"age": "text"}}, {ANALYSIS, ROWS, SETS, REPORT}),
    "analysis": ({"report_rows": 200}, {ANALYSIS, REPORT}),
    "validation": ({"rare_classes": "stop"}, {ANALYSIS, ROWS}),
    "split": ({"by": "random", "seed": 7}, FROM_ANALYSIS),
    # What it decides is known by the sets that fits are given.
    "monotone": ({"age": "increasing"}, set()),
    "features": ("shop.features:Ratios", set()),
    "search": ([{"algorithm": "linear"}], FROM_FITS),
    "seeds": (5, {FITS, REPORT}),
    "calibrate": ("sigmoid", {FITS, REPORT}),
    "evaluation": ("cross_validation", FROM_FITS),
    "halving": ("off", {FITS}),
    "budget": ({"seconds": 7}, {FITS}),
    "workers": (7, {FITS}),
    # Where fits run decides no result.
    "engine": ({"dask": "local"}, set()),
    "seed": (7, {ANALYSIS} | FROM_FITS),
    "metric": ("accuracy", {ANALYSIS} | FROM_FITS),
    "acceptance": ([{"metric": "log_loss", "at_most": 0.7}], {ANALYSIS} | FROM_FITS),
    "choice": ("smallest_in_tie_group", {BOARD}),
    "ensemble": ("off", {BOARD}),
    "baseline": ("off", {REPORT}),
    "not_worse_than_champion": ("off", {REPORT}),
    "coverage": (0.8, {REPORT}),
    "costs": ({"false_positive": 1, "false_negative": 10}, {BOARD, REPORT}),
    "audit": (["sex"], {REPORT}),
    "export": ({"refit": "none"}, {REPORT}),
    "schedule": ("0 7 * * *", set()),
    "record": ({"purpose": "To call whoever may leave", "review_on": DAY}, set()),
    "approval": ("required", set()),
    "price_per_hour": (0.4, set()),
    "owners": (["team:ml"], set()),
    "tags": ({"tier": "1"}, set()),
    "run_tags": ({"dagster/priority": "1"}, set()),
    "freshness": ({"fail_after": "7 days"}, set()),
    "watch": (
        {"predictions": "p.csv", "labels": "l.csv", "schedule": "0 7 * * *"},
        set(),
    ),
    "lab": ({"explorations": 9}, set()),
    "retention": ({"runs": 50, "days": 180}, set()),
    "publish": ("sql", set()),
    "mlflow": ({"tracking_uri": "http://127.0.0.1:5000"}, set()),
}


@pytest.mark.parametrize("key", ExperimentSpec.model_fields)
def test_a_setting_counts_where_it_may_be_read(key: str):
    """What a stage's fingerprint digests changes with a setting exactly when the stage
    is given it.
    """
    raw: dict[str, Any] = {"name": "visits", "data": "visits.csv", "target": "late"}
    raw |= {"task": "binary", "search": [{"algorithm": "dummy"}], "metric": "log_loss"}
    raw["acceptance"] = [
        {"metric": "log_loss", "at_most": 0.9}
    ]  # without any, the baseline counts
    value, readers = READ_BY[key]
    one, other = map(ExperimentSpec.model_validate, (raw, {**raw, key: value}))
    for stage in {DATA} | FROM_ANALYSIS:
        parts = (spec.part(STAGES[stage].reads) for spec in (one, other))
        given, instead = (part.model_dump(mode="json") for part in parts)
        assert (given != instead) == (stage in readers), stage


def test_a_column_of_weights_and_a_direction_have_one_role():
    """Only features have a direction."""
    (problem,) = told(VALID | {"sample_weight": "w", "monotone": {"w": "increasing"}})
    assert "monotone.w: 'w' is not a feat" in problem
    assert told(VALID | {"sample_weight": "w", "monotone": {"age": "decreasing"}}) == []


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (
            {"export": {"refit": "none"}},
            "export.refit: cross-validation fits one model per fold",
        ),
        (
            {"halving": "on"},
            "halving: cross-validation fits every configuration on all folds",
        ),
        (
            {"evaluation": {"cross_validation": {"repeats": 2}}, "split": BY_TIME},
            "evaluation.cross_validation.repeats: no effect on a split by time",
        ),
    ],
)
def test_what_cross_validation_cannot_do_is_refused(other: dict[str, Any], said: str):
    """With the reason, at the key to change."""
    raw = VALID | {"evaluation": "cross_validation"} | other
    (problem,) = told(raw)
    assert said in problem
    assert told(raw | {"evaluation": "test_set"}) == []


@pytest.mark.parametrize(
    ("written", "folds"),
    [
        ("test_set", None),
        ("cross_validation", (5, 3)),
        ({"cross_validation": {"folds": 10}}, (10, 3)),
    ],
)
def test_an_evaluation_is_a_word_or_its_settings(written: Any, folds: Any):
    """What is dumped is read again."""
    spec = spec_of(VALID | {"evaluation": written})
    again = spec_of(spec.model_dump(mode="json", exclude_unset=True, exclude={"name"}))
    for one in (spec, again):
        found = one.cross_validation
        assert (None if found is None else (found.folds, found.repeats)) == folds


def test_a_part_of_an_experiment_holds_nothing_else():
    """Other settings cannot be read from it, and what was not written stays
    unwritten.
    """
    spec = spec_of(changed("workers", 3))
    part = spec.part(STAGES["leaderboard"].reads)
    assert part.metric_names == spec.metric_names
    for key in ("workers", "data", "not_features"):
        with pytest.raises(AttributeError):
            getattr(part, key)
    keys = {"name", *STAGES["leaderboard"].reads}
    for how in ({"exclude_unset": True}, {}):
        assert part.model_dump(**how) == spec.model_dump(include=keys, **how)


def test_what_people_say_is_text_and_a_day():
    """A day is a date or its text, as YAML holds it; a number would be a moment of
    1970.
    """
    days = [
        spec_of(VALID | {"record": {"review_on": d}})
        for d in (DAY, date.fromisoformat(DAY))
    ]
    assert [day.record.model_dump(mode="json")["review_on"] for day in days] == [
        DAY,
        DAY,
    ]
    wrong = {"purpose": 7, "not_for": "", "review_on": 20270630, "why": "x"}
    assert all(
        f"record.{key}: " in "".join(told(VALID | {"record": wrong})) for key in wrong
    )


def test_no_part_of_a_chain_of_urls_shows_a_secret():
    """Users, passwords and queries are left out wherever they stand."""
    chain = Data(url="zip://a.csv::https://me:secret@host/t.zip?key=secret")
    assert chain.shown_url == "zip://a.csv::https://host/t.zip"


def test_an_unknown_key_is_told_the_likely_one():
    """A misspelt key is named, with the one that was meant and all that are allowed
    there.
    """
    [problem] = told(changed("search.0.drawss", 3))
    assert problem == (
        "defs.yaml:3: search.0.drawss: unknown key 'drawss'; did you mean 'draws'? "
        "allowed: "
        "algorithm, method, draws, seed, hyperparameters, configurations, features, "
        "name, note"
    )


def test_the_allowed_keys_are_those_of_the_chosen_union_member():
    """Below a discriminator only the keys of the chosen kind are listed."""
    [problem] = told(changed("split", {"by": "time", "column": "t", "gapp": "1 day"}))
    assert problem.endswith(
        "unknown key 'gapp'; did you mean 'gap'? "
        "allowed: by, column, group, predicts, gap, unit, id_columns, fractions"
    )


def test_a_path_holds_no_names_that_the_yaml_lacks():
    """Discriminator tags and names of union members do not appear in the path."""
    problems = told(
        changed("split", {"by": "group", "column": "g", "fractions": {"tran": 0.5}})
    )
    problems += told(changed("search.0.hyperparameters.C", {"low": 1, "hihg": 2}))
    assert [problem.split(": ")[1] for problem in problems] == [
        "split.fractions.tran",
        "search.0.hyperparameters.C.high",
        "search.0.hyperparameters.C.hihg",
    ]


def test_every_missing_key_is_asked_for_with_an_example():
    """An empty file is told all that is needed, and what it could look like."""
    assert told({}) == [
        "defs.yaml:1: data: is missing: the table, such as data/customers.csv",
        "defs.yaml:1: target: is missing: the column to predict, such as price",
        "defs.yaml:1: task: is missing: what is predicted, such as binary",
        (
            "defs.yaml:1: search: is missing: the algorithms to try, such as [{algorithm: "
            "lightgbm}]"
        ),
        (
            "defs.yaml:1: metric: is missing: what ranks the configurations, such as "
            "roc_auc"
        ),
    ]


def test_many_problems_fit_on_one_screen():
    """Beyond a dozen, problems are counted."""
    lines = told({**VALID, **{f"key_{number}": 1 for number in range(30)}})
    assert len(lines) == MOST_PROBLEMS + 1
    assert lines[-1] == f"and {30 - MOST_PROBLEMS} more"


@pytest.mark.parametrize("key", ["two\nlines", "", "\x1b[31m"])
def test_a_problem_is_one_line_whatever_the_key(key: str):
    """Keys that would break a line or colour a terminal are shown escaped."""
    [problem] = told(changed("preparation", {"types": {key: "date"}}))
    assert problem.isprintable()
    assert repr(key) in problem


def test_long_values_are_cut():
    """A value of a whole page does not hide the message."""
    [problem] = told(changed("task", "x" * 1000))
    assert len(problem) < 200


def test_settings_from_python_are_explained_without_a_file():
    """The paths of the keys say where, several at once; no table needs to be named."""
    settings = {key: VALID[key] for key in VALID if key != "data"}
    assert spec_from("visits", settings).data is None
    with pytest.raises(InvalidExperiment) as caught:
        spec_from("visits", {**settings, "workers": 0, "sed": 1})
    assert str(caught.value).splitlines() == [
        "settings: workers: 0 should be greater than or equal to 1",
        "settings: sed: unknown key 'sed'; did you mean 'seed'?",
        "  fix: correct these keys",
    ]
