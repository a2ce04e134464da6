"""Leaks of a random split that no column shows: related rows, and rows ordered in time.

A kernel smoother (Nadaraya 1964; Watson 1964) predicts scored rows from all others,
once without the 10 nearest of each, once without the next 10. Without the nearest, rows
that are only similar lose up to a third of the skill; related rows (of one person,
noisy copies, oversampled) lose half or more.
"""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from experiment_pipeline.reporting import numbers
from experiment_pipeline.stages.data_analysis.finding import (
    Finding,
    Rule,
    Severity,
    Threshold,
)
from experiment_pipeline.stages.data_analysis.findings import probe
from experiment_pipeline.stages.data_analysis.skill import NAMES, skill
from experiment_pipeline.stages.data_analysis.subject import Subject, folds
from experiment_pipeline.statistics import scores
from experiment_pipeline.statistics.metrics import (
    metric_of,
    names_of,
    significantly_better,
)
from experiment_pipeline.table.clusters import cluster_hashes
from experiment_pipeline.table.coercion import as_text
from experiment_pipeline.table.kinds import NUMERIC, kind_of, numbers_of

_NEAREST, _LEAST_SKILL = 10, 0.5
# With fewer rows of a class, the nearest are too large a part of it: also an honest
# model would miss them.
_MOST_ROWS, _MOST_CELLS, _FEWEST_ROWS, _FEWEST_OF_CLASS = 50_000, 4_000_000, 300, 80
_SCORED, _AT_ONCE, _MOST_COLUMNS = 300, 10, 30
# Rows weigh by their odds to one of these powers; the best counts. One column's odds
# are 50 at most.
_POWERS, _LEAST_ODDS = (0.1, 0.2, 0.4, 0.7, 1.0, 1.5, 2.5), 0.02
# The evidence names columns in which nearest rows agree and other rows seldom do.
_AGREE, _BY_CHANCE = 0.8, 0.25
# Two steps are on one line: largest 1 - cosine, fewest dimensions, by how much one must
# be longer.
_PARALLEL, _DIMENSIONS, _LONGER, _VARIANCE = 1e-8, 3, 0.01, 0.9999
_ON_LINES = 0.05  # share of the rows, found from it


