"""Every impossible value, and every setting without effect, is refused by name."""

from typing import Any

import pytest

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.registry import STAGES
from experiment_pipeline_tests.spec.spec_scenario import VALID, changed, spec_of, told

SEARCH = "search.0"
PLAIN = {"algorithm": "lightgbm"}
LIST = {"num_leaves": [15, 31]}
CRITERION = {"metric": "roc_auc", "at_least": 0.7}

IMPOSSIBLE: list[tuple[str, Any, str]] = [
    # data
    ("data.url", "", "data.url: is empty"),
    ("data.format", "xlsx", "data.format: 'xlsx' is not allowed; allowed: csv, parquet"),
    ("data.delimiter", ";;", "data.delimiter: ';;' has 2 characters; allowed: 1"),
    ("data.missing_values", "NA", "data.missing_values: 'NA' is not allowed here; write a list"),
    ("data.endpoint_url", "http://localhost", "data.endpoint_url: endpoint_url is for s3:// URLs"),
    ("data.anonymous", True, "data.anonymous: anonymous has no effect on a file URL"),
    ("data", {"url": "x", "format": "parquet", "delimiter": ","}, "data.delimiter: delimiter has"),
    ("data", 7, "data: 7 is not allowed here"),
    # target, task, positive class, exclude
    ("target", 2013, "target: 2013 is a number, not a text; put it in quotes: '2013'"),
    ("target", "", "target: is empty"),
    ("task", "binry", "task: 'binry' is not allowed; did you mean 'binary'?"),
    ("task", "regression", "metric: 'roc_auc' is not a metric of task regression"),
    ("positive_class", ["yes"], "positive_class: ['yes'] is not allowed here"),
    ("exclude", ["arrival"], "exclude: write each excluded column with its reason"),
    ("exclude", {"arrival": ""}, "exclude.arrival: is empty; write the reason"),
    ("exclude", {"arrival": None}, "exclude.arrival: no value is given; write a text"),
    ("exclude", {"late": "leaks"}, "exclude.late: names the target 'late'"),
    ("exclude", {True: "leaks"}, "exclude.true: true is not a text (unquoted yes, no"),
    # the other roles of the target
    ("split.id_columns", ["late"], "split.id_columns: names the target"),
    ("split", {"by": "group", "column": "late"}, "split.column: names the target"),
    ("preparation.calendar", {"late": ["month"]}, "preparation.calendar: names the target"),
    # costs
    ("costs", {"false_positive": 1}, "costs.false_negative: is missing: of a positive row that"),
    (
        "costs",
        {"false_positive": 0, "false_negative": 1},
        "costs.false_positive: 0 is out of range",
    ),
    ("costs", {"false_positive": 1, "false_negative": float("inf")}, "false_negative: inf is not"),
    (
        "costs",
        {"false_positive": True, "false_negative": 1},
        "false_positive: true is not a number",
    ),
    ("costs", {"false_positive": 1, "false_negative": 1, "other": 1}, "costs.other: unknown key"),
    ("costs", 10, "costs: 10 is not allowed here"),
    # validation
    ("validation.drift.warn", 0, "validation.drift.warn: 0 is out of range"),
    ("validation.drift", {"warn": 0.3, "block": 0.2}, "validation.drift.block: 0.2 is below warn"),
    ("validation.drift", {"blok": 0.5}, "did you mean 'block'?"),
    # split
    ("split", None, "split: no value is given"),
    ("split", "random", "split: 'random' is not allowed here"),
    ("split", {"column": "x"}, "split.by: is missing; allowed: random, group, time, column"),
    ("split", {"by": "tme"}, "split.by: 'tme' is not allowed; did you mean 'time'?"),
    ("split", {"by": "group"}, "split.column: is missing: the column whose values stay together"),
    ("split", {"by": "time", "column": "t", "gap": "soon"}, "split.gap: 'soon' is not a duration"),
    (
        "split",
        {"by": "time", "column": "t", "gap": "-1 day"},
        "split.gap: '-1 day' is not a duration",
    ),
    ("preparation.datetime_formats", {"t": "YYYY-MM-DD"}, "'YYYY-MM-DD' is not a strptime format"),
    ("split", {"by": "time", "column": "t", "unit": "0 days"}, "split.unit: the unit is zero"),
    ("split", {"by": "column", "column": "s", "train": ["test"]}, "the values test stand in two"),
    ("split.fractions", {"train": 0.5}, "split.fractions: train (0.5) + test (0.2) + validation"),
    ("split.fractions", {"train": 1.5}, "split.fractions.train: 1.5 is out of range; allowed: abo"),
    ("split.fractions", {"train": "most"}, "split.fractions.train: 'most' is not allowed here"),
    ("split.seed", True, "split.seed: true is not a number"),
    # search
    ("search.0", {}, "search.0.algorithm: is missing"),
    (f"{SEARCH}.algorithm", "ligthgbm", "did you mean 'lightgbm'? allowed: lightgbm"),
    (f"{SEARCH}.draws", None, "search.0: method random needs draws"),
    (f"{SEARCH}.method", "bayes", "search.0.method: 'bayes' is not allowed; allowed: grid, random"),
    (f"{SEARCH}.method", "grid", "search.0.draws: draws has no effect on a grid"),
    ("search.0", {**PLAIN, "seed": 1}, "search.0.seed: seed has no effect on a grid"),
    (f"{SEARCH}.hyperparameters", {"C": 1}, "search.0.method: method random has nothing to draw"),
    (f"{SEARCH}.hyperparameters.C", float("inf"), "search.0.hyperparameters.C: inf is not finite"),
    (f"{SEARCH}.hyperparameters.C", [[1]], "search.0.hyperparameters.C.0: [1] is not allowed"),
    (f"{SEARCH}.hyperparameters.C", {"low": 2, "high": 1}, "C: low (2) is not below high (1)"),
    (f"{SEARCH}.hyperparameters.C", {"low": 0, "high": 1, "scale": "log"}, "has no logarithm"),
    ("search.0", {**PLAIN, "hyperparameters": {"C": {"low": 1, "high": 2}}}, "a grid cannot hold"),
    (
        "search.0",
        {**PLAIN, "hyperparameters": LIST, "configurations": [{"max_depth": 3}]},
        "search.0.hyperparameters.num_leaves: cannot be searched beside explicit configurations",
    ),
    (
        "search.0",
        {**PLAIN, "method": "random", "draws": 2, "configurations": [{"max_depth": 3}]},
        "search.0.method: method random has no effect on explicit configurations",
    ),
    (
        "search.0",
        {**PLAIN, "hyperparameters": {"C": 1}, "configurations": [{"C": 2}]},
        "search.0.configurations.0.C: C also stands in hyperparameters",
    ),
    (
        "search.0",
        {**PLAIN, "configurations": [{"C": 2}, {"C": 2}]},
        "search.0.configurations.1: repeats an earlier configuration",
    ),
    (f"{SEARCH}.features", ["text", "text"], "search.0.features: an encoder is listed twice"),
    # seeds, calibrate
    ("calibrate", True, "calibrate: true is not allowed"),
    # halving, budget
    ("halving", None, "halving: write off, on, or keys and values {fractions: [0.25, 1.0], keep"),
    ("halving", {"fractions": [1.0]}, "halving.fractions: one rung stops no configuration; write"),
    ("halving", {"fractions": [0.5, 0.5, 1]}, "halving.fractions: each rung needs more rows"),
    ("halving", {"fractions": [0.1, 0.5]}, "halving.fractions: the last rung has 0.5 of the rows"),
    # engine
    ("engine", "tls://me:pass@h:8786", "engine: write {dask: local}, or {dask: {address: tls:"),
    (
        "engine.dask",
        "lokal",
        "engine.dask.address: is not the address of a scheduler; write local, or tl",
    ),
    ("engine.dask", "http://h:8786", "engine.dask.address: is not the address of a scheduler"),
    ("engine.dask", "tls://me:pass@h:8786", "engine.dask.address: an address has no user and no"),
    ("engine.dask", "tcp://10.0.0.7:8786", "engine.dask.address: tcp:// to another machine is nei"),
    (
        "engine.dask",
        "tcp://127.0.0.1.example:8786",
        "engine.dask.address: tcp:// to another machin",
    ),
    (
        "engine.dask",
        {"address": "local", "insecure": True},
        "engine.dask.insecure: no effect but on",
    ),
    (
        "engine.dask",
        {"address": "tcp://[::1]:1", "insecure": True},
        "engine.dask.insecure: no effe",
    ),
    (
        "engine.dask",
        {"address": "local", "certificates": {"ca": "a", "certificate": "b", "key": "c"}},
        "engine.dask.certificates: no effect without tls://",
    ),
    (
        "engine.dask",
        {
            "address": "tls://h:1",
            "certificates": {"ca": "a", "certificate": "b", "key": "-----BEGIN"},
        },
        "engine.dask.certificates.key: is not a path; write it into a file",
    ),
    ("engine.dask", ["tls://me:pass@h:8786"], "engine.dask: ['tls://***@h:8786'] is not allowed"),
    ("data", ["s3://b/t?token=pass"], "data: ['s3://b/t?***'] is not allowed here"),
    # evaluation
    ("evaluation", "cv", "evaluation: write test_set, cross_validation, or {cross_validation: {f"),
    ("evaluation", None, "evaluation: write test_set, cross_validation, or {cross_validation: {f"),
    # not_worse_than_champion
    # metric, choice, acceptance
    ("metric", "auc", "metric: 'auc' is not a metric of task binary"),
    ("acceptance", [{"metric": "roc_auc"}], "acceptance.0: give exactly one of at_least"),
    ("acceptance", [{**CRITERION, "at_most": 1}], "acceptance.0: give exactly one of at_least"),
    ("acceptance", [{"metric": "brier", "at_least": 0.1}], "brier is a metric that needs at_most"),
    ("acceptance", [{"metric": "roc_auc", "at_least": 70}], "acceptance.0.at_least: 70 is out of"),
    (
        "acceptance",
        [{"metric": "rmse", "at_most": 1}],
        "acceptance.0.metric: 'rmse' is not a metric",
    ),
    ("acceptance", [CRITERION, CRITERION], "acceptance.1.metric: roc_auc has a limit already"),
    # owners, tags, freshness, price
    ("owners", ["ml"], "owners.0: 'ml' is not an owner; write an email address, or team:name"),
    ("owners", ["team:"], "owners.0: 'team:' is not an owner"),
    ("tags", {"tier 1": "a"}, "tags.tier 1: 'tier 1' is not the name of a tag"),
    ("tags", {"dagster/kind": "a"}, "'dagster/kind' is one of Dagster's own tags"),
    ("tags", {"tier": "a b"}, "tags.tier: 'a b' is not the value of a tag"),
    ("tags", {"tier": 1}, "tags.tier: 1 is a number, not a text; put it in quotes: '1'"),
    ("freshness", {"fail_after": "5 s"}, "'5 s' is too short; Dagster looks once a minute"),
    (
        "freshness",
        {"warn_after": "7 days", "fail_after": "7 days"},
        "freshness.warn_after: '7 days' is not before fail_after (7 days); shorten it",
    ),
    # the rest
    ("schedule", "daily", "schedule: 'daily' is not a cron expression"),
    ("name", "visits", "name: the folder names the experiment (visits); drop this key"),
]


