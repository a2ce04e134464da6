"""What a referee asks about a judged model: challengers, robustness, and what the run
cannot know.

In: the report, and the model with its predictions of validation rows. Out: rows of the
run record. This only informs: nothing here chooses or decides, so the ledger counts no
further look.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.run_record import EvidenceRow
from experiment_pipeline.spec import Costs, Split, kept_apart
from experiment_pipeline.stages.leaderboard.incumbent import (
    IncumbentComparison,
)
from experiment_pipeline.stages.leaderboard.notes import cluster_in_words
from experiment_pipeline.stages.validation_report.judged_model import JudgedModel
from experiment_pipeline.stages.validation_report.report import ValidationReport
from experiment_pipeline.statistics.caveats import few_clusters_note
from experiment_pipeline.statistics.importance import spread_evenly
from experiment_pipeline.statistics.interval import Interval
from experiment_pipeline.statistics.metrics import metric_of
from experiment_pipeline.statistics.scores import SetPrediction, paired_difference
from experiment_pipeline.statistics.thresholds import cost_interval, saved_interval
from experiment_pipeline.table.kinds import (
    QUANTITIES,
    UNSEEN_CATEGORY,
    holds_missing,
    kind_of,
    numbers_of,
)
from experiment_pipeline.table.table import some_rows, with_columns, with_only

# For robustness, at most: validation rows, fitted rows, features, changes per feature;
# and rows shown.
MOST_ROWS, MOST_FITTED, MOST_FEATURES, CHANGES, _WORST = 2_000, 100_000, 30, 4, 10

# Most of the score rests on a feature if shuffling it costs such a share of the lead
# over the baseline, and so many times as much as shuffling any other.
_MOST_OF_LEAD, _FAR_AHEAD = 0.5, 4.0
# From here on, each season is seen twice.
_DAYS_OF_TWO_YEARS = 2 * 365


@dataclass(frozen=True, eq=False)
class LinearModel:
    """The best linear model of the search, fitted on the rows of the judged one."""

    key: str
    exported: SetPrediction  # of the validation rows
    cut: float  # a row is predicted positive from this probability on


@dataclass(frozen=True, eq=False)
class Case:
    """A judged model, and what it takes to answer a referee's questions."""

    model: JudgedModel
    report: ValidationReport
    linear: LinearModel | str  # or why there is none
    predict: Callable[[pd.DataFrame], np.ndarray]  # of prepared rows
    most_features: int  # that there is time to change, for robustness

    @property
    def names(self) -> list[str]:
        """All features, the most important first."""
        usage = self.report.usage
        ranked = [used.feature for used in usage.importance] if usage else []
        return list(dict.fromkeys([*ranked, *self.model.features]))

    @property
    def sample(self) -> tuple[pd.DataFrame, SetPrediction]:
        """The validation rows that robustness changes, and their predictions."""
        rows = self.model.rows
        places = spread_evenly(len(rows), min(len(rows), MOST_ROWS))
        return some_rows(rows, places), self.model.exported.rows(places)


def worth(case: Case) -> Iterator[EvidenceRow]:
    """Yield what the decisions save against the same one for every row, and against
    the incumbent's.
    """
    costs = case.model.spec.costs
    if costs is None:
        return
    rows = case.model.exported
    for name, call_all in {"doing nothing": False, "alarming always": True}.items():
        cost = cost_interval(costs, rows, -math.inf if call_all else math.inf)
        instead = np.full(len(rows.y), call_all)
        saved = saved_interval(costs, rows, case.model.cut, instead)
        yield _worth_row(costs, name, cost.estimate, saved, len(rows.y))
    incumbent = case.report.incumbent
    if incumbent is not None and incumbent.saved is not None:
        name = f"the incumbent {incumbent.column}"
        yield _worth_row(
            costs, name, incumbent.cost, incumbent.saved, rows=incumbent.rows
        )


def _worth_row(
    costs: Costs, name: str, cost: float, saved: Interval, rows: int
) -> EvidenceRow:
    n_rows, period = costs.period
    return EvidenceRow(
        kind="worth",
        what=f"{name}, {period}",
        score=n_rows * cost,
        difference=n_rows * saved.estimate,
        low=n_rows * saved.low,
        high=n_rows * saved.high,
        rows=rows,
    )


