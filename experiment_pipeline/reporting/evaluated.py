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
        name: of what is compared with validation.
        place: the set, as in "the … set".
        by: "… cannot tell it from the best".
        fitted: "configurations were fitted …".
        scores: of which rows and models the scores are, a sentence.
    """

    where: str
    short: str
    name: str
    place: str
    by: str
    fitted: str
    scores: str


_TEST_SET = Evaluated(
    where="on the test set",
    short="on test",
    name="test",
    place="test",
    by="the test set",
    fitted="on the train set and chosen on the test set",
    scores="Test scores are those of the configuration fitted on the train set alone.",
)
_CROSS_VALIDATION = Evaluated(
    where="in cross-validation of the train and test rows",
    short="in cross-validation",
    name="cross-validation",
    place="train and test",
    by="cross-validation",
    fitted="and chosen by cross-validation on the train and test rows together",
    scores=(
        "Test scores are those of cross-validation: of train and test rows, by models that were "
        "fitted on others of them."
    ),
)


def evaluated(evaluation: str | None) -> Evaluated:
    """Return the words for `test_set` (None: of a run that did not say) or `cross_validation`."""
    return _CROSS_VALIDATION if evaluation == "cross_validation" else _TEST_SET
