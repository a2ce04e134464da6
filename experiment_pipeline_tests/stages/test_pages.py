"""Leaderboard and validation report as Markdown and HTML: complete, and escaped."""

from experiment_pipeline.reporting.document import escape, render
from experiment_pipeline.stages.leaderboard import page as leaderboard_page
from experiment_pipeline.stages.leaderboard.pictures import MOST_ROWS, SearchShown
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.validation_report import page as validation_page
from experiment_pipeline_tests.stages.leaderboard.board_examples import (
    failure_of,
    search_of,
    spec_of,
)
from experiment_pipeline_tests.stages.leaderboard.search_examples import finished_search
from experiment_pipeline_tests.stages.validation_report.report_examples import report_of

EVIL = "<script>alert(1)</script>"


def shown_of(count: int, noises: list[float], failure: str = "") -> SearchShown:
    """A small search that is really ranked; its last configuration failed for a reason."""
    spec = spec_of(count)
    declared = {one.key: one for one in configurations(spec)}
    failed = [failure_of(list(declared)[-1], failure)] if failure else []
    board = search_of(spec, noises).rank(*failed)
    return SearchShown(board, declared, {})


def test_a_leaderboard_shows_choice_notes_and_rows() -> None:
    """The choice comes first, then a row per configuration; failures may say anything."""
    shown = shown_of(4, [1] * 3, EVIL)
    text = render(leaderboard_page.document(shown, "flights"))
    assert text.index("## Choice") < text.index("## Configurations") < text.index("## Caveats")
    assert f"Chosen: {escape(shown.declared[shown.board.chosen].in_words)}, with" in text
    assert "| rank | configuration |" in text
    assert EVIL not in text
    page = leaderboard_page.files(shown, "flights")[leaderboard_page.PAGE].decode()
    assert EVIL not in page
    assert 'class="verdict passed"' in page


def test_a_long_leaderboard_is_cut_and_says_so() -> None:
    """So many rows, and how many more there are."""
    shown = finished_search(MOST_ROWS + 5)
    document = leaderboard_page.document(shown, "flights")
    text = render(document)
    assert f"the first {MOST_ROWS:,} of {len(shown.board.rows):,} configurations" in text
    assert text.count("| stopped early |") + text.count("| trained |") < MOST_ROWS
    assert "are in the stored table" not in render(
        leaderboard_page.document(shown_of(4, [1] * 4), "flights")
    )


def test_a_report_opens_with_the_decision_in_words() -> None:
    """Accepted or not, by what, how sure, against what, on how many rows: in this order."""
    report = report_of()
    said = validation_page.build_document(report).sections[0].blocks[0].text
    score = report.score("roc_auc").interval
    assert said == (
        "Accepted: the one gate passes (better than the baseline). "
        f"lightgbm scores roc_auc {score.estimate:.4f} on 1,500 rows of the validation "
        "set (final hold-out), which were not used to choose the model. The 95 % interval is "
        f"{score.low:.4f} to {score.high:.4f}. The baseline (no features) scores 0.5000: the model is "
        "significantly better (95 % level)."
    )