def test_the_scenario_is_valid() -> None:
    """The experiment that the tests change is told nothing."""
    assert told(VALID) == []


@pytest.mark.parametrize(("path", "value", "message"), IMPOSSIBLE)
def test_an_impossible_value_is_refused(path: str, value: Any, message: str) -> None:
    """One impossible value gives one problem, which names the key and what is right."""
    problems = told(changed(path, value))
    assert len(problems) == 1
    assert message in problems[0]


def test_a_positive_class_is_for_binary_tasks_only() -> None:
    """A positive class that no metric would look at is refused."""
    raw = {**changed("positive_class", "yes"), "task": "multiclass", "metric": "log_loss"}
    assert told(raw) == ["defs.yaml:1: positive_class: no effect on task multiclass; drop it"]


@pytest.mark.parametrize("name", ["my-visits", "2visits", "visits 2", "", "v" * 81])
def test_a_name_must_do_for_asset_keys_and_ops(name: str) -> None:
    """The folder's name becomes part of keys and op names, so it is judged like them."""
    from experiment_pipeline.errors import InvalidExperiment
    from experiment_pipeline.spec.experiment import spec_from

    with pytest.raises(InvalidExperiment, match="write a folder name of letters, digits and _"):
        spec_from(name, VALID, lambda _: "defs.yaml:1")


