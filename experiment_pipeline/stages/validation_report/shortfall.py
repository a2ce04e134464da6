"""Why the choice does not pass its gates, and what to try next: reasons, and a new
`search:`.

First come reasons that no search can fix, then those measured on the chosen fit, then
those that the search and the data leave open. The new search keeps fixed values,
extends ranges beyond their edges, moves towards more or less flexible models, and draws
with a new seed. In: spec, leaderboard, a report with a failed gate. Out: a `NextSearch`
with valid YAML.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from textwrap import indent
from typing import Any

import numpy as np

from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.numbers import evaluated
from experiment_pipeline.spec import ExperimentSpec, Range, Scalar, Search, algorithms
from experiment_pipeline.spec.algorithms import ALGORITHMS, Direction
from experiment_pipeline.spec.reading import to_yaml
from experiment_pipeline.stages.leaderboard.board import Leaderboard
from experiment_pipeline.stages.leaderboard.notes import (
    SearchEdge,
    cluster_in_words,
    rounded,
)
from experiment_pipeline.stages.search import rungs
from experiment_pipeline.stages.search.configurations import (
    Configuration,
    configurations,
    default_features,
)
from experiment_pipeline.stages.search.fingerprints import fingerprint
from experiment_pipeline.stages.search.learners import space
from experiment_pipeline.stages.search.results import ModelStore
from experiment_pipeline.stages.search.scoring import scored_rows
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.stages.validation_report import gates
from experiment_pipeline.stages.validation_report.report import (
    NextSearch,
    Reason,
    ValidationReport,
)
from experiment_pipeline.statistics.caveats import fewest_clusters, perfect_bound
from experiment_pipeline.statistics.interval import Interval, Linearised
from experiment_pipeline.statistics.metrics import (
    average,
    better,
    significantly_better,
    worse_bound,
)
from experiment_pipeline.statistics.scores import (
    SetPrediction,
    layout,
    paired_difference,
)
from experiment_pipeline.statistics.thresholds import scoring_threshold

# Algorithms that are suggested although the YAML does not name them.
FAMILIES = tuple(name for name, one in ALGORITHMS.items() if one.classifier.spaces)
# The learning curve starts at a rung of at most half the rows: a smaller step shows no
# gain.
_LARGEST_PART = 0.5
_DRAWS, _DRAWS_OF_NEW_FAMILY = 40, 20
_EXTRAS = {
    "catboost",
    "xgboost",
}  # algorithms that are installed by an extra of this name
_UNEQUAL = "Compare labels and features of the groups; a search with the same rows may not help."
_UNCOVERED = (
    "Calibrate on more rows, on rows like the parts below the promise, or promise less."
)
_DIRECTIONS: dict[str, Direction] = {"overfit": "stiffer", "underfit": "more_flexible"}


@dataclass(frozen=True)
class LearningCurve:
    """The step from the last small rung to all train rows, on the same test rows."""

    rows_before: int
    rows: int
    before: float  # mean score of the ranking metric with `rows_before`
    after: float  # the same with all
    gain: Interval  # after minus before, paired
    configurations: int  # trained on both


@dataclass(frozen=True)
class Evidence:
    """What data analysis and search know about the reachable score."""

    ceiling: float | None = (
        None  # the best score on train and test rows that their labels allow
    )
    train_rows: float = 1.0  # rows behind a train score, per test row
    curve: LearningCurve | None = None


def reasons(
    spec: ExperimentSpec,
    board: Leaderboard,
    report: ValidationReport,
    evidence: Evidence,
) -> tuple[Reason, ...]:
    """Return why a gate failed, in the order above; empty when every gate passed."""
    if report.accepted:
        return ()
    # The gate to explain: of a metric (no champion, no audit), if possible of the
    # ranking metric.
    champions = [held.gate for held in report.champions]
    unequal = [gate for gate in gates.hold_audit(spec, report.audit) if not gate.passed]
    failed = [
        gate for gate in report.failed_gates if gate not in (*champions, *unequal)
    ]
    failed = [gate for gate in failed if gate.metric in spec.metric_names]
    gate = min(failed, key=lambda gate: gate.metric != spec.metric, default=None)
    uncovered = [gate for gate in report.failed_gates if gate.metric == "coverage"]
    return (
        *_beyond_any_search(gate, spec, board, report, evidence.ceiling),
        *_looks(spec, report),
        *(Reason("groups_differ", f"{gate.in_words()}.", _UNEQUAL) for gate in unequal),
        *(
            Reason(
                "coverage_not_held",
                f"The gate fails: {one.rule}, {one.means}.",
                _UNCOVERED,
            )
            for one in uncovered
        ),
        *(reason for held in report.champions for reason in _worse(held, report)),
        *_measured(report),
        *_fit(gate, spec, board, evidence.train_rows),
        *_left_open(spec, board, report, evidence.curve),
    )


def _beyond_any_search(
    gate: gates.Gate | None,
    spec: ExperimentSpec,
    board: Leaderboard,
    report: ValidationReport,
    ceiling: float | None,
) -> Iterator[Reason]:
    if not board.beats_baseline:
        yield Reason(
            "nothing_learnt",
            f"No configuration is significantly better than the baseline: {board.metric} "
            f"{numbers.interval(board.score)}, baseline {numbers.score(board.baseline)}.",
            "Look for features that are related to the target; another search will not help.",
        )
    if gate is None:
        return
    metric, limit = gate.metric, numbers.score(gate.limit)
    if (
        ceiling is not None
        and metric == spec.metric
        and better(metric, gate.limit, ceiling)
    ):
        yield Reason(
            "label_ceiling",
            "Rows with the same features have different labels: on the train and test rows no "
            f"model can do better than {metric} {numbers.score(ceiling)}, the limit is {limit}.",
            "Correct the labels, add features that tell these rows apart, or change the limit.",
        )
    if not gate.by_bound or math.isnan(gate.value):
        return
    clusters, needed = (
        report.clusters_that_count[metric],
        fewest_clusters(metric, gate.limit),
    )
    reached = report.score(metric).interval
    if needed is None or needed > clusters:
        enough = (
            "whatever their number" if needed is None else f"with fewer than {needed:,}"
        )
        yield Reason(
            "too_few_validation_rows",
            f"In {report.rows:,} validation rows, {clusters:,} clusters ({cluster_in_words(spec)}) "
            f"count for {metric}. Even a perfect score would have the bound "
            f"{numbers.score(perfect_bound(metric, clusters))} there: it cannot reach {limit} "
            f"{enough}.",
            "Validate on more rows, or change the limit; no search can fix it.",
        )
    elif better(metric, reached.estimate, gate.limit):
        # The standard error shrinks as 1/√rows.
        factor = (
            (reached.estimate - gate.value) / (reached.estimate - gate.limit)
        ) ** 2
        criterion = any(
            (one.metric, one.limit) == (metric, gate.limit) for one in spec.acceptance
        )
        more = (
            f"about {math.ceil(factor)} times as many"
            if math.isfinite(factor)
            else "many more"
        )
        yield Reason(
            "too_few_validation_rows",
            f"The estimate of {metric}, {numbers.interval(reached)}, meets the limit {limit}; "
            "its bound does not.",
            f"Validate on {more} rows (or groups, or days)"
            + (
                ", or write judged_by: estimate below this criterion."
                if criterion
                else "."
            ),
        )


def _looks(spec: ExperimentSpec, report: ValidationReport) -> Iterator[Reason]:
    """A gate that fails at the level of this look, but would have passed at the first
    look.
    """
    pairs = zip(gates.hold(spec, report.scores), report.gates, strict=False)
    if any(first.passed and not now.passed for first, now in pairs):
        yield Reason(
            "looks_spent",
            f"At the first look a failed gate would have passed: after {report.looks} looks at these "
            f"rows the gates use {numbers.share(report.level, 6)} intervals.",
            "Validate on rows that no model was evaluated on; another attempt on these rows is judged by "
            "even wider intervals.",
        )


def _worse(
    held: gates.ChampionComparison, report: ValidationReport
) -> Iterator[Reason]:
    """The version is better, or may have been fitted with a leak, or its target had
    another meaning.
    """
    if held.scores is None or held.gate.passed:
        return
    version, found = held.version, held.scores
    retire = held.retired(report.experiment)
    if found.reversed is not None:
        yield Reason(
            "target_reversed",
            f"{version} ranks these rows worse than chance (AUC {numbers.interval(found.reversed)}): "
            "the target has changed its meaning, such as yes and no swapped.",
            f"Correct the labels; if the change is meant, {retire}.",
        )
        return
    better, change = (
        held.must_be_better,
        found.gain if held.must_be_better else found.difference,
    )
    yield Reason(
        "worse_than_champion",
        f"This model is {held.gate.means.replace('it', f'the {held.role} {version}')} on the same "
        f"{found.rows:,} rows: {held.metric} {numbers.score(found.challenger)} after "
        f"{numbers.score(found.champion)} (difference {numbers.interval(change)}).",
        f"Compare the data, features and search of {version} with these; to replace it anyway, "
        f"{'drop replace: if_better' if better else 'raise not_worse_than_champion.tolerance'}.",
    )
    if held.may_have_leaked:
        gain = report.score(held.metric).difference_to_baseline
        how = (
            "significantly"
            if significantly_better(held.metric, gain)
            else "not significantly"
        )
        yield Reason(
            "champion_may_have_leaked",
            f"{version} is far above this model, which is itself {how} better than the baseline: "
            f"{version} may have been fitted with a leak that was removed since.",
            f"If so, {retire}; the version before it then takes its place.",
        )


def _measured(report: ValidationReport) -> Iterator[Reason]:
    gap = report.gap
    if gap.worse:
        whose = "The same fit" if gap.evaluation == "test_set" else "The final model"
        yield Reason(
            "drift",
            f"{whose} scores worse on validation than {evaluated(gap.evaluation).short}: "
            f"{report.metric} {numbers.score(gap.validation.estimate)} after "
            f"{numbers.score(gap.test.estimate)} (difference {numbers.interval(gap.difference)}).",
            "Find the features that changed between the sets, retrain on later rows, or drop them.",
        )


def _fit(
    gate: gates.Gate | None, spec: ExperimentSpec, board: Leaderboard, train_rows: float
) -> Iterator[Reason]:
    """Overfit when train is better than test by twice the half width of the 95 %
    interval, else underfit when the train score misses the limit. The variances add up,
    each as 1/rows.
    """
    row = board.rows[board.rows["key"] == board.single].iloc[0]
    train, gap = float(row["train_score"]), float(row["overfit_gap"])
    model = (
        "the chosen model" if board.single == board.chosen else "the best model alone"
    )
    if gap > (board.score.high - board.score.low) * math.sqrt(1 + 1 / train_rows):
        yield Reason(
            "overfit",
            f"On its train rows {model} has {spec.metric} {numbers.score(train)}, "
            f"{evaluated(spec.evaluation_name).short} {numbers.score(float(row['test_score']))}: it "
            "has memorised rows.",
            "Regularise more, drop features, or train on more rows.",
        )
    elif gate and gate.metric == spec.metric and better(spec.metric, gate.limit, train):
        yield Reason(
            "underfit",
            f"On its own train rows {model} has only {spec.metric} "
            f"{numbers.score(train)}, the limit is {numbers.score(gate.limit)}.",
            "Let models be more flexible, and add features.",
        )


def _left_open(
    spec: ExperimentSpec,
    board: Leaderboard,
    report: ValidationReport,
    curve: LearningCurve | None,
) -> Iterator[Reason]:
    for worst in [
        segment for segment in report.segments or () if segment.clearly_worse
    ][:1]:
        yield Reason(
            "weak_segment",
            f"The model is weaker than expected where {worst.column} is {worst.value}: "
            f"{report.metric} {numbers.interval(worst.score)} on {worst.rows:,} rows, expected "
            f"{numbers.score(worst.expected)}.",
            "Look for features that matter there, or use another model for these rows.",
        )
    for edge in board.edges:
        sentence = edge.in_words().partition(";")[0]
        yield Reason(
            "search_edge", f"{sentence}.", f"Extend the search to {edge.wider:g}."
        )
    # All train rows are significantly better than a part of them.
    if curve is not None and better(
        spec.metric, worse_bound(spec.metric, curve.gain), 0.0
    ):
        yield Reason(
            "few_train_rows",
            f"More train rows still help: {spec.metric} {numbers.score(curve.before)} with "
            f"{curve.rows_before:,} rows, {numbers.score(curve.after)} with {curve.rows:,} on the "
            f"same test rows (difference {numbers.interval(curve.gain)}, mean of "
            f"{numbers.counted(curve.configurations, 'configuration')}).",
            "Collect more rows of the same kind.",
        )
    tried = _families(spec)
    if len(tried) == 1:
        advice = "Try an algorithm of another family."
        yield Reason("one_family", f"Only {tried[0]} was tried.", advice)
    elif tried and set(tried) <= set(
        board.rows.loc[board.rows["in_tie_group"], "algorithm"]
    ):
        yield Reason(
            "families_agree",
            f"Algorithms as different as {', '.join(tried[:-1])} and {tried[-1]} reach the same "
            f"{spec.metric}: the features, which they share, set the limit.",
            "Add or improve features before you search further.",
        )


def gather(
    spec: ExperimentSpec,
    board: Leaderboard,
    sets: TrainingSets,
    models: ModelStore,
    ceiling: float | None,
) -> Evidence:
    """Return the evidence for a choice that is refused."""
    train_rows = len(scored_rows(len(sets.train), sets.classes)) / len(sets.test)
    return Evidence(ceiling, train_rows, _learning_curve(spec, board, sets, models))


def _learning_curve(
    spec: ExperimentSpec, board: Leaderboard, sets: TrainingSets, models: ModelStore
) -> LearningCurve | None:
    """The mean gain of the train rows beyond the last small rung; None without such a
    rung. Configurations were chosen by their scores at the rung, so the gain is biased
    downwards.
    """
    ranked = set(board.rows.loc[board.rows["rank"].notna(), "key"])
    tried = rungs.within_budget(configurations(spec), spec)
    competing = [one for one in tried if rungs.competes(one)]
    *small, full = rungs.ladder(len(competing), sets, spec).rungs
    rung = next((one for one in reversed(small) if one.fraction <= _LARGEST_PART), None)
    if rung is None:
        return None
    pairs = [
        (fingerprint(one, rung.sets, spec), fingerprint(one, full.sets, spec))
        for one in competing
        if one.key in ranked
    ]
    stored = models.test_predictions([print_ for pair in pairs for print_ in pair])
    both = [pair for pair in pairs if set(pair) <= stored.keys()]
    if not both:
        return None
    y, weights = rung.sets.y_test, rung.sets.w_test
    scored = sets.test.index.isin(rung.sets.test.index)
    clusters = rung.sets.test_clusters(spec)

    def linearised(prediction: np.ndarray) -> Linearised:
        cut = scoring_threshold([spec.metric], y, prediction, weights)
        return SetPrediction(y, prediction, clusters, weights).linearise(
            spec.metric, cut
        )

    before = average(linearised(stored[part]) for part, _ in both)
    after = average(linearised(stored[whole][scored]) for _, whole in both)
    gain = paired_difference(before, after, layout(spec.metric, y, clusters, weights))
    rows = len(rung.sets.train), len(sets.train)
    return LearningCurve(*rows, before.estimate, after.estimate, gain, len(both))


def _families(spec: ExperimentSpec) -> tuple[str, ...]:
    """The algorithms of the search that use features, in the order of the YAML."""
    tried = dict.fromkeys(entry.algorithm for entry in spec.search)
    return tuple(filter(algorithms.competes, tried))


def next_search(
    spec: ExperimentSpec,
    board: Leaderboard,
    report: ValidationReport,
    evidence: Evidence,
) -> NextSearch:
    """Return why the choice fails its gates, and the next search to try."""
    found = reasons(spec, board, report, evidence)
    asked = [_DIRECTIONS[reason.code] for reason in found if reason.code in _DIRECTIONS]
    chosen = next(one for one in configurations(spec) if one.key == board.single)
    seed = (max(entry.seed for entry in spec.search) + 1) % 2**31
    values = _around(spec, chosen, board.edges, asked[0] if asked else "as_is")
    searches = []
    # There is nothing to search around a choice without hyperparameters.
    if any(isinstance(value, Range | tuple) for value in values.values()):
        searches.append(
            _random(chosen.algorithm, _DRAWS, seed, values, chosen.features)
        )
    if not searches or any(reason.code == "one_family" for reason in found):
        tried = _families(spec)
        searches += [
            _random(name, _DRAWS_OF_NEW_FAMILY, seed, space(name, spec.task, "as_is"))
            for name in [name for name in FAMILIES if name not in tried] or FAMILIES
        ]
    written = [
        search.model_dump(mode="json", exclude_unset=True)
        for search in (*spec.search, *searches)
    ]
    extras = sorted({one.algorithm for one in searches} & _EXTRAS)
    needed = (
        f"# pip install 'experiment-pipeline[{','.join(extras)}]'\n" if extras else ""
    )
    return NextSearch(found, indent(needed + to_yaml({"search": written}), "  "))


def _around(
    spec: ExperimentSpec,
    chosen: Configuration,
    edges: Iterable[SearchEdge],
    direction: Direction,
) -> dict[str, Any]:
    declared: dict[str, Range | tuple[Scalar, ...]] = {}
    for entry in spec.search:
        if entry.algorithm == chosen.algorithm:
            declared |= entry.searched
            for name in dict.fromkeys(
                name for one in entry.configurations for name in one
            ):
                values = [one[name] for one in entry.configurations if name in one]
                declared[name] = tuple(dict.fromkeys(values))
    given = chosen.hyperparameters
    new = space(chosen.algorithm, spec.task, direction, given)
    # Values that the YAML fixes stay fixed, unless other models are needed.
    fixed = {
        name: value
        for name, value in given.items()
        if name not in declared and (direction == "as_is" or name not in new)
    }
    # What the algorithm's space does not know (all of a user's own estimator) is
    # searched as before.
    again = {
        name: declared[name] for name in declared.keys() & given.keys() - new.keys()
    }
    return {
        **new,
        **fixed,
        **again,
        **{edge.hyperparameter: _beyond(edge) for edge in edges},
    }


def _beyond(edge: SearchEdge) -> Range:
    """From the middle of the searched range to beyond its edge."""
    positive = min(edge.low, edge.wider) > 0
    middle = math.sqrt(edge.low * edge.high) if positive else (edge.low + edge.high) / 2
    ends = sorted([rounded(middle, integer=isinstance(edge.wider, int)), edge.wider])
    return Range(low=ends[0], high=ends[1], scale="log" if positive else "linear")


def _random(
    algorithm: str,
    draws: int,
    seed: int,
    hyperparameters: Mapping[str, Any],
    features: str | None = None,
) -> Search:
    fields = {"algorithm": algorithm, "method": "random", "draws": draws, "seed": seed}
    encoder = (
        {}
        if features in {None, default_features(algorithm)}
        else {"features": features}
    )
    ordered = dict(sorted(hyperparameters.items()))
    return Search.model_validate(fields | encoder | {"hyperparameters": ordered})
