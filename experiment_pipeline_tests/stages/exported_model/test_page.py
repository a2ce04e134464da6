"""The model card: complete as data, harmless as text, and its code runs."""

from dataclasses import replace

import pytest

from experiment_pipeline.prediction.rows import Signature
from experiment_pipeline.reporting.document import Bullets, Code, Document, render
from experiment_pipeline.spec.schema import Meaning
from experiment_pipeline.stages.exported_model.page import build_card
from experiment_pipeline_tests import exported

SIGNATURE = Signature(
    "binary", "late", {"distance": "float64"}, (), ("no", "yes"), "yes", threshold=0.4
)


def card() -> Document:
    """The card of the scenario's model."""
    spec, files = exported.make_spec(), {"model.skops": "it"}
    return build_card(spec, exported.accepted(), SIGNATURE, {"code": "c" * 40}, files)


def blocks(title: str) -> tuple:
    """What stands in the card under a title."""
    return next(section.blocks for section in card().sections if section.title == title)


def test_a_card_says_what_a_reader_needs():
    """Question, data, choice, numbers, gates, limits, loading and origin, in this
    order.
    """
    assert [section.title for section in card().sections] == [
        "Question",
        "Purpose and people",
        "Data",
        "Chosen configuration",
        "Metrics",
        "Acceptance",
        "Limits",
        "How to load it",
        "Provenance",
        "Files",
        "Files that a git commit of the version leaves out",
    ]


def test_the_card_says_what_the_features_mean_and_whom_they_concern():
    """Only where the dictionary knows something."""
    words = {"description": "How far it flies", "unit": "miles", "owner": "operations"}
    meanings = {"distance": Meaning(**words), "age": Meaning(personal=True)}
    plain = exported.accepted()
    told = replace(plain, report=replace(plain.report, meanings=meanings))
    written = [
        render(build_card(exported.make_spec(), model, SIGNATURE, {}, {}))
        for model in (plain, told)
    ]
    row = "| distance | How far it flies, in miles |  | operations |"
    assert [row in text for text in written] == [False, True]
    assert "| age |  | personal |  |" in written[1]


def test_the_card_holds_scores_threshold_looks_limits_and_origin_without_secrets():
    """Each score with interval and baseline; warnings of earlier stages; no
    password.
    """
    table, limits = blocks("Metrics")[0], blocks("Limits")[0]
    assert table.rows[0] == (
        "validation",
        "roc_auc",
        "0.7100",
        "0.6500 to 0.7700",
        "0.5000",
    )
    assert isinstance(limits, Bullets)
    assert limits.items[0] == "The train set holds no winter."
    text = render(card())
    assert "yes from a probability of 0.4 on; the pipeline's own" in text
    assert "looked at 2 times (overlap 100 %)" in text
    assert "c" * 40 in text
    assert "s3cr3t" not in text
    assert "https://example.org/flights.csv" in text


def test_names_from_the_data_are_shown_and_never_interpreted():
    """HTML in names and reasons stays text."""
    text = render(card())
    assert "<b>" not in text
    assert "&lt;b&gt;landing&lt;/b&gt;" in text


@pytest.mark.filterwarnings(
    "ignore:unclosed file:ResourceWarning"
)  # six lines, no seventh
def test_the_six_lines_load_the_model(tmp_path, monkeypatch, capsys):
    """The card's code, run in the version's folder with nothing imported, predicts."""
    package = exported.package()
    (tmp_path / "code").mkdir()
    for name, content in package.files.items():
        (tmp_path / name).write_bytes(content)
    block = blocks("How to load it")[1]
    assert isinstance(block, Code)
    assert len(block.text.splitlines()) == 6
    monkeypatch.chdir(tmp_path)
    exec(block.text, {})
    assert capsys.readouterr().out.startswith("[[")
    assert block.text in package.files["README.md"].decode()
