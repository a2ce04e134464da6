"""What an agent may propose, and the ways in which it may not misuse it."""

import pytest

from experiment_pipeline.errors import InvalidExperiment
from experiment_pipeline.experiment import declared
from experiment_pipeline.experiment.declared import with_schema
from experiment_pipeline.experiment.files import named_columns
from experiment_pipeline.lab import proposals
from experiment_pipeline_tests.lab import laboratories

LINEAR = {"algorithm": "linear"}
COLUMNS = [*laboratories.table().columns]


def _search(**entry: object) -> dict:
    return {"search": [{**LINEAR, **entry}]}


@pytest.fixture
def named(tmp_path, monkeypatch, storage):
    """The experiment of the person, who allows two estimators."""
    monkeypatch.chdir(tmp_path)
    allowed = "modules: [sklearn.linear_model.Lasso, sklearn.ensemble.BaggingRegressor]"
    laboratories.declare(tmp_path, allowed)
    assert storage
    return with_schema(named_columns(tmp_path / "defs" / "made"))


@pytest.mark.parametrize(
    "change",
    [
        {"search": [LINEAR, {"algorithm": "lightgbm", "draws": 9, "method": "random",
                             "hyperparameters": {"num_leaves": {"low": 4, "high": 9}}}]},
        {"search": [{"algorithm": "sklearn.linear_model.Lasso",
                     "hyperparameters": {"alpha": [0.1, 1.0]}, "note": "few columns"}]},
        {"exclude": ["noise"], "ensemble": "off", "choice": "smallest_in_tie_group"},
        {"search": [{"algorithm": "lightgbm"}], "monotone": {"useful": "increasing"}},
        _search(name="kept", note="as good as any seed"),
        {"search": [{"algorithm": "sklearn.ensemble.BaggingRegressor", "hyperparameters": {
            "estimator": "sklearn.linear_model.Lasso(alpha=3)"}}]},
    ],
)  # fmt: skip
def test_searches_features_and_rules_may_be_proposed(named, change):
    """Such changes are what an agent is for; equal ones have one id."""
    changed = proposals.changed(change, named, COLUMNS)
    assert changed.spec.metric == named.spec.metric
    assert changed.spec.split == named.spec.split
    assert proposals.id_of(change, named) == proposals.id_of(dict(change), named)


REFUSED = {
    # the question is a person's
    "metric": {"metric": "mae"},
    "split": {"split": {"by": "random"}},
    # what decides, publishes, spends or describes
    "export": {"export": {"git": {"repository": "/tmp/x"}}},
    "lab": {"lab": {"explorations": 9_999}},
    "data": {"data": "/etc/passwd"},
    "mlflow": {"mlflow": {"tracking_uri": "http://evil.example"}},
    "seed": {"seed": 7},
    "nothing": {},
    # names that lead to code
    "os": {"search": [{"algorithm": "os.system"}]},
    "notebook": {"search": [{"algorithm": "__main__.Mine"}]},
    "function": {"preparation": {"function": "os:system"}},
    "types": {"preparation": {"function": "os:system", "types": {}}},
    "transformer map": {"features": {"transformer": "shutil:rmtree"}},
    "nested": _search(hyperparameters={"estimator": "sklearn.svm.SVR(C=2)"}),
    "nested function": _search(hyperparameters={
        "x": "sklearn.linear_model.Lasso(callback=os.remove)"}),
    "nested seed": _search(hyperparameters={
        "x": "sklearn.linear_model.Lasso(random_state=3)"}),
    # paths, addresses, templates, markup
    "url": _search(hyperparameters={"x": "http://evil.example"}),
    "template": _search(note="{{ env.AWS_SECRET_ACCESS_KEY }}"),
    "template key": _search(hyperparameters={"{{ env.HOME }}": 1}),
    "html": _search(note="<script>alert(1)</script>"),
    "long": _search(note="x" * 81),
    # seeds and sizes
    "seed of draws": _search(seed=7),
    "lightgbm seed": {"search": [{"algorithm": "lightgbm", "hyperparameters": {
        "bagging_seed": 3}}]},
    "grid": {"search": [{"algorithm": "lightgbm", "hyperparameters": {
        name: list(range(40)) for name in ("num_leaves", "max_depth", "max_bin")}}]},
    "draws": {"search": [{"algorithm": "lightgbm", "method": "random", "draws": 100_000,
        "hyperparameters": {"num_leaves": {"low": 4, "high": 99}}}]},
    "large": _search(hyperparameters={"C": list(range(9_000))}),
    "not finite": _search(hyperparameters={"C": float("nan")}),
    "entries": {"search": 3},
    # columns
    "no column": {"exclude": ["nois"]},
    "target column": {"exclude": ["target"]},
}  # fmt: skip


def test_everything_else_is_refused_with_a_reason(named):
    """The error is short, and says what is wrong and what to do instead."""
    for name, change in REFUSED.items():
        with pytest.raises(InvalidExperiment) as refused:
            proposals.changed(change, named, COLUMNS)
        assert refused.value.fix, name
        assert len(str(refused.value)) < 1_000, name


def test_a_wrong_name_gets_a_suggestion(named):
    """Keys, columns and algorithms."""
    for change, word in (
        ({"serch": []}, "'search'"),
        ({"exclude": ["nois"]}, "'noise'"),
        ({"search": [{"algorithm": "lihgtgbm"}]}, "'lightgbm'"),
        (
            {"search": [{"algorithm": "linear", "hyperparameter": {}}]},
            "hyperparameters",
        ),
    ):
        with pytest.raises(InvalidExperiment, match=word):
            proposals.changed(change, named, COLUMNS)


def test_code_of_defs_yaml_is_allowed_only_for_its_own_purpose(named):
    """A person has chosen it for this table, but not to be called in another place; the
    list of the laboratory allows it everywhere.
    """
    bagging = "sklearn.ensemble.BaggingRegressor"
    function = "experiment_pipeline_tests.lab.laboratories:table"
    keys = {
        "search": [LINEAR, {"algorithm": bagging}],
        "preparation": {"function": function},
        "lab": {},
    }
    base = declared.with_keys(named, keys, named.schema_text)
    assert proposals.changed(_search(algorithm=bagging), base, COLUMNS)
    assert proposals.changed({"preparation": {"function": function}}, base, COLUMNS)
    for moved in (
        {"features": {"transformer": function}},
        _search(
            hyperparameters={"x": "experiment_pipeline_tests.lab.laboratories.table()"}
        ),
    ):
        with pytest.raises(InvalidExperiment, match=r"neither built in, nor in"):
            proposals.changed(moved, base, COLUMNS)
