"""Findings as a user would write them, and things that are none."""

from types import MappingProxyType

from experiment_pipeline import ColumnRule, Finding, Threshold


class EvenNumbers(ColumnRule):
    """Number features of which many values are even."""

    code = "even_numbers"
    title = "Even numbers"
    advice = "Ask who rounds them."
    threshold = Threshold(0.9, 0, 1, "share of even values, found from it")
    said, each = "of even numbers", "{number:.0%}"

    def measure(self, subject):
        """The share of the rows."""
        return {c: float((subject.frame[c] % 2 == 0).mean()) for c in subject.numbers}


class Nothing:
    """Satisfies the protocol, and says nothing."""

    code = "nothing"
    thresholds = MappingProxyType({})

    def check(self, subject) -> Finding | None:
        """No finding."""
        return None


class OtherCode(EvenNumbers):
    """Takes a code that there is already."""

    code = "outliers"


even_numbers, nothing, outliers_again = EvenNumbers(), Nothing(), OtherCode()
no_rule = object()
