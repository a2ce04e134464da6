"""How numbers read."""

from experiment_pipeline.reporting import numbers
from experiment_pipeline.statistics.interval import Interval


def test_scores_are_shown_with_the_digits_that_matter():
    """Scores, small gains and large errors are all readable."""
    shown = [
        numbers.score(v) for v in (0.69123, 0.00071, 23.456, 12345.6, 0, float("nan"))
    ]
    assert shown == ["0.6912", "0.00071", "23.46", "12,346", "0.0000", "undefined"]
    assert numbers.score(float("-inf")) == "-infinity"


def test_an_interval_is_an_estimate_with_its_bounds():
    """The bounds alone stand in a table, beside the estimate in a sentence."""
    assert numbers.interval(Interval(0.5, 0.4, 0.6)) == "0.5000 (0.4000 to 0.6000)"
    assert numbers.bounds(Interval(0.5, 0.4, 0.6)) == "0.4000 to 0.6000"
    nothing = float("nan")
    assert numbers.interval(Interval(nothing, nothing, nothing)) == "undefined"
    assert (
        numbers.interval(Interval(nothing, 0.4, 0.6)) == "undefined (0.4000 to 0.6000)"
    )


def test_an_estimate_and_its_bounds_have_one_number_of_decimals():
    """In one text and apart; a bound that is far out takes none from the others."""
    large = Interval(-250.28, -1_141, 640.8564)
    assert numbers.difference(large) == "-250.28 (-1,141.00 to 640.86)"
    assert numbers.estimate(large) == "-250.28"
    assert numbers.bounds(large) == "-1,141.00 to 640.86"
    assert numbers.interval(Interval(18_459.3, 15_383, 24_276)) == (
        "18,459 (15,383 to 24,276)"
    )
    assert numbers.interval(Interval(0.7, 0.5, 15_000)) == (
        "0.7000 (0.5000 to 15,000.0000)"
    )
    assert numbers.interval(Interval(0.00071, -0.00002, 0.0101)) == (
        "0.0007 (-0.0000 to 0.0101)"
    )
    unbounded = Interval(2.5, float("-inf"), float("inf"))
    assert numbers.difference(unbounded) == "+2.5000 (-infinity to infinity)"
    assert numbers.spread(18_459, 250.12) == "18,459 ± 250"


def test_a_gap_has_the_decimals_of_the_score_beside_it():
    """Gaps of one column are comparable at a glance; nothing has no sign."""
    near, far = (numbers.gap(gap, beside=0.98) for gap in (-0.000029, -0.0312))
    assert (near, far) == ("0.0000", "-0.0312")
    assert numbers.gap(-12.3, beside=2_345.0) == "-12"


def test_a_level_is_shown_with_two_digits_of_what_it_leaves_out():
    """A level that many looks have raised is not a row of digits."""
    levels = (0.95, 0.975, 0.994444, 0.99997)
    shown = [numbers.confidence(level) for level in levels]
    assert shown == ["95 %", "97.5 %", "99.44 %", "99.997 %"]


def test_shares_counts_and_seconds_read_alike_everywhere():
    """A share is shown in per cent, a count with its plural, seconds without a
    fraction.
    """
    assert [numbers.share(part) for part in (0.95, 0.1234, 0.0003)] == [
        "95 %",
        "12.3 %",
        "0.03 %",
    ]
    assert [numbers.counted(n, "row") for n in (1, 1_234)] == ["1 row", "1,234 rows"]
    assert (numbers.seconds(1_234.4), numbers.probability(0.4)) == ("1,234 s", "0.4")
    measured = [numbers.measured(value) for value in (None, float("nan"), 0.0123, 41.2)]
    assert measured == ["", "", "0.012", "41"]
