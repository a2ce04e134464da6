from experiment_pipeline_tests.stages.data_analysis.tables import ROWS, after, rule, subject, table

check = rule("high_cardinality").check


def test_many_categories_are_a_note() -> None:
    """150 distinct texts pass the default of a hundred; excluding removes the finding."""
    frame = table(street=[f"street {i % 150}" for i in range(ROWS)])
    finding = check(subject(frame))
    assert (finding.outcome, finding.columns, finding.number) == ("found", ("street",), 150)
    assert check(after(finding, frame)).outcome == "not_found"


def test_ids_and_dates_are_other_findings() -> None:
    """What is almost unique, or a number in disguise, is not listed again."""
    frame = table(key=[f"k{i}" for i in range(ROWS)], price=[f"{i % 150}.50" for i in range(ROWS)])
    assert check(subject(frame)).outcome == "not_found"


def test_numbers_alone_are_not_applicable() -> None:
    """Numbers have no categories."""
    assert check(subject(table().drop(columns="colour"))).outcome == "not_applicable"
