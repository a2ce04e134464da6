"""Receipts of generated features: their gain over the same configuration without them,
and their cost.

A configuration that is not significantly better with them is not a candidate. In: the
measured configurations. Out: a `Receipt` for each that has generated features, and a
section of a page.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.document import Paragraph, Section, TableBlock
from experiment_pipeline.spec import ExperimentSpec, Features
from experiment_pipeline.spec.algorithms import GENERATED
from experiment_pipeline.stages.leaderboard.ranking import Measured, RankedRows
from experiment_pipeline.statistics import comparisons
from experiment_pipeline.statistics.interval import Interval
from experiment_pipeline.statistics.metrics import metric_of, significantly_better

_MOST_SHOWN = 10
_HOW = (
    "Each configuration is compared, on the same rows, with the same one without generated features, or else "
    "with the best one without. The 95 % intervals hold for all comparisons together. A configuration that is "
    "not significantly better is not a candidate. The time per row is that of predicting an encoded row."
)


@dataclass(frozen=True)
class Receipt:
    """A configuration with generated features against one without."""

    key: str
    features: Features  # its encoder
    # the same algorithm and hyperparameters with `ordinal`, else the best of all
    # without
    against: str
    gain: Interval  # of the metric; bounds hold for all receipts of a ranking together
    significant: bool  # whether it is better, at the 95 % level
    fit_cpu_seconds: float
    fit_times: float  # how many times those of the one without
    predict_seconds_per_row: float  # of an encoded row
    predict_times: float
    chosen: bool = False  # whether it is the choice, or a member of it


def receipts_of(
    measured: Sequence[Measured], rows: RankedRows, spec: ExperimentSpec
) -> tuple[Receipt, ...]:
    """Return a receipt per configuration with generated features and a score, the
    largest gain first.
    """
    sign = metric_of(spec.metric).sign
    finite = [one for one in measured if math.isfinite(one.score.estimate)]
    plain = [one for one in finite if one.result.features not in GENERATED]
    made = [one for one in finite if one.result.features in GENERATED]
    if not plain or not made:
        return ()

    def settings(one: Measured) -> tuple[str, str]:
        return one.result.algorithm, repr(sorted(one.result.hyperparameters.items()))

    best = max(plain, key=lambda one: (sign * one.score.estimate, one.result.key))
    twins = {settings(one): one for one in plain if one.result.features == "ordinal"}
    pairs = [(one, twins.get(settings(one), best)) for one in made]
    gains = comparisons.compare_with_control(
        np.array([one.score.estimate - other.score.estimate for one, other in pairs]),
        np.column_stack(
            [one.contribution - other.contribution for one, other in pairs]
        ),
        np.zeros(len(best.contribution)),
        rows.drawn(spec.seed),
    )
    found = []
    for (mine, others), gain in zip(pairs, gains, strict=True):
        own, other = mine.result, others.result
        what = (
            own.key,
            own.features,
            other.key,
            gain,
            significantly_better(spec.metric, gain),
        )
        fit, predict = own.fit_cpu_seconds, own.predict_seconds_per_row
        fit_times = fit / max(other.fit_cpu_seconds, 1e-9)
        predict_times = predict / max(other.predict_seconds_per_row, 1e-9)
        found.append(Receipt(*what, fit, fit_times, predict, predict_times))
    return tuple(sorted(found, key=lambda one: -sign * one.gain.estimate))


def in_words(receipts: Sequence[Receipt]) -> str:
    """Return which families of generated features the choice uses, or that none was
    significantly better.
    """
    families = chain.from_iterable(
        GENERATED[one.features] for one in receipts if one.chosen
    )
    if used := ", ".join(dict.fromkeys(families)):
        return f"The choice uses generated features: {used}"
    why = (
        ""
        if any(one.significant for one in receipts)
        else ": none was significantly better"
    )
    return f"The choice uses no generated features{why}"


def generated_section(
    receipts: Sequence[Receipt], metric: str, columns: Sequence[str] = ()
) -> Iterator[Section]:
    """Yield the table of receipts, if there are any; `columns` are those of the
    exported model.
    """
    if not receipts:
        return
    texts = [f"{in_words(receipts)}. {_HOW}"]
    if len(receipts) > _MOST_SHOWN:
        texts.append(
            f"Of {len(receipts):,}, the chosen ones and the largest gains are shown."
        )
    if columns:
        named = numbers.some_of([numbers.shown(one) for one in columns], 20)
        texts.append(f"Generated columns of this model: {named}.")
    gain = f"{metric} ({metric_of(metric).better_is} is better)"
    header = (
        "configuration",
        "generated",
        "minus",
        gain,
        "significantly better",
        "chosen",
    )
    costs = ("CPU s of the fit (times the other's)", "µs per row (times the other's)")
    cells = tuple(
        (
            *(one.key, one.features, one.against, numbers.interval(one.gain)),
            *("yes" if holds else "no" for holds in (one.significant, one.chosen)),
            _priced(one.fit_cpu_seconds, one.fit_times),
            _priced(1e6 * one.predict_seconds_per_row, one.predict_times),
        )
        for one in sorted(receipts, key=lambda one: not one.chosen)[:_MOST_SHOWN]
    )
    blocks = (*map(Paragraph, texts), TableBlock((*header, *costs), cells))
    yield Section("Generated features", blocks)


def _priced(cost: float, times: float) -> str:
    return f"{numbers.measured(cost)} ({numbers.measured(times)})"
