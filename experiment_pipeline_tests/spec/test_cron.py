"""Cron expressions are judged as Dagster's scheduler judges them, only in words."""

import pytest
from dagster._utils.schedules import is_valid_cron_string
from hypothesis import given
from hypothesis import strategies as st

from experiment_pipeline.spec.operation import check_cron

_NUMBER = st.integers(0, 65).map(str)
_PART = st.one_of(
    st.just("*"),
    _NUMBER,
    st.tuples(_NUMBER, _NUMBER).map("-".join),
    st.integers(1, 30).map(lambda step: f"*/{step}"),
    st.tuples(_NUMBER, _NUMBER, st.integers(1, 9)).map(lambda p: f"{p[0]}-{p[1]}/{p[2]}"),
    st.sampled_from(["mon", "JAN", "mon-fri", "x", "", "-1", "*/0"]),
)
_FIELD = st.lists(_PART, min_size=1, max_size=2).map(",".join)


@pytest.mark.parametrize(
    "expression",
    ["0 6 * * *", "*/15 0-6 1,15 * mon-fri", "5 4 * jan,JUL 0", "0 0 29 2 *", "0 0 1,31 2 1"],
)
def test_a_usual_expression_passes(expression: str) -> None:
    """Steps, ranges, lists and names are understood."""
    check_cron(expression)
    assert is_valid_cron_string(expression)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("daily", "write five fields"),
        ("0 6 * *", "write five fields"),
        ("0 6 * * * *", "write five fields"),
        ("60 6 * * *", "'60' is not a minute of a cron expression; allowed: \\* or 0 to 59"),
        ("0 6 * 13 *", "'13' is not a month .* or jan to dec"),
        ("0 6 * * fry", "'fry' is not a day of week"),
        ("0 6-5 * * *", "'6-5' is not a hour"),
        ("*/0 6 * * *", "'\\*/0' is not a minute"),
        ("0 6 30 2 *", "names a day that never comes"),
    ],
)
def test_a_wrong_expression_is_told_what_is_allowed(expression: str, message: str) -> None:
    """The message names the field and its values."""
    with pytest.raises(ValueError, match=message):
        check_cron(expression)


@given(st.lists(_FIELD, min_size=5, max_size=5).map(" ".join))
def test_what_passes_is_valid_for_the_scheduler(expression: str) -> None:
    """No expression passes here that Dagster would refuse when definitions load."""
    try:
        check_cron(expression)
    except ValueError:
        return
    assert is_valid_cron_string(expression)
