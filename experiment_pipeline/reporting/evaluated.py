"""The rows that a choice rests on, as every page, note and record names them.

In: the name of the evaluation, as the YAML has it. Out: words for sentences.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Evaluated:
    """Where the scores come from by which configurations are compared.

    Attributes:
        where: "with AUC 0.8 …".
        short: the same in a heading.
        by: "… cannot tell it from the best".
    """

    where: str
    short: str
    by: str


_TEST_SET = Evaluated("on the test set", "on test", "the test set")
_CROSS_VALIDATION = Evaluated(
    "in cross-validation of the train and test rows", "in cross-validation", "cross-validation"
)


def evaluated(evaluation: str | None) -> Evaluated:
    """Return the words for `test_set` (None: of a run that did not say) or `cross_validation`."""
    return _CROSS_VALIDATION if evaluation == "cross_validation" else _TEST_SET
