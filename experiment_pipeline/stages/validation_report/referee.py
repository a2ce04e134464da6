"""What a referee asks about a judged model: challengers, robustness, and what the run
cannot know.

In: the report, predictions of the validation rows. Out: rows of the run record. This
only informs: nothing here chooses or decides, so the ledger counts no further look.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.run_record import EvidenceRow
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.leaderboard.notes import cluster_in_words
from experiment_pipeline.stages.validation_report.report import ValidationReport
from experiment_pipeline.statistics.caveats import few_clusters_note
from experiment_pipeline.statistics.metrics import metric_of
from experiment_pipeline.statistics.scores import SetPrediction, paired_difference
from experiment_pipeline.statistics.thresholds import threshold_value
from experiment_pipeline.table.kinds import (
    QUANTITIES,
    UNSEEN_CATEGORY,
    holds_missing,
    kind_of,
    numbers_of,
)
from experiment_pipeline.table.table import with_columns

# For robustness, at most: validation rows, fitted rows, features, changes per feature;
# and rows shown.
MOST_ROWS, MOST_FITTED, MOST_FEATURES, CHANGES, _WORST = 2_000, 100_000, 30, 4, 10
Linear = tuple[
    str, SetPrediction, float
]  # key, predictions of the validation rows, threshold


def challengers(
    report: ValidationReport, exported: SetPrediction, linear: Linear | str
) -> Iterator[EvidenceRow]:
    """Compare the exported model with baseline, best linear model (or why not) and
    champions, paired.
    """
    metric, rows, kind = report.metric, report.rows, "challenger"
    score = report.score(metric)
    gain = score.difference_to_baseline
    yield EvidenceRow.of(kind, "the baseline (no features)", score.baseline, gain, rows)
    if isinstance(linear, str):
        yield EvidenceRow(kind=kind, what=f"the best linear model: {linear}")
    else:
        key, predicted, own = linear
        before = predicted.linearise(metric, own)
        after = exported.linearise(metric, threshold_value(report.threshold))
        gain = paired_difference(before, after, exported.layout(metric))
        name = f"the best linear model, {key}, fitted on the same rows"
        yield EvidenceRow.of(kind, name, before.estimate, gain, rows)
    for one in report.champions:
        name = f"{one.role} {one.version}"
        if (found := one.scores) is not None:
            name += (
                f" ({one.left_out:,} rows that it was fitted or chosen on are left out)"
            )
            yield EvidenceRow.of(kind, name, found.champion, found.gain, found.rows)
        else:
            why = "it is this model" if one.same_model else one.why_not_compared
            yield EvidenceRow(kind=kind, what=f"{name}: {why}")


def robustness(
    predict: Callable[[pd.DataFrame], np.ndarray],
    rows: pd.DataFrame,
    fitted: pd.DataFrame,
    plain: SetPrediction,
    metric: str,
    cut: float,
    names: Sequence[str],
    most: int,
) -> Iterator[EvidenceRow]:
    """Yield how much the score loses when one of the first `most` features is changed,
    worst first.

    `plain` are the predictions of `rows`; ranges and standard deviations are those of
    `fitted` rows.
    """
    found, before, sign = (
        list[EvidenceRow](),
        plain.linearise(metric, cut),
        metric_of(metric).sign,
    )
    every = [
        (name, f"{name}: {change}", column)
        for seed, name in enumerate(names[:most])
        for change, column in _changes(rows[name], fitted[name], seed)
    ]
    todo = (
        [[one] for one in every] if len(rows) * len(every) > 8 * MOST_ROWS else [every]
    )
    while todo and (some := todo.pop()):
        tables = [with_columns(rows, {name: column}) for name, _, column in some]
        try:
            predicted = np.split(predict(pd.concat(tables)), len(tables))
        # A user's own code may raise anything for such values, which is a finding.
        except Exception as error:  # noqa: BLE001
            if len(some) > 1:
                todo = [[one] for one in every]
                continue
            what = f"{some[0][1]}: predicting raises {type(error).__name__}"
            found.append(
                EvidenceRow(kind="robustness", what=what, difference=-math.inf * sign)
            )
            continue
        for (_, what, _), prediction in zip(some, predicted, strict=True):
            after = replace(plain, prediction=prediction).linearise(metric, cut)
            loss = paired_difference(before, after, plain.layout(metric))
            found.append(
                EvidenceRow.of("robustness", what, after.estimate, loss, len(rows))
            )
    found.sort(
        key=lambda row: np.nan_to_num(sign * (row.difference or 0.0), nan=-math.inf)
    )
    yield from found[:_WORST]
    if (more := len(names) - most) > 0:
        what = f"{numbers.counted(more, 'less important feature')}: not computed"
        yield EvidenceRow(kind="robustness", what=what)


def _changes(
    column: pd.Series, fitted: pd.Series, seed: int
) -> Iterator[tuple[str, pd.Series]]:
    """Ways in which a column may change: missing, noisy, out of range, or a category
    never seen.
    """
    kind, values = kind_of(column), np.empty(0)
    if holds_missing(column.dtype):
        yield "missing", column.mask(np.ones(len(column), dtype=bool))
    if kind == "text":
        yield (
            "a category never seen",
            pd.Series(UNSEEN_CATEGORY, column.index, column.dtype),
        )
    if kind in QUANTITIES:
        values = numbers_of(fitted)
        values = values[np.isfinite(values)]
    if not len(values) or not 0 < (width := float(np.ptp(values))) < math.inf:
        return
    noise = np.random.default_rng([seed, len(column)]).normal(size=len(column))
    shifts = {"noise of one standard deviation": float(values.std()) * noise}
    shifts |= {"above the fitted range": width, "below the fitted range": -width}
    for change, by in shifts.items():
        other = numbers_of(column) + by
        if kind == "integer":
            limits = np.iinfo(str(column.dtype).lower())
            other = np.clip(np.rint(other), limits.min, limits.max)
        yield change, pd.Series(other, column.index).astype(column.dtype)


def unknowns(
    spec: ExperimentSpec,
    report: ValidationReport,
    rows: pd.DataFrame,
    predicted: SetPrediction,
) -> Iterator[EvidenceRow]:
    """Return what the run cannot know, a sentence each, only those that apply to it.

    `rows` are the prepared validation rows, `predicted` the exported model's
    predictions of them.
    """
    split, target, weights = spec.split, spec.target, predicted.weights
    later = "The split is not by time: whether the score decays later (drift) is not measured."
    if split.by == "time":
        last = numbers.shown(rows[split.column].max())
        later = f"Changes after {last}, the last validation row, are not measured."
    beyond = f" beyond new values of {split.column}" if split.by == "group" else ""
    few = few_clusters_note(
        predicted.clusters, cluster_in_words(spec), "validation", weights
    )
    others = (
        f"other than {', '.join(spec.audited)}, which are audited, "
        if spec.audited
        else ""
    )
    parts = f"are formed by features: groups by another column {others}are not checked."
    parts = "were not computed." if report.segments is None else parts
    sentences = {
        later: True,
        "Validation rows come from the same source as the fitted ones: other places, populations and "
        f"ways of recording are not measured{beyond}.": True,
        "No id column is declared: rows of one person or thing in two sets are only noticed if "
        "they resemble each other.": split.by == "random" and not split.id_columns,
        "Only one split was tried: experiment-pipeline sensitivity "
        f"{spec.name} measures how much depends on its seed.": split.by
        in ("random", "group"),
        f"Only rows whose {target} is known are in the table. If an earlier decision determined "
        "which ones (refused applications have no outcome), the other rows are not measured.": True,
        f"Values of {target} are taken as correct: how many are wrong is not measured.": True,
        "Importance and explanations describe the model, not causes: what happens when somebody "
        "changes a feature or acts on a prediction is not measured.": True,
        f"The accuracy of the intervals is not known: {few}.": few is not None,
        f"Weak segments {parts}": True,
        f"{report.looks} models were scored on these validation rows: what later choices learnt "
        "from them is not known.": report.looks > 1,
        "No costs are declared: whether the threshold suits the costs of wrong decisions is not "
        "known.": spec.task == "binary" and spec.costs is None,
    }
    for sentence in (one for one, applies in sentences.items() if applies):
        yield EvidenceRow(kind="unknown", what=sentence)
