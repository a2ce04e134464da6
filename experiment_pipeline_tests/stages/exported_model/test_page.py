"""The model card: complete as data, harmless as text, and its code runs."""

import subprocess
import sys

from experiment_pipeline.prediction.signature import Signature
from experiment_pipeline.reporting import document
from experiment_pipeline.reporting.document import (
    Bullets,
    Code,
    Document,
    Paragraph,
    Section,
    TableBlock,
)
from experiment_pipeline.stages.exported_model import page as model_card
from experiment_pipeline_tests import exported

SIGNATURE = Signature(
    "binary", "late", {"distance": "float64"}, (), ("no", "yes"), "yes", threshold=0.4
)


def card(**changes) -> Document:
    """The card of the scenario's model, with other facts."""
    return model_card.build_card(exported.facts(**changes), SIGNATURE, [("model.skops", "it")])


def blocks(title: str) -> tuple:
    """What stands in the card under a title."""
    return next(section.blocks for section in card().sections if section.title == title)


def test_a_card_says_what_a_reader_needs() -> None:
    """Question, data, choice, numbers, gates, limits, loading and origin, in this order."""
    assert [section.title for section in card().sections] == [
        "Question",
        "Data",
        "Chosen configuration",
        "Metrics",
        "Acceptance",
        "Limits",
        "How to load it",
        "Provenance",
        "Files",
    ]


def test_the_card_holds_scores_looks_limits_and_origin_without_secrets() -> None:
    """Each score with interval and baseline; warnings of earlier stages; uncommitted code; no password."""
    table, limits = blocks("Metrics")[0], blocks("Limits")[0]
    assert table.rows[0] == ("validation", "roc_auc", "0.7100", "0.6500 to 0.7700", "0.5000")
    assert isinstance(limits, Bullets)
    assert limits.items[0] == "The train set holds no winter."
    text = document.render(card())
    assert "looked at 2 times (overlap 100 %)" in text
    assert f"{'c' * 40}, with uncommitted changes" in text
    assert "s3cr3t" not in text
    assert "https://example.org/flights.csv" in text


def test_the_threshold_is_told_with_the_class_it_decides() -> None:
    """A binary card says from which probability on the positive class is predicted."""
    text = document.render(card())
    assert "yes is predicted from a probability of 0.4 on" in text
    assert "probability of" not in document.render(card(threshold=None))


def test_names_from_the_data_are_shown_and_never_interpreted() -> None:
    """HTML, tables and emphasis in names and reasons stay text."""
    text = document.render(card())
    assert "<b>" not in text
    assert "&lt;b&gt;landing&lt;/b&gt;" in text
    awkward = TableBlock(("a|b",), (("x|y\n## *z*",),))
    shown = document.render(Document("<script>", (Section("s", (awkward, Paragraph("_a_ b_c"))),)))
    assert "<script>" not in shown
    assert "| x\\|y ## \\*z\\* |" in shown
    assert "\\_a\\_ b_c" in shown
    assert document.escape("# d\n- e") == "\\# d - e"


def test_the_six_lines_load_the_model(tmp_path) -> None:
    """The card's code, run in the version's folder by a fresh process, predicts."""
    package = exported.package()
    for name, content in package.files.items():
        (tmp_path / name).write_bytes(content)
    block = blocks("How to load it")[1]
    assert isinstance(block, Code)
    assert len(block.text.splitlines()) == 6
    done = subprocess.run(
        [sys.executable, "-I", "-c", block.text], cwd=tmp_path, capture_output=True, check=True
    )
    assert done.stdout.startswith(b"[[")
    assert block.text in package.files["README.md"].decode()
