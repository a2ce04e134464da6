"""A model leaves this process only when a fresh one predicts the same, bit for bit."""

import importlib
from dataclasses import replace

import pytest

from experiment_pipeline.errors import PredictionsChanged
from experiment_pipeline.stages.exported_model.reload_check import check_in_fresh_process
from experiment_pipeline_tests import exported


@pytest.mark.parametrize(
    ("algorithm", "task"),
    # Means of members that have their classes in different orders, or have none.
    [("lightgbm+random_forest", "regression"), ("linear+catboost+xgboost", "multiclass")],
)
def test_a_real_model_passes_the_fresh_process(algorithm: str, task: str) -> None:
    """A mean of pipelines of this project loads where there is neither it nor Dagster."""
    check_in_fresh_process(exported.trained_package(algorithm, task))


def test_a_model_that_needs_this_package_is_refused() -> None:
    """Loading must not import this project: who receives the model does not have it."""
    needy = exported.package()
    script = needy.files["verify.py"] + b"\nimport experiment_pipeline\n"
    changed = replace(needy, files={**needy.files, "verify.py": script})
    with pytest.raises(PredictionsChanged, match="needs experiment_pipeline to load"):
        check_in_fresh_process(changed)


def test_a_users_own_estimator_is_found_where_it_is(tmp_path, monkeypatch) -> None:
    """An estimator from a folder on the path loads in the fresh process too."""
    (tmp_path / "own_estimators_of_a_user.py").write_text(
        "from sklearn.linear_model import LogisticRegression\n\n\n"
        "class Own(LogisticRegression):\n    '''Its own.'''\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    own = importlib.import_module("own_estimators_of_a_user")
    package = exported.package(exported.fitted(model=own.Own()))
    assert package.own_packages == ("own_estimators_of_a_user",)
    check_in_fresh_process(package)