def test_a_url_alone_is_the_data() -> None:
    """`data: path` is short for `data: {url: path}`."""
    assert spec_of(changed("data", "visits.csv")).data.url == "visits.csv"


@pytest.mark.parametrize("value", ["1e-3", 0.001, "1E-3"])
def test_an_exponent_without_a_dot_is_a_number(value: Any) -> None:
    """YAML takes 1e-3 for a text; as a hyperparameter it is the number that was meant."""
    spec = spec_of(changed("search.1.hyperparameters.C", [value, 1.0]))
    assert spec.search[1].hyperparameters["C"] == (0.001, 1.0)


def test_hyperparameters_keep_their_types() -> None:
    """Whole numbers stay whole, texts stay texts, and true stays true."""
    values = {"a": 3, "b": 3.0, "c": "3", "d": True, "e": None, "f": ["sqrt", 0.5]}
    read = spec_of(changed("search.1.hyperparameters", values)).search[1].hyperparameters
    assert {key: repr(value) for key, value in read.items()} == {
        **{key: repr(value) for key, value in values.items()},
        "f": "('sqrt', 0.5)",
    }


@pytest.mark.parametrize(
    ("written", "fractions"),
    [
        ({}, (1 / 16, 1 / 4, 1.0)),
        ({"halving": True}, (1 / 16, 1 / 4, 1.0)),
        ({"halving": "on"}, (1 / 16, 1 / 4, 1.0)),
        ({"halving": {"fractions": [0.5, 1]}}, (0.5, 1.0)),
        ({"halving": False}, None),
        ({"halving": "off"}, None),
    ],
)
def test_halving_is_on_unless_one_word_says_off(written: Any, fractions: Any) -> None:
    """YAML reads an unquoted off as false; both mean the same."""
    halving = spec_of({**VALID, **written}).halving
    assert (halving and halving.fractions) == fractions


