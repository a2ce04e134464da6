"""Ours runs as a system of TabArena, with a stand-in for their package: it brings ray and
AutoGluon along. `arena.py` says how to run it with theirs.
"""

import importlib
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from experiment_pipeline.statistics.metrics import METRICS

MODULE = "experiment_pipeline_tests.bench.arena"
BUDGET = {"num_cpus": 1, "num_gpus": 0, "memory_limit": 4.0, "time_limit": 2.0}


@pytest.fixture
def arena(monkeypatch):
    """The adapter, whose base class is empty."""
    names = {
        "tabarena": {},
        "tabarena.benchmark": {},
        "tabarena.benchmark.exec_models": {"ExternalSystemModel": object},
        "tabarena.utils": {},
        "tabarena.utils.config_utils": {"SystemConfigGenerator": SimpleNamespace},
    }
    for name, members in names.items():
        module = ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    yield importlib.import_module(MODULE)
    sys.modules.pop(MODULE, None)


def test_a_task_of_theirs_is_fitted_and_predicted_by_its_own_labels(arena):
    """Probabilities have a column per class and the index of the rows, whatever a column
    seems to reveal.
    """
    rng = np.random.default_rng(0)
    shop = rng.integers(0, 40, 200)
    X = pd.DataFrame({"shop": shop, "size": rng.normal(size=200)})
    X.index += 1_000
    y = pd.Series(np.where(X["size"] > 0, "yes", "no"), X.index)
    system = arena.ExperimentPipelineSystem()
    system._fit_system(
        X.copy(),
        y,
        target_name="bought",
        problem_type="binary",
        eval_metric=SimpleNamespace(name="roc_auc"),
        validation_metadata=SimpleNamespace(time_on=None, group_on="shop"),
        random_state=1,
        **BUDGET,
    )
    found = system._predict_proba(X)
    assert list(found.columns) == ["no", "yes"]
    assert found.index.equals(X.index)
    assert roc_auc_score(y == "yes", found["yes"]) > 0.9


def test_the_split_is_the_one_that_the_task_names(arena):
    """Time first; a group beside it is kept."""
    task = SimpleNamespace(time_on="day", group_on="customer")
    assert arena.split_of(task, 0) == {
        "by": "time",
        "column": "day",
        "group": "customer",
    }
    task = SimpleNamespace(time_on=None, group_on="customer")
    assert arena.split_of(task, 3) == {"by": "group", "column": "customer", "seed": 3}
    task = SimpleNamespace(time_on=None, group_on=None)
    assert arena.split_of(task, 3) == {"by": "random", "seed": 3}


def test_every_metric_of_theirs_is_one_of_ours(arena):
    """A wrong name would be an error in each of their jobs."""
    assert set(arena.METRICS.values()) <= set(METRICS)
