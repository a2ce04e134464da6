"""search_results accounts for every declared configuration; progress tells the truth."""

import pytest

from experiment_pipeline.core.configurations import Configuration
from experiment_pipeline.core.search_results import Progress, failures, search_results
from experiment_pipeline.core.trained_model import FailedConfiguration
from experiment_pipeline_tests.results import model_result

CONFIGURATIONS = tuple(Configuration(key, "linear", "onehot", {}) for key in ("a", "b", "c"))


@pytest.fixture
def table():
    stored = {"b": model_result("b", 0.7)}
    failed = [FailedConfiguration("c", "f-c", "ValueError", "no such solver", "Traceback …")]
    return search_results(CONFIGURATIONS, stored, failed)


def test_every_declared_configuration_has_a_row(table):
    """Declared = trained + failed + not started, in the order of the YAML."""
    assert dict(zip(table["key"], table["status"], strict=True)) == {
        "a": "not started",
        "b": "trained",
        "c": "failed",
    }


def test_a_failed_configuration_says_why(table):
    """The reason of a failure stands in its row."""
    assert table.set_index("key").loc["c", "reason"] == "no such solver"


def test_failures_come_back_from_the_table(table):
    """What the leaderboard lists last is what the search reported."""
    (failure,) = failures(table)
    assert (failure.key, failure.error_type, failure.reason) == (
        "c",
        "ValueError",
        "no such solver",
    )


def test_a_score_is_missing_where_nothing_was_trained(table):
    """A configuration without a model has no score, not a zero."""
    assert table.set_index("key")["test_score"].isna().to_dict() == {
        "a": True,
        "b": False,
        "c": True,
    }


def test_progress_names_the_best_so_far_in_the_metric_s_direction():
    """Of two log losses the smaller is the best so far."""
    progress = Progress(total=3, reused=0, metric="log_loss")
    progress.add(model_result("a", 0.4))
    progress.add(model_result("b", 0.5))
    assert progress.line(10.0) == "2 / 3 done, best log_loss 0.4000 (a), about 5 s left"


def test_progress_counts_a_failure_as_done():
    """A failed configuration leaves nothing to wait for."""
    progress = Progress(total=1, reused=0, metric="log_loss")
    progress.add(None)
    assert progress.line(1.0) == "1 / 1 done"