def test_what_is_off_is_written_as_off() -> None:
    """An exported experiment.yaml can be read again."""
    spec = spec_of({**VALID, "halving": False})
    written = spec.model_dump(mode="json", exclude_unset=True, exclude={"name"})
    assert written["halving"] == "off"
    assert spec_of(written) == spec


def test_a_spec_is_frozen() -> None:
    """Nothing can change a spec after it was judged."""
    with pytest.raises(ValueError, match="frozen"):
        spec_of(VALID).target = "other"  # type: ignore[misc]


def test_what_never_reaches_a_model() -> None:
    """Target, excluded, id and split columns are no features."""
    split = {"by": "time", "column": "departure", "id_columns": ["visit"]}
    spec = spec_of(changed("split", split))
    assert spec.not_features == {"late", "arrival", "visit", "departure"}


def test_the_ranking_metric_comes_first() -> None:
    """Metrics of the gates are computed too, each once, after the one that ranks."""
    gates = [{"metric": "brier", "at_most": 0.2}, CRITERION]
    assert spec_of(changed("acceptance", gates)).metric_names == ("roc_auc", "brier")


DATA, ANALYSIS, ROWS, SETS = "raw_data", "data_analysis", "validated_data", "split_sets"
FITS, BOARD, REPORT = "search", "leaderboard", "validation_report"
FROM_FITS = {FITS, BOARD, REPORT}
FROM_ANALYSIS = {ANALYSIS, ROWS, SETS} | FROM_FITS
# Key → another value, and the stages that are given it; what is exported depends on all.
READ_BY: dict[str, tuple[Any, set[str]]] = {
    "name": ("other", {DATA} | FROM_ANALYSIS),
    "data": ("other.csv", {DATA}),
    "target": ("other", FROM_ANALYSIS),
    "task": ("multiclass", FROM_ANALYSIS),
    "positive_class": ("yes", FROM_ANALYSIS),
    "sample_weight": ("weight", FROM_ANALYSIS),
    "exclude": ({"arrival": "known only afterwards"}, {ANALYSIS, ROWS, SETS}),
    "preparation": ({"types": {"age": "text"}}, {ANALYSIS, ROWS, SETS, REPORT}),
    "analysis": ({"report_rows": 200}, {ANALYSIS}),
    "validation": ({"rare_classes": "stop"}, {ANALYSIS, ROWS}),
    "split": ({"by": "random", "seed": 7}, FROM_ANALYSIS),
    # What it decides is known by the sets that fits are given.
    "monotone": ({"age": "increasing"}, set()),
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
    "not_worse_than_champion": ("off", {REPORT}),
    "costs": ({"false_positive": 1, "false_negative": 10}, {REPORT}),
    "export": ({"refit": "none"}, {REPORT}),
    "schedule": ("0 7 * * *", set()),
    "approval": ("required", set()),
    "price_per_hour": (0.4, set()),
    "owners": (["team:ml"], set()),
    "tags": ({"tier": "1"}, set()),
    "freshness": ({"fail_after": "7 days"}, set()),
    "mlflow": ({"tracking_uri": "http://127.0.0.1:5000"}, set()),
}


