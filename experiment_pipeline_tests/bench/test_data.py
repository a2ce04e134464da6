"""The benchmark of the stages before training measures what it says."""

from experiment_pipeline_tests.bench import data


def test_the_made_up_table_is_the_same_in_every_process():
    """Its shape is as asked, it holds every type, and some rows break its schema."""
    frame = data.wide_table(2_000, 12)
    assert frame.shape == (2_000, 12)
    assert frame.equals(data.wide_table(2_000, 12))
    assert {str(dtype) for dtype in frame.dtypes} == {"str", "float64", "int64", "datetime64[us]"}
    assert "less_than" in data.wide_schema(frame)


def test_validation_is_measured_with_its_memory():
    """Seconds, the peak as a ratio to the table, and the comparison come out as rows."""
    held_before = data.resident_bytes()
    seconds, memory, compared = data.validation(data.wide_table(2_000, 12), held_before)
    assert seconds.value > 0
    assert memory.unit == "x"
    assert memory.value > 0
    assert compared.row().startswith("| profile and comparison with the accepted version, 2,000 x")


def test_limits_hold_for_the_tables_they_are_about():
    """A small table has no limit to reach."""
    frame = data.wide_table(100, 25)
    assert data.goal(data.ANALYSIS_SECONDS, frame) is None
    assert data.Measured("x", 1.25, "s", 2.0).row() == "| x | **1.2 s** | ≤ 2 s |"