class RelatedRows(Rule):
    """Rows whose nearest rows reveal the target, more than merely similar rows would.

    Rows on a line with two others, in three or more dimensions, are synthetic (SMOTE:
    Chawla et al. 2002).
    """

    code, title = "related_rows", "Related rows that no column identifies"
    advice = (
        "Add a column that says what rows belong to (person, device, original of a copy) and write split: "
        "{by: group, column: …}. Remove noisy copies. Oversample after the split, and only the train set."
    )
    threshold = Threshold(
        0.4, 0, 1, "share of skill lost without the nearest rows, found from it"
    )

    def check(self, subject: Subject) -> Finding:
        target, spec = subject.target, subject.spec
        if target.problem:
            return self.not_applicable(f"Nothing to predict: {target.problem}.")
        if spec.split.by in {"time", "column"}:
            return self.not_applicable(f"The split is by {spec.split.by}.")
        rows = subject.sample(
            target.rows, min(_MOST_ROWS, _MOST_CELLS // max(target.n_classes, 1))
        )
        hashes = cluster_hashes(
            subject.frame, spec.split, spec.target, subject.features, "related"
        )
        fewest = max(_FEWEST_ROWS, _FEWEST_OF_CLASS * target.n_classes)
        if len(rows) < fewest or len(np.unique(hashes[rows])) <= 3 * _NEAREST:
            return self.not_applicable(
                f"Fewer than {fewest} rows, or nearly all are equal."
            )
        strongest = [one.column for one in subject.associations[:_MOST_COLUMNS]]
        table = subject.frame[strongest].iloc[rows]
        ranks = {c: one for c in strongest if (one := _ranks(table[c])) is not None}
        if not ranks:
            return self.not_applicable("No number or category to compare rows by.")
        scored = subject.sample(np.arange(len(rows)), _SCORED)
        nearest, usual, without = _skills(subject, ranks, rows, hashes[rows], scored)
        lost, limit = 1 - without / usual if usual > 0 else 0.0, self.limit(subject)
        words = (
            f"A model of similar rows has a skill of {numbers.share(usual)}, without the {_NEAREST} "
            f"nearest rows of each row {numbers.share(without)} ({NAMES[spec.task]}; {len(scored):,} "
            f"of {len(rows):,} rows)."
        )
        related = usual >= _LEAST_SKILL and lost >= limit
        same = {
            c: np.mean(one[0, scored] == one[0, nearest[:, 0]])
            for c, one in ranks.items()
        }
        agree = [
            c
            for c, share in same.items()
            if share >= _AGREE and ranks[c][1].mean() < _BY_CHANCE
        ]
        if related and agree:
            words += f" Nearest rows agree in {numbers.some_of([numbers.shown(c) for c in agree])}."
        continuous = [c for c, one in ranks.items() if one[1].mean() * len(rows) < 1]
        lines = _share_on_lines(table[continuous], scored, nearest)
        if lines < _ON_LINES:
            return self.found("condition" if related else None, words, lost, limit)
        words += (
            f" {numbers.share(lines)} of the rows lie exactly on a line with two others, as synthetic "
            "rows do that oversampling (SMOTE) made before the split."
        )
        measured = (lost, limit) if related else (lines, _ON_LINES)
        return self.found("condition", words, *measured)


def _ranks(column: pd.Series) -> np.ndarray | None:
    """Measure how near rows are in a column: float32 (3, n); None: almost each row has
    its own text.

    First the place of each row, then half the share of rows with its value, then an
    upper bound. The share of all rows that are as near to row i as row j is |place j -
    place i| + half i, up to that bound.
    """
    number = kind_of(column) in NUMERIC
    values = numbers_of(column) if number else as_text(column)
    codes, distinct = pd.factorize(values, sort=True, use_na_sentinel=False)
    counts, n = np.bincount(codes), len(codes)
    halves = counts[codes] / (2 * n)
    if not number and len(distinct) > 0.9 * n:
        return None
    places = (2 * np.cumsum(counts) - counts)[codes] / n if number else codes
    return np.array(
        [places, halves, np.ones(n) if number else 0.5 + halves], np.float32
    )


def _skills(
    subject: Subject,
    ranks: Mapping[str, np.ndarray],
    rows: np.ndarray,
    hashes: np.ndarray,
    scored: np.ndarray,
) -> tuple[np.ndarray, float, float]:
    """Return the 20 nearest rows of each scored row, (s, 20), and the skill with and
    without the first 10.

    Columns count as independent: their odds are multiplied. Rows with equal `hashes` do
    not predict each other.
    """
    task, y = subject.spec.task, subject.target.of(rows)
    y = (y - y.mean()) / y.std() if task == "regression" else y
    several = task == "multiclass"
    outcomes = (
        np.eye(subject.target.n_classes)[y.astype(np.int64)] if several else y[:, None]
    )
    outcomes = outcomes.astype(np.float32)
    predicted = np.empty((2, len(_POWERS), len(scored), outcomes.shape[1]))
    nearest = np.empty((len(scored), 2 * _NEAREST), np.int64)
    for start in range(0, len(scored), _AT_ONCE):
        block = slice(start, start + _AT_ONCE)
        at = scored[block, None]
        odds = np.zeros((len(at), len(rows)), np.float32)
        for places, halves, tops in ranks.values():
            share = np.minimum(np.abs(places - places[at]) + halves[at], tops[at])
            odds -= np.log(share / (1 + _LEAST_ODDS - share))
        odds[hashes == hashes[at]] = -np.inf
        near = np.argpartition(-odds, 2 * _NEAREST)[:, : 2 * _NEAREST]
        order = np.argsort(-np.take_along_axis(odds, near, 1), kind="stable")
        nearest[block] = near = np.take_along_axis(near, order, 1)
        for way, left_out in enumerate((near[:, _NEAREST:], near[:, :_NEAREST])):
            kept = odds.copy()
            np.put_along_axis(kept, left_out, -np.inf, 1)
            kept -= kept.max(axis=1, keepdims=True)
            for place, power in enumerate(_POWERS):
                weights = np.exp(power * kept)
                total = weights.sum(axis=1, keepdims=True)
                predicted[way, place, block] = weights @ outcomes / total
    each = [
        [skill(task, y[scored], one if several else one[:, 0]) for one in way]
        for way in predicted
    ]
    return nearest, *np.nan_to_num(each).max(axis=1).tolist()


def _share_on_lines(
    table: pd.DataFrame, scored: np.ndarray, nearest: np.ndarray
) -> float:
    """Share of the scored rows that lie on a straight line with two of their nearest
    rows.
    """
    from sklearn.decomposition import PCA

    kept = [c for c in table if kind_of(table[c]) in NUMERIC]
    known = [x for c in kept if np.isfinite(x := numbers_of(table[c])).all()]
    if len(known) < _DIMENSIONS:
        return 0.0
    # Scaled, so that no square overflows or vanishes.
    values = np.column_stack([x / np.abs(x).max() for x in known])
    differ = (values[nearest] != values[scored][:, None]).sum(axis=2) >= _DIMENSIONS
    # Lines stay lines in the principal components, to which redundant columns add no
    # dimension.
    main = PCA(_VARIANCE, whiten=True, svd_solver="full")
    values = main.fit_transform((values - values.mean(axis=0)) / values.std(axis=0))
    if values.shape[1] < _DIMENSIONS:
        return 0.0
    steps = values[nearest] - values[scored][:, None]
    lengths = np.linalg.norm(steps, axis=2)
    steps /= np.maximum(lengths, np.finfo(float).tiny)[:, :, None]
    parallel = np.abs(steps @ steps.transpose(0, 2, 1)) > 1 - _PARALLEL
    first, second = lengths[:, :, None], lengths[:, None]
    apart = np.abs(first - second) > _LONGER * np.maximum(first, second)
    lines = parallel & apart & differ[:, :, None] & differ[:, None]
    return float(lines.any(axis=(1, 2)).mean())


class RandomSplitOverTime(Rule):
    """A random split of rows that have a time, where it overstates how well models
    predict later rows.
    """

    code, title = (
        "random_split_over_time",
        "Random split of rows that are ordered in time",
    )
    advice = "If the model will predict the future, split by time; else accept this with the reason."
    threshold = Threshold(
        0.25, 0, 1, "share of the gain that a split by time loses, found from it"
    )
    _most_times, _fewest_rows, _stretches = 3, 50, 50

    def check(self, subject: Subject) -> Finding:
        frame, by, limit = subject.frame, subject.spec.split.by, self.limit(subject)
        if subject.target.problem or by != "random":
            problem = subject.target.problem or f"the split is by {by}"
            return self.not_applicable(f"Nothing to compare: {problem}.")
        times = [str(c) for c in frame.columns if kind_of(frame[c]) == "datetime"]
        found = [
            one
            for c in times[: self._most_times]
            if (one := self._compared(subject, c))
        ]
        if not found:
            return self.not_applicable(
                "No datetime column, or too few rows or moments."
            )
        lost, time, words, clearly = max(found)
        severity: Severity | None = "condition" if clearly and lost >= limit else None
        fix = {"split": {"by": "time", "column": time}}
        return self.found(severity, words, lost, limit, [time], fix)

    def _compared(
        self, subject: Subject, time: str
    ) -> tuple[float, str, str, bool] | None:
        """The share of the gain that is lost, the time column, the evidence, and
        whether it is significant.
        """
        frame, spec, target = subject.frame, subject.spec, subject.target
        known = target.rows[frame[time].notna().to_numpy()[target.rows]]
        features = probe.readable(subject, ())
        rows = subject.sample(known, probe.most_rows(subject, len(features)))
        values, y = probe.encoded(frame[features].iloc[rows])[0], target.of(rows)
        moments = pd.factorize(frame[time].iloc[rows], sort=True)[0]
        ordered = np.sort(moments)
        cut = ordered[2 * len(rows) // 3] if len(rows) else 0
        early, late = np.flatnonzero(moments < cut), np.flatnonzero(moments >= cut)
        if len(early) < max(self._fewest_rows, len(late)) or not values.shape[1]:
            return None
        fits = [(early, np.arange(len(late)))]
        for other, judge in folds(subject, rows[late], 2):
            kept = subject.sample(early, len(early) - len(other))
            fits.append((np.append(kept, late[other]), judge))
        if (
            spec.task != "regression"
            and min(len(np.unique(y[fit])) for fit, _ in fits) < 2
        ):
            return None
        predicted = [
            probe.predicted(
                subject,
                probe.small_lightgbm(subject, len(fit)),
                values,
                y,
                fit,
                late[judge],
            )
            for fit, judge in fits
        ]
        mixed = np.empty_like(predicted[0])
        for (_, judge), one in zip(fits[1:], predicted[1:], strict=True):
            mixed[judge] = one
        asked = metric_of(spec.metric)
        metric = (
            names_of(spec.task)[0]
            if asked.by_threshold or asked.is_own
            else spec.metric
        )
        by_time, by_chance = (
            scores.linearise(metric, y[late], one) for one in (predicted[0], mixed)
        )
        places = np.searchsorted(ordered, moments[late])
        drawn = scores.layout(metric, y[late], places * self._stretches // len(rows))
        difference = scores.paired_difference(by_time, by_chance, drawn)
        baseline = scores.baseline_score(
            metric, y, y[late], spec.task, target.n_classes
        )
        gain, sign = by_chance.estimate - baseline, metric_of(metric).sign
        lost = difference.estimate / gain if sign * gain > 0 else 0.0
        words = (
            f"The last third of the rows by {numbers.shown(time)}: a probe fitted on earlier rows "
            f"scores {numbers.score(by_time.estimate)} {metric}, one fitted on as many rows of all "
            f"times, as a random split does, {numbers.score(by_chance.estimate)} (baseline "
            f"{numbers.score(baseline)})."
        )
        clearly = significantly_better(metric, difference)
        return (lost, time, words, clearly) if math.isfinite(lost) else None


RULES = (RelatedRows(), RandomSplitOverTime())
