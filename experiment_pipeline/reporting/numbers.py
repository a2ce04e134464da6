"""Numbers and names as text: scores, intervals, counts, shares, times, lists of names.

Texts are rounded; stored tables and results keep all digits.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from experiment_pipeline.statistics.interval import Interval

_LONGEST_NAME = 60
# The modules of a class that is called, as in `sklearn.svm.SVC(C=1)`.
_MODULE = re.compile(r"\b(?:\w+\.)+(?=\w+\()")
CONDITION = "condition: "  # starts each condition in the text of a decision


def score(value: float) -> str:
    """Return a score for people: `0.6912`, `23.46`, `12,346`, `undefined`."""
    return _written(value, _layout(value))


def estimate(estimated: Interval) -> str:
    """The estimate alone, with as many decimals as its bounds."""
    return _written(estimated.estimate, _layout_of(estimated))


def bounds(estimated: Interval) -> str:
    """`0.6803 to 0.7021`, with as many decimals as the estimate."""
    layout = _layout_of(estimated)
    return f"{_written(estimated.low, layout)} to {_written(estimated.high, layout)}"


def spread(mean: float, deviation: float) -> str:
    """Return a mean and a standard deviation: `0.8123 ± 0.0041`."""
    layout = _layout(mean, deviation)
    return f"{_written(mean, layout)} ± {_written(deviation, layout)}"


def interval(estimated: Interval) -> str:
    """`0.6912 (0.6803 to 0.7021)`; without bounds the estimate, or `undefined`."""
    if not any(map(math.isfinite, (estimated.estimate, estimated.low, estimated.high))):
        return "undefined"
    if math.isnan(estimated.low) or math.isnan(estimated.high):
        return score(estimated.estimate)
    return f"{estimate(estimated)} ({bounds(estimated)})"


def difference(estimated: Interval) -> str:
    """`+0.0123 (-0.0021 to 0.0267)`: a difference of scores."""
    sign = "+" if estimated.estimate > 0 else ""
    return sign + interval(estimated)


def gap(difference: float, beside: float) -> str:
    """`-0.0012`: a difference with as many decimals as the score beside it."""
    text = _written(difference, _layout(beside))
    is_zero = not text.strip("-0.")
    return text.removeprefix("-") if is_zero else text


def _layout_of(estimated: Interval) -> str:
    return _layout(estimated.estimate, estimated.low, estimated.high)


def _layout(*values: float) -> str:
    """Return the format of numbers that stand together, with one number of decimals.

    The middle one decides: a bound that is far out takes no decimals from the others.
    """
    sizes = sorted(abs(value) for value in values if math.isfinite(value))
    if not sizes:
        return ""
    if 0 < sizes[-1] < 0.0001:
        return ".1e"
    if 0 < sizes[-1] < 0.001:
        return ".5f"
    middle = sizes[len(sizes) // 2]
    decimals = 4 if middle < 10 else 2 if middle < 1_000 else 0
    return f",.{decimals}f"


def _written(value: float, layout: str) -> str:
    if math.isnan(value):
        return "undefined"
    if math.isinf(value):
        return "infinity" if value > 0 else "-infinity"
    return format(value, layout)


def interval_from(
    estimate: float | None, low: float | None, high: float | None
) -> Interval:
    """Return an estimate with its bounds as recorded; None becomes nan."""
    return Interval(_or_nan(estimate), _or_nan(low), _or_nan(high))


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def as_known(estimate: float | None, low: float | None, high: float | None) -> str:
    """A recorded score with its interval, as `interval` writes it."""
    return interval(interval_from(estimate, low, high))


def moment(when: datetime | None) -> str:
    """`2026-02-03 06:00`, UTC; empty if unknown."""
    return "" if when is None else f"{when:%Y-%m-%d %H:%M}"


def counted(number: int, what: str, several: str | None = None) -> str:
    """`1 column`, `12 columns`; `several`: the plural, if it has no s."""
    return f"{number:,} {what if number == 1 else several or what + 's'}"


def tied(group: int) -> str:
    """Return how many configurations are tied with the best; `group` includes it."""
    if group <= 1:
        return "No other configuration is statistically tied with the best"
    configurations = counted(group - 1, "other configuration")
    verb = "is" if group == 2 else "are"
    return f"{configurations} {verb} statistically tied with the best"


def share(part: float, digits: int = 3) -> str:
    """`12.3 %` of a share in [0, 1]."""
    return f"{100 * part:.{digits}g} %"


def confidence(level: float) -> str:
    """`95 %`, `97.5 %`, `99.44 %`: a confidence level, with two digits of its rest."""
    left_out = 100 * (1 - level)
    return f"{100 - float(f'{left_out:.2g}'):.10g} %"


def probability(value: float) -> str:
    """`0.4`, `0.3172`."""
    return f"{value:.4g}"


def seconds(value: float) -> str:
    """`41 s`, `1,234 s`."""
    return f"{value:,.0f} s"


def measured(value: float | None) -> str:
    """`0`, `0.012`, `3.4`, `41`, `1,234`: two digits; empty for None and nan."""
    if value is None or math.isnan(value):
        return ""
    return f"{value:,.0f}" if abs(value) >= 10 else f"{value:.2g}"


def megabytes(size: float) -> str:
    """`0.12 MB`, `624 MB` for a number of bytes."""
    return f"{measured(size / 1e6)} MB"


def rounded(value: float) -> float:
    """Return a finite number without the digits that `score` does not show."""
    return float(score(value).replace(",", ""))


def setting(value: object) -> str:
    """A hyperparameter's value: `0.05`, `31`, `none`, `true`, `balanced`."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else shown(value)


