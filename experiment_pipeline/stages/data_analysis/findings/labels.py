"""Labels that are not in yet: near the end of the table, one class becomes rare."""

from dataclasses import dataclass

import numpy as np

from experiment_pipeline.reporting import numbers
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.data_analysis.facts import is_named_like_a_birth
from experiment_pipeline.stages.data_analysis.finding import (
    Finding,
    TargetRule,
    Threshold,
)
from experiment_pipeline.stages.data_analysis.subject import Subject
from experiment_pipeline.table.kinds import DAY, microseconds

# Where labels are late, the youngest rows have at most this part of the share before.
_STILL_THERE = 0.5
# The end of a table is its last quarter; as many rows before other moments show how
# much the share of a class falls by itself.
_WINDOWS, _MOMENTS = 4, 40
_FEWEST_ROWS, _MOST_ROWS = 200, 20_000
# Times that labels may take, as shares of the window; the youngest rows have this share
# of their labels at least, so that one early label does not rule out all others.
_TIMES = np.geomspace(0.02, 0.7, 12)
_LEAST = 0.02
# Longer times are as likely up to this ratio: to set too few rows aside would leave
# wrong labels.
_AS_LIKELY = 2.0
# A share may also rise or fall by itself: over the window by e to this power.
_SLOPES = np.linspace(-2, 2, 9)


class LabelsNotInYet(TargetRule):
    """Recent rows whose positives have not happened yet, taken for negatives.

    Labels that come in evenly within a time W have a share p exp(b age) min(age / W, 1)
    of the rows of an age; where all come in after W, there are none before. That is
    compared with p exp(b age), a share that only rises or falls, by the ratio of their
    Poisson likelihoods, which depends on the ages of the positives and of all rows
    alone. The same ratio at other moments of the table says how much the share wanders
    by itself.
    """

    code = "labels_not_in_yet"
    title = "Labels that are not in yet"
    advice = (
        "Say how long a label takes to be known, so that younger rows are set aside; "
        "or accept this finding with the reason why the class became rare."
    )
    threshold = Threshold(
        8, 0, 1e12, "twice the log likelihood ratio of late labels, found from it"
    )
    tasks = ("binary",)
    _most_times = 3

    def examine(self, subject: Subject) -> Finding:
        if reason := _why_not(subject.spec):
            return self.not_applicable(reason)
        times = [name for name in subject.times if not is_named_like_a_birth(name)]
        compared = [_Ending.of(subject, name) for name in times[: self._most_times]]
        endings = list(filter(None, compared))
        if not endings:
            return self.not_applicable(
                "No column of dates, one moment, or too few rows."
            )
        worst = max(endings, key=lambda ending: ending.excess)
        limit = self.limit(subject)
        found = worst.ratio >= limit and worst.is_late
        return self.found(
            severity="condition" if found else None,
            evidence=worst.in_words if found else worst.nothing_in_words,
            number=worst.ratio,
            threshold=limit,
            columns=[worst.column] if found else [],
            fix={"label": {"since": worst.column, "within": f"{worst.days} days"}},
        )


def _why_not(spec: ExperimentSpec) -> str:
    """Return why labels are not looked at; empty: they are."""
    if spec.label is not None:
        return f"The YAML says that labels take {spec.label.within}."
    if spec.split.by == "time":
        return "The youngest rows are the validation set, whose targets are not read."
    return ""


@dataclass(frozen=True)
class _Ending:
    """How the share of a class falls in the youngest rows."""

    column: str  # of the times
    label: str  # the class that becomes rare
    ratio: float  # twice the log likelihood ratio
    usual: float  # the largest at other moments
    days: int  # that labels take at most
    youngest: float  # share of the class in the youngest quarter of that time
    share: float  # of the class in all rows of that time
    earlier: float  # of the class in the rows before them

    @property
    def excess(self) -> float:
        """How much more the share falls than at any other moment."""
        return self.ratio - self.usual

    @property
    def is_late(self) -> bool:
        """Whether no other moment looks like it, and the youngest rows lack labels."""
        return self.excess > 0 and self.youngest <= _STILL_THERE * self.earlier

    @property
    def in_words(self) -> str:
        """The share of the class in young and in older rows."""
        return (
            f"{self.label} is {numbers.share(self.share)} of the rows whose "
            f"{self.column} is in the last {numbers.counted(self.days, 'day')}, and "
            f"{numbers.share(self.earlier)} of those before: the younger a row, the "
            "fewer, as if their labels were not in yet."
        )

    @property
    def nothing_in_words(self) -> str:
        """That the end is like other moments."""
        return f"By {self.column}, no class becomes rare in the youngest rows."

    @classmethod
    def of(cls, subject: Subject, column: str) -> "_Ending | None":
        """Compare the youngest rows with those before; None: too few rows."""
        frame, target = subject.frame, subject.target
        dated = frame[column].notna().to_numpy()[target.rows]
        rows = subject.sample(target.rows[dated], _MOST_ROWS)
        moments = microseconds(frame[column].iloc[rows])
        size = len(rows) // _WINDOWS
        if size < _FEWEST_ROWS or moments.min() == moments.max():
            return None
        order = np.argsort(moments, kind="stable")
        moments, codes = moments[order], target.of(rows)[order]
        ends = np.linspace(size, len(rows) - size, _MOMENTS).astype(np.int64)
        classes = target.classes or ()
        endings = []
        for code in range(len(classes)):
            is_class = codes == code
            ratio, time = _late_labels(moments[-size:], is_class[-size:])
            usual = max(
                _late_labels(moments[end - size : end], is_class[end - size : end])[0]
                for end in ends
            )
            is_young = moments >= moments[-1] - time
            is_youngest = moments >= moments[-1] - time / 4
            endings.append(
                cls(
                    column=column,
                    label=f"{subject.spec.target} {numbers.shown(classes[code])}",
                    ratio=ratio,
                    usual=usual,
                    days=int(np.ceil(time / DAY)),
                    youngest=float(is_class[is_youngest].mean()),
                    share=float(is_class[is_young].mean()),
                    earlier=float(is_class[~is_young][-size:].mean()),
                )
            )
        return max(endings, key=lambda ending: ending.excess)


def _late_labels(moments: np.ndarray, is_class: np.ndarray) -> tuple[float, float]:
    """Return twice the log likelihood ratio of the likeliest time, and the longest time
    of those that are about as likely.

    `moments` (n,) ascend; `is_class` (n,): which rows have the class.
    """
    span = float(moments[-1] - moments[0])
    if not span or not is_class.any() or is_class.all():
        return 0.0, span
    shares = (moments[-1] - moments) / span
    trends = np.exp(np.outer(_SLOPES, shares))
    ages = np.outer(1 / _TIMES, shares)  # in parts of the time that labels take
    come_in = np.clip(np.concatenate([ages, np.floor(ages)]), _LEAST, 1.0)
    of_trend = _SLOPES * shares[is_class].sum()
    of_labels = np.log(come_in[:, is_class]).sum(axis=1)
    positives = int(is_class.sum())
    with_trend = of_trend - positives * np.log(trends.mean(axis=1))
    mean = trends @ come_in.T / len(shares)
    with_both = of_trend[:, None] + of_labels - positives * np.log(mean)
    ratios = 2 * (with_both.max(axis=0) - with_trend.max())
    ratios /= 1 - is_class.mean()  # the variance of a share is as much smaller
    is_likely = ratios >= ratios.max() - _AS_LIKELY
    longest = np.tile(_TIMES, 2)[is_likely].max()
    return float(ratios.max()), float(longest * span)