@pytest.mark.parametrize("key", ExperimentSpec.model_fields)
def test_a_setting_counts_where_it_may_be_read(key: str) -> None:
    """What a stage's fingerprint digests changes with a setting exactly when the stage is given it."""
    raw: dict[str, Any] = {
        "name": "visits",
        "data": "visits.csv",
        "target": "late",
        "task": "binary",
    }
    raw |= {"search": [{"algorithm": "dummy"}], "metric": "log_loss"}
    value, readers = READ_BY[key]
    one, other = map(ExperimentSpec.model_validate, (raw, {**raw, key: value}))
    for stage in {DATA} | FROM_ANALYSIS:
        given, instead = (
            spec.part(STAGES[stage].reads).model_dump(mode="json") for spec in (one, other)
        )
        assert (given != instead) == (stage in readers), stage


def test_a_column_of_weights_and_a_direction_have_one_role() -> None:
    """No target, id or excluded column weighs rows, and only features of one number have a direction."""
    raw = changed("exclude", {"arrival": "known only afterwards"})
    for wrong, said in (
        ({"sample_weight": "late"}, "sample_weight: names the target 'late'"),
        ({"sample_weight": "arrival"}, "exclude.arrival: names the column of the weights"),
        ({"monotone": {"arrival": "increasing"}}, "monotone.arrival: 'arrival' is not a feature"),
        ({"monotone": {"age": "up"}}, "monotone.age: "),
        (
            {"sample_weight": "w", "monotone": {"w": "increasing"}},
            "monotone.w: 'w' is not a feature",
        ),
        (
            {"monotone": {"age": "increasing"}, "task": "multiclass", "metric": "log_loss"},
            "monotone: several classes have no direction",
        ),
    ):
        (problem,) = told(raw | wrong)
        assert said in problem
    assert told(raw | {"sample_weight": "w", "monotone": {"age": "decreasing"}}) == []


@pytest.mark.parametrize(("task", "metric"), [("multiclass", "accuracy"), ("regression", "rmse")])
def test_costs_are_of_binary_decisions(task: str, metric: str) -> None:
    """Elsewhere no threshold decides, and the key says so with its line."""
    costs = {"false_positive": 1, "false_negative": 10}
    raw = changed("costs", costs) | {"task": task, "metric": metric}
    (problem,) = told(raw)
    assert problem.startswith(f"defs.yaml:1: costs: no threshold decides a task {task}")
    assert problem.endswith("drop it")
    assert told(changed("costs", costs)) == []


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"export": {"refit": "none"}}, "export.refit: cross-validation leaves a model of each"),
        ({"halving": "on"}, "halving: cross-validation fits every configuration on all folds"),
        (
            {
                "evaluation": {"cross_validation": {"repeats": 2}},
                "split": {"by": "time", "column": "departure"},
            },
            "evaluation.cross_validation.repeats: no effect on a split by time",
        ),
    ],
)
def test_what_cross_validation_cannot_do_is_refused(other: dict[str, Any], said: str) -> None:
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
def test_an_evaluation_is_a_word_or_its_settings(written: Any, folds: Any) -> None:
    """What is dumped is read again."""
    spec = spec_of(VALID | {"evaluation": written})
    again = spec_of(spec.model_dump(mode="json", exclude_unset=True, exclude={"name"}))
    for one in (spec, again):
        found = one.cross_validation
        assert (None if found is None else (found.folds, found.repeats)) == folds


def test_a_part_of_an_experiment_holds_nothing_else() -> None:
    """Other settings cannot be read from it, and what was not written stays unwritten."""
    spec = spec_of(changed("workers", 3))
    part = spec.part(STAGES["leaderboard"].reads)
    assert part.metric_names == spec.metric_names
    for key in ("workers", "data", "not_features"):
        with pytest.raises(AttributeError):
            getattr(part, key)
    keys = {"name", *STAGES["leaderboard"].reads}
    for unset in (True, False):
        assert part.model_dump(exclude_unset=unset) == spec.model_dump(
            include=keys, exclude_unset=unset
        )


@pytest.mark.parametrize(
    ("written", "tolerance"), [({}, 0.0), (True, 0.0), ({"tolerance": 0.02}, 0.02), (False, None)]
)
def test_a_challenger_is_held_against_the_champion_unless_it_is_off(
    written: object, tolerance: float | None
) -> None:
    """On by default, with no loss allowed; what was written is what is dumped and read again."""
    spec = spec_of(VALID if written == {} else changed("not_worse_than_champion", written))
    again = spec_of(spec.model_dump(mode="json", exclude_unset=True, exclude={"name"}))
    for one in (spec, again):
        rule = one.not_worse_than_champion
        assert (None if rule is None else rule.tolerance) == tolerance