def challengers(case: Case) -> Iterator[EvidenceRow]:
    """Compare the exported model with baseline, best linear model (or why not) and
    champions, paired.
    """
    report = case.report
    model = case.model
    linear = case.linear
    metric = report.metric
    rows = report.rows
    kind = "challenger"
    score = report.score(metric)
    gain = score.difference_to_baseline
    yield EvidenceRow.of(kind, "the baseline (no features)", score.baseline, gain, rows)
    if report.incumbent is not None:
        yield _beside_incumbent(report.incumbent)
    if isinstance(linear, str):
        yield EvidenceRow(kind=kind, what=f"the best linear model: {linear}")
    else:
        before = linear.exported.linearise(metric, linear.cut)
        after = model.exported.linearise(metric, model.cut)
        gain = paired_difference(before, after, model.exported.layout(metric))
        name = f"the best linear model, {linear.key}, fitted on the same rows"
        yield EvidenceRow.of(kind, name, before.estimate, gain, rows)
    for champion in report.champions:
        name = f"{champion.role} {champion.version}"
        paired = champion.scores
        if paired is None:
            why = champion.why_not_compared
            why = "it is this model" if champion.same_model else why
            yield EvidenceRow(kind=kind, what=f"{name}: {why}")
        else:
            name += (
                f" ({champion.left_out:,} rows that it was fitted or chosen on are "
                "left out)"
            )
            yield EvidenceRow.of(kind, name, paired.champion, paired.gain, paired.rows)


def _beside_incumbent(comparison: IncumbentComparison) -> EvidenceRow:
    """How the model fares beside the rule in use today, by what both can do."""
    what = f"the incumbent {comparison.column}"
    if comparison.gain is None:
        what = f"{what}: {comparison.why_not_compared}"
        return EvidenceRow(kind="incumbent", what=what)
    what += f", by {comparison.metric}: the model is {comparison.how}"
    if comparison.left_out:
        what += f"; {comparison.left_out:,} rows without its answer are left out"
    return EvidenceRow.of(
        "incumbent", what, comparison.scores[0], comparison.gain, comparison.rows
    )


def robustness(case: Case) -> Iterator[EvidenceRow]:
    """Yield how much the score loses when a feature is changed, worst first.

    Ranges and standard deviations are those of the fitted rows.
    """
    model = case.model
    names = case.names
    metric = model.spec.metric
    cut = model.cut
    sign = metric_of(metric).sign
    kind = "robustness"
    changed = names[: case.most_features]
    rows, unchanged = case.sample
    places = spread_evenly(len(model.fitted), min(len(model.fitted), MOST_FITTED))
    fitted = some_rows(with_only(model.fitted, changed), places)
    before = unchanged.linearise(metric, cut)
    layout = unchanged.layout(metric)
    losses = []
    for seed, name in enumerate(changed):
        for change, column in _changes(rows[name], fitted[name], seed):
            changed_how = f"{name}: {change}"
            try:
                prediction = case.predict(with_columns(rows, {name: column}))
            # A user's own code may raise anything for such values: a finding.
            except Exception as error:  # noqa: BLE001
                changed_how += f": predicting raises {type(error).__name__}"
                worst = -math.inf * sign
                losses.append(
                    EvidenceRow(kind=kind, what=changed_how, difference=worst)
                )
                continue
            after = replace(unchanged, prediction=prediction).linearise(metric, cut)
            loss = paired_difference(before, after, layout)
            losses.append(
                EvidenceRow.of(kind, changed_how, after.estimate, loss, len(rows))
            )
    losses.sort(
        key=lambda row: np.nan_to_num(sign * (row.difference or 0.0), nan=-math.inf)
    )
    yield from losses[:_WORST]
    if len(names) > len(changed):
        rest = numbers.counted(len(names) - len(changed), "less important feature")
        yield EvidenceRow(kind=kind, what=f"{rest}: not computed")


def _changes(
    column: pd.Series, fitted: pd.Series, seed: int
) -> Iterator[tuple[str, pd.Series]]:
    """Ways in which a column may change: missing, noisy, out of range, or a category
    never seen.
    """
    kind = kind_of(column)
    if holds_missing(column.dtype):
        yield "missing", column.mask(np.ones(len(column), dtype=bool))
    if kind == "text":
        unseen = pd.Series(UNSEEN_CATEGORY, column.index, column.dtype)
        yield "a category never seen", unseen
    if kind not in QUANTITIES:
        return
    values = numbers_of(fitted)
    values = values[np.isfinite(values)]
    width = float(np.ptp(values)) if len(values) else 0.0
    if not 0 < width < math.inf:
        return
    noise = np.random.default_rng([seed, len(column)]).normal(size=len(column))
    shifts = {
        "noise of one standard deviation": float(values.std()) * noise,
        "above the fitted range": width,
        "below the fitted range": -width,
    }
    for change, shift in shifts.items():
        moved = numbers_of(column) + shift
        if kind == "integer":
            limits = np.iinfo(str(column.dtype).lower())
            moved = np.clip(np.rint(moved), limits.min, limits.max)
        yield change, pd.Series(moved, column.index).astype(column.dtype)