def settings(values: Mapping[str, object]) -> str:
    """`learning_rate 0.05, num_leaves 31`; of texts only the modules of classes
    are left out.
    """
    return ", ".join(
        f"{name} {_MODULE.sub('', v) if isinstance(v, str) else setting(v)}"
        for name, v in values.items()
    )


def shown(name: object, longest: int = _LONGEST_NAME) -> str:
    """A column name or value on one line, shortened if it is long."""
    text = " ".join(str(name).split()) or repr(str(name))
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def some_of(items: Sequence[str], most: int = 5) -> str:
    """`a, b, c and 7 more`."""
    head = ", ".join(items[:most])
    return head if len(items) <= most else f"{head} and {len(items) - most:,} more"


def accepted_under(conditions: Sequence[str]) -> str:
    """Return `accepted`, with its conditions, each shortened to its first word."""
    if not conditions:
        return "accepted"
    names = [condition.split()[0].rstrip(":") for condition in conditions]
    return f"accepted with conditions ({some_of(names)})"


@dataclass(frozen=True)
class Evaluated:
    """Phrases for the scores that compare configurations; "…" is the phrase."""

    where: str  # "AUC 0.8 …"
    short: str  # the same in a heading
    name: str  # of the scores, beside those on validation
    place: str  # "the … set"
    by: str  # "tied with the best by …"
    fitted: str  # "configurations were fitted …"
    scores: str  # a sentence: the rows and models of the scores


_EVALUATED = {
    "test_set": Evaluated(
        where="on the test set",
        short="on test",
        name="test",
        place="test",
        by="the test set",
        fitted="on the train set and chosen on the test set",
        scores="Test scores are those of the configuration fitted on the train set "
        "alone.",
    ),
    "cross_validation": Evaluated(
        where="in cross-validation of the train and test rows",
        short="in cross-validation",
        name="cross-validation",
        place="train and test",
        by="cross-validation",
        fitted="and chosen by cross-validation on the train and test rows together",
        scores="Test scores are cross-validated: of train and test rows, predicted by "
        "models that were fitted on the other folds; intervals are widened, as these "
        "models share rows.",
    ),
}


def evaluated(evaluation: str | None) -> Evaluated:
    """Return the phrases for an evaluation; None, without a choice: `test_set`."""
    return _EVALUATED[evaluation or "test_set"]
