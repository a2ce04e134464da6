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


def test_metrics_come_with_interval_and_baseline() -> None:
    """No estimate stands alone."""
    table = blocks("Metrics")[0]
    assert isinstance(table, TableBlock)
    assert table.rows[0] == ("validation", "roc_auc", "0.7100", "0.6500 to 0.7700", "0.5000")


def test_the_threshold_is_told_with_the_class_it_decides() -> None:
    """A binary card says from which probability on the positive class is predicted."""
    text = document.render(card())
    assert "yes is predicted from a probability of 0.4 on" in text
    assert "probability of" not in document.render(card(threshold=None))


def test_a_look_more_is_a_look_told() -> None:
    """The number of looks at the validation rows stands beside the metrics."""
    assert "looked at 2 times (overlap 100 %)" in document.render(card())


def test_limits_of_the_stages_before_are_kept() -> None:
    """What earlier stages warned of stands first among the limits."""
    bullets = blocks("Limits")[0]
    assert isinstance(bullets, Bullets)
    assert bullets.items[0] == "The train set holds no winter."


def test_uncommitted_code_is_called_so() -> None:
    """The commit alone would claim too much."""
    assert f"{'c' * 40}, with uncommitted changes" in document.render(card())


def test_the_cards_url_holds_no_secret() -> None:
    """User and password of the data's URL are left out."""
    text = document.render(card())
    assert "s3cr3t" not in text
    assert "https://example.org/flights.csv" in text


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


def test_every_row_is_as_long_as_its_header() -> None:
    """Tables of the card are rectangular."""
    for section in card().sections:
        for block in section.blocks:
            if isinstance(block, TableBlock):
                assert {len(row) for row in block.rows} <= {len(block.header)}


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
