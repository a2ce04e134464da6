"""Small tables to analyse, and what a finding's YAML makes of them.

One plain table without findings; a test changes one column of it. Sets are dealt by
position: of ten rows six train, two test, two validate.
"""

from typing import Any

import numpy as np
import pandas as pd
import yaml

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.data_analysis.analysis import DataAnalysis, analyse
from experiment_pipeline.stages.data_analysis.finding import Finding
from experiment_pipeline.stages.data_analysis.findings import TABLE_RULES
from experiment_pipeline.stages.data_analysis.findings.probe import (
    PROBE_RULES,
    run_probe,
)
from experiment_pipeline.stages.data_analysis.subject import Subject
from experiment_pipeline.table.dictionary import dictionary_of
from experiment_pipeline.table.preparation import prepare

ROWS = 400
VALIDATION = np.arange(ROWS) % 10 >= 8


def table(**columns: Any) -> pd.DataFrame:
    """The plain table, 400 rows, with columns replaced or added.

    `x` and `z` are numbers, `colour` is a category, `y` follows `x` with noise.
    """
    rng = np.random.default_rng(7)
    x = rng.normal(size=ROWS)
    plain = {
        "x": x,
        "z": rng.normal(size=ROWS),
        "colour": rng.choice(["red", "green", "blue"], ROWS),
        "y": np.where(x + rng.normal(size=ROWS) > 0, "yes", "no"),
    }
    frame = pd.DataFrame({**plain, **columns})
    return frame.set_axis(pd.RangeIndex(len(frame), name="row_number"))


def numeric(**columns: Any) -> pd.DataFrame:
    """The plain table with a number as its target."""
    frame = table()
    noise = np.random.default_rng(8).normal(size=ROWS)
    return table(**{"y": 3 * frame["x"] + 2 * noise, **columns})


def mapping(**changes: Any) -> dict[str, Any]:
    """What the YAML of an experiment on the plain table says."""
    plain = {
        "name": "plain",
        "data": "table.csv",
        "target": "y",
        "task": "binary",
        "metric": "roc_auc",
        "search": [{"algorithm": "dummy"}],
    }
    return {**plain, **changes}


REGRESSION = {"task": "regression", "metric": "rmse"}
MULTICLASS = {"task": "multiclass", "metric": "log_loss"}


def experiment(**changes: Any) -> ExperimentSpec:
    """The experiment of `mapping`."""
    return ExperimentSpec.model_validate(mapping(**changes))


def sets_of(frame: pd.DataFrame) -> pd.Series:
    """Sets by position."""
    names = np.array(["train"] * 6 + ["test"] * 2 + ["validation"] * 2)
    return pd.Series(names[np.arange(len(frame)) % 10], index=frame.index, dtype="str")


def features_of(frame: pd.DataFrame, spec: ExperimentSpec) -> list[str]:
    """Every column but those that the YAML keeps from models, and datetimes."""
    return [
        column
        for column in frame.columns
        if column not in spec.not_features and frame[column].dtype.kind != "M"
    ]


def rule(code: str) -> Any:
    """The rule of a code."""
    rules = {rule.code: rule for rule in (*TABLE_RULES, *PROBE_RULES)}
    return rules[code]


def subject(frame: pd.DataFrame, dictionary: str = "", **changes: Any) -> Subject:
    """A table under analysis; `dictionary` is the text of its schema.yaml."""
    spec = experiment(**changes)
    features = tuple(features_of(frame, spec))
    known = dictionary_of(dictionary)
    return Subject(frame, sets_of(frame), features, spec, known)


def after(finding: Finding, frame: pd.DataFrame, **changes: Any) -> Subject:
    """The table once the finding's YAML was written into the experiment's."""
    assert finding.yaml is not None
    spec = merged(mapping(**changes), yaml.safe_load(finding.yaml))
    return subject(prepare(frame, experiment(**spec).preparation).frame, **spec)


def analysed(frame: pd.DataFrame, dictionary: str = "", **changes: Any) -> DataAnalysis:
    """The whole analysis of a table."""
    examined = subject(frame, dictionary, **changes)
    return analyse(
        frame,
        examined.sets,
        examined.features,
        examined.spec,
        dictionary=examined.dictionary,
    )


def check(code: str, frame: pd.DataFrame, **changes: Any) -> Finding:
    """What a rule says of a table, one about the probe after running it."""
    examined = subject(frame, **changes)
    if rule(code) in PROBE_RULES:
        return rule(code).check(examined, run_probe(examined, ()))
    return rule(code).check(examined)


def again(finding: Finding, frame: pd.DataFrame, **changes: Any) -> Finding:
    """What the rule says once the finding's YAML was written into the experiment's."""
    return rule(finding.code).check(after(finding, frame, **changes))


def merged(settings: dict[str, Any], fix: dict[str, Any]) -> dict[str, Any]:
    """Settings with a fix written into them; another way to split replaces the old."""
    result = dict(settings)
    for key, value in fix.items():
        old = result.get(key)
        deeper = isinstance(value, dict) and isinstance(old, dict) and key != "split"
        result[key] = merged(old, value) if deeper else value
    return result
