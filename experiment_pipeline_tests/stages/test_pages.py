"""Leaderboard and validation report as Markdown and HTML: complete, and escaped."""

import re

from experiment_pipeline.orchestration.job import build_experiment
from experiment_pipeline.reporting.document import escape, render
from experiment_pipeline.reporting.outcome import Outcome, Rows
from experiment_pipeline.stages.leaderboard import page as leaderboard_page
from experiment_pipeline.stages.leaderboard.pictures import MOST_ROWS, SearchShown
from experiment_pipeline.stages.search import page as search_page
from experiment_pipeline.stages.search.conclusions import (
    Conclusion,
    SearchCost,
    SearchResults,
)
from experiment_pipeline.stages.search.configurations import (
    Configuration,
    configurations,
)
from experiment_pipeline.stages.validation_report import page as validation_page
from experiment_pipeline.table.features import NamedColumns
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.results import model_result
from experiment_pipeline_tests.stages.leaderboard import board_examples
from experiment_pipeline_tests.stages.leaderboard.board_examples import (
    failure_of,
    result_of,
    search_of,
    spec_of,
    stopped,
)
from experiment_pipeline_tests.stages.leaderboard.search_examples import finished_search
from experiment_pipeline_tests.stages.validation_report.report_examples import report_of

EVIL = "<script>alert(1)</script>"


def shown_of(count: int, noises: list[float], failure: str = "") -> SearchShown:
    """A small search that is really ranked; its last configuration failed for
    a reason.
    """
    spec = spec_of(count)
    failed = [failure_of(configurations(spec)[-1].key, failure)] if failure else []
    return board_examples.shown_of(spec, search_of(spec, noises).rank(*failed))


def test_a_leaderboard_shows_choice_notes_and_rows():
    """The choice and a row per configuration come first; failures may say anything."""
    shown = shown_of(4, [1] * 3, EVIL)
    text = render(leaderboard_page.document(shown, "flights"))
    assert text.index("## Configurations") < text.index("## Caveats")
    assert text.index("| baseline (no features) |") < text.index("| 1 |")
    assert (
        f"Chosen: {escape(shown.declared[shown.board.chosen].in_words)}, with" in text
    )
    assert "| rank | configuration |" in text
    assert EVIL not in text
    page = leaderboard_page.page_html(shown, "flights").decode()
    assert EVIL not in page
    assert 'class="verdict passed"' in page


def test_a_long_leaderboard_is_cut_and_says_so():
    """So many rows, and how many more there are."""
    shown = finished_search(MOST_ROWS + 5)
    text = render(leaderboard_page.document(shown, "flights"))
    assert (
        f"the first {MOST_ROWS:,} of {len(shown.board.rows):,} configurations" in text
    )
    assert text.count("| stopped early |") + text.count("| trained |") < MOST_ROWS
    few = leaderboard_page.document(shown_of(4, [1] * 4), "flights")
    assert "are in the stored table" not in render(few)


def test_a_report_opens_with_the_decision_in_words():
    """Accepted or not, by what, how sure, against what, on how many rows: in this
    order.
    """
    report = report_of()
    said = validation_page.build_document(report).sections[0].blocks[0].text
    score = report.score("roc_auc").interval
    assert said == (
        "Accepted: the one gate passes (better than the baseline). "
        f"lightgbm scores roc_auc {score.estimate:.4f} on 1,500 rows of the validation "
        "set (final hold-out), which were not used to choose the model. The 95 % "
        "interval is "
        f"{score.low:.4f} to {score.high:.4f}. The baseline (no features) scores "
        "0.5000: the model is "
        "significantly better (95 % level)."
    )


# --- what dagster's page shows of a stage without a click ---


COST = SearchCost(30, 41.23456, 0.123456, 0.5, 624_000_000, {"fits": 0.123456})


def plotted(outcome: Outcome) -> list[str]:
    """What Dagster draws over all partitions, or over time: every number."""
    return [
        name
        for name, fact in outcome.facts.items()
        if isinstance(fact, int | float) and not isinstance(fact, bool)
    ]


def board_of(count: int) -> Outcome:
    """The leaderboard of so many configurations as it is shown."""
    shown = shown_of(count, [1 + i / count for i in range(count)])
    return leaderboard_page.outcome(shown, "/report.html")


