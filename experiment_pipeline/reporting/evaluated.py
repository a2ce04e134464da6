"""The rows that a choice is based on, as every page, note and record names them.

In: the name of the evaluation, as the YAML has it. Out: words for sentences.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Evaluated:
    """The words for the scores that configurations are compared by.

    Attributes:
        where: "with AUC 0.8 …".
        short: the same in a heading.
        name: of the scores, compared with those on validation.
        place: the set, as in "the … set".
        by: "tied with the best by …".
        fitted: "configurations were fitted …".
        scores: which rows and models the scores are of, a sentence.
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
        "Test scores are cross-validated: of train and test rows, predicted by models that were "
        "fitted on the other folds."
    ),
)


def evaluated(evaluation: str | None) -> Evaluated:
    """Return the words for `test_set` (also for None, of an old run) or `cross_validation`."""
    return _CROSS_VALIDATION if evaluation == "cross_validation" else _TEST_SET