def rests_on(case: Case) -> Iterator[EvidenceRow]:
    """Yield the feature that most of the score rests on, where no other comes near: it
    may be one that nobody knows in time.
    """
    usage = case.report.usage
    if usage is None or len(usage.importance) < 2:
        return
    first, second, *_ = usage.importance
    lead = abs(case.report.score(usage.metric).difference_to_baseline.estimate)
    is_most = first.drop >= max(_MOST_OF_LEAD * lead, _FAR_AHEAD * second.drop)
    if is_most and first.significant:
        yield EvidenceRow(
            kind="rests on", what=first.feature, difference=first.drop, rows=usage.rows
        )


def _beyond(split: Split) -> str:
    groups = kept_apart(split)
    return "" if groups is None else f" beyond new values of {groups}"


def _not_met(split: Split) -> str:
    group = getattr(split, "group", None)
    return f"Values of {group} that no fitted row has are not measured."


def unknowns(case: Case) -> Iterator[EvidenceRow]:
    """Yield what the run cannot know, a sentence each, only those that apply to it."""
    model = case.model
    spec = case.model.spec
    report = case.report
    split = spec.split
    target = spec.target
    later = (
        "The split is not by time: whether the score decays later (drift) is not "
        "measured."
    )
    if split.by == "time":
        last = numbers.shown(model.rows[split.column].max())
        later = f"Changes after {last}, the last validation row, are not measured."
    days = _days_spanned(model)
    few = few_clusters_note(
        model.exported.clusters,
        cluster_in_words(spec),
        "validation",
        model.exported.weights,
    )
    audited = ", ".join(spec.audited)
    beside = f"other than {audited}, which are audited, " if audited else ""
    weak_segments = (
        "Weak segments are formed by features: groups by another column "
        f"{beside}are not checked."
    )
    if report.segments is None:
        weak_segments = "Weak segments were not computed."
    applies = {
        later: True,
        _not_met(split): split.by == "time" and split.predicts == "known",
        f"The rows span {days} days, less than two years: seasons are not told from a "
        "trend, and how the model does in other seasons is not measured.": (
            days is not None and days < _DAYS_OF_TWO_YEARS
        ),
        "Validation rows come from the same source as the fitted ones: other places, "
        f"populations and ways of recording are not measured{_beyond(split)}.": True,
        "No id column is declared: rows of one person or thing in two sets are only "
        "noticed if they resemble each other.": (
            split.by == "random" and not split.id_columns
        ),
        "Only one split was tried: experiment-pipeline sensitivity "
        f"{spec.name} measures how much depends on its seed.": (
            split.by in ("random", "group")
        ),
        f"Only rows whose {target} is known are in the table. If an earlier decision "
        "determined which ones (refused applications have no outcome), the other rows "
        "are not measured.": True,
        f"Values of {target} are taken as correct: how many are wrong is not "
        "measured.": True,
        "Importance and explanations describe the model, not causes: what happens when "
        "somebody changes a feature or acts on a prediction is not measured.": True,
        f"The accuracy of the intervals is not known: {few}.": few is not None,
        weak_segments: True,
        f"{report.looks} models were scored on these validation rows: what later "
        "choices learnt from them is not known.": report.looks > 1,
        "No costs are declared: whether the threshold suits the costs of wrong "
        "decisions is not known.": spec.task == "binary" and spec.costs is None,
    }
    for sentence, is_so in applies.items():
        if is_so:
            yield EvidenceRow(kind="unknown", what=sentence)


def _days_spanned(model: JudgedModel) -> int | None:
    """Return the days from the first fitted to the last validation row; None: the split
    is not by dates.
    """
    split = model.spec.split
    if split.by != "time" or kind_of(model.rows[split.column]) != "datetime":
        return None
    first = model.fitted[split.column].min()
    return (model.rows[split.column].max() - first).days


# In the order of the page.
PROBES = (worth, challengers, robustness, rests_on, unknowns)