def test_a_configuration_is_told_in_words_and_few_numbers():
    """Status, algorithm and hyperparameters are texts; what can be compared is a
    number.
    """
    spec = spec_of(2)
    result = result_of(configurations(spec)[0], 0.6912, spec)
    shown = search_page.configuration(Conclusion.trained(result), result, "/model")
    first = ["status", "algorithm", "hyperparameters"]
    assert list(shown.facts)[:3] == first
    told = [shown.facts[name] for name in first]
    assert told == ["trained on all train rows", "lightgbm", "num_leaves 4"]
    compared = [
        "test roc_auc",
        "train roc_auc",
        "share of the train rows",
        "CPU seconds to fit",
    ]
    assert plotted(shown) == compared
    cost = "2.5 s to fit, 3 µs per row to predict, 0.001 MB, 50 boosting rounds"
    assert shown.facts["cost"] == cost
    assert shown.tags == {"status": "trained"}


def test_a_configuration_that_was_stopped_says_where_and_why():
    """Its score on a part of the rows has a name of its own, which no plot mixes with
    the others.
    """
    spec = spec_of(2)
    result = result_of(configurations(spec)[0], 0.6912, spec)
    shown = search_page.configuration(
        stopped(result, "not among 5", 0.4), result, "/model"
    )
    said = "stopped early at 40 % of the train rows"
    assert shown.notes[0].startswith(f"{said}: lightgbm (num_leaves 4), roc_auc 0.6912")
    assert (shown.facts["status"], shown.facts["reason"]) == (said, "not among 5")
    assert plotted(shown) == [
        *(
            "test roc_auc at 40 % of the train rows",
            "share of the train rows",
            "CPU seconds to fit",
        )
    ]
    assert shown.tags == {"status": "stopped_early"}


def test_the_leaderboard_is_a_screen_of_rows_with_the_scores_first():
    """Twenty of however many; that all are on the page is said above."""
    shown = board_of(25)
    table = shown.facts["leaderboard"]
    assert isinstance(table, Rows)
    assert len(table.frame) == 20
    assert list(table.frame)[:3] == ["rank", "roc_auc", "vs best"]
    assert re.fullmatch(r"0\.\d{4} \(0\.\d{4} to .*\)", table.frame["roc_auc"][0])
    assert shown.facts["shown below"] == "20 of 25; the leaderboard's report has all"
    assert list(shown.facts)[:3] == ["score on test", "baseline", "minus baseline"]
    assert str(shown.facts["chosen"]).startswith("lightgbm (num_leaves ")


def test_search_results_name_the_best_that_saw_all_rows():
    """A high score on few rows is none; the traceback of a failure is with the check."""
    declared = [
        Configuration(key, "linear", "onehot", {"C": i}) for i, key in enumerate("abcd")
    ]
    concluded = [
        Conclusion("a", "linear", "stopped early", "", model_result("a", 0.9), 0.25),
        Conclusion.trained(model_result("b", 0.7)),
        Conclusion("c", "linear", "not started", "no time was left"),
        failure_of("d"),
    ]
    found = SearchResults.of(declared, concluded, "roc_auc", {})
    shown = search_page.results(found, COST, declared)
    assert (shown.facts["best on test"], shown.facts["by"]) == (
        "roc_auc 0.7000",
        "linear (C 1)",
    )
    assert (
        shown.facts["configurations"]
        == "1 trained, 1 stopped early, 1 failed, 1 not started"
    )
    assert "**d**\n\n```text\nTraceback …" in shown.checks[0].facts["tracebacks"].text
    assert shown.facts["cost of this run"] == "30 fits, 41 CPU s in 0.12 s"
    assert shown.facts["peak memory"] == "624 MB"


def test_the_decision_is_the_first_that_is_shown():
    """In a word, then the model, its score and the gates; the long text is last."""
    places = {"validation_report": "/report.html"}
    shown = validation_page.outcome(report_of(), "text", places, "linear (C 1)")
    names = list(shown.facts)
    assert names[:4] == [
        "decision",
        "score on validation",
        "baseline",
        "minus baseline",
    ]
    assert shown.facts["decision"] == "accepted"
    assert names.index("gates") < names.index("judgement")
    (check,) = shown.checks
    assert (check.value is None, check.limit is None) == (False, False)


def test_every_check_and_asset_says_what_it_is():
    """A description each, and what an asset is made with."""
    built = build_experiment(NamedColumns(scenario.spec(), scenario.SCHEMA))
    checks = [spec for one in built.assets or () for spec in one.check_specs]
    assert len(checks) >= 11
    assert [spec.name for spec in checks if not spec.description] == []
    assets = [spec for one in built.assets or () for spec in one.specs]
    assert [spec.key for spec in assets if not (spec.description and spec.kinds)] == []
