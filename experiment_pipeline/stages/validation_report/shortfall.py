"""Why the choice does not pass its gates, and what to try next: reasons, and a new
`search:`.

First come reasons that no search can fix, then those measured on the chosen fit, then
those that the search and the data leave open. The new search keeps fixed values,
extends ranges beyond their edges, moves towards more or less flexible models, and draws
with a new seed. In: spec, leaderboard, a report with a failed gate. Out: a `NextSearch`
with valid YAML.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
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
from experiment_pipeline.stages.search.budget import lacks_seconds
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
from experiment_pipeline.stages.validation_report.gates import (
    NO_LEAK,
    ChampionComparison,
    Gate,
    audit_gates,
    incumbent_gate,
    plausibility_gate,
    score_gates,
)
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
)
from experiment_pipeline.statistics.scores import (
    SetPrediction,
    layout,
    paired_difference,
)
from experiment_pipeline.statistics.thresholds import scoring_threshold

# Algorithms that are suggested although the YAML does not name them.
FAMILIES = tuple(
    name for name, algorithm in ALGORITHMS.items() if algorithm.classifier.spaces
)
# The learning curve starts at a rung of at most half the rows: a smaller step shows no
# gain.
_LARGEST_PART = 0.5
# From this share of configurations without time on, more seconds are advised.
_LEFT_OUT = 0.2
_DRAWS, _DRAWS_OF_NEW_FAMILY = 40, 20
# Algorithms that are installed by an extra of this name.
_EXTRAS = {"catboost", "xgboost"}


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

    # the best score on train and test rows that their labels allow
    ceiling: float | None = None
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
    gate = _gate_to_explain(spec, report)
    why = [*_implausible(spec, report)]
    if gate is not None:
        why += _label_ceiling(gate, spec, evidence.ceiling)
        why += _too_few_validation_rows(gate, spec, report)
    if out_of_time := [*_out_of_time(board)]:
        # Perhaps the best was not tried: other reasons are less certain.
        why += [*out_of_time, *_nothing_learnt(board)]
    else:
        why = [*_nothing_learnt(board), *why]
    why += _looks_spent(spec, report)
    why += _unequal_groups(spec, report)
    why += _coverage_not_held(report)
    for comparison in report.champions:
        why += _worse_than_champion(comparison, report)
    why += _worse_than_incumbent(report)
    why += _drift(report)
    why += _fit(gate, spec, board, evidence.train_rows)
    why += _weak_segment(report)
    why += _search_edges(board)
    why += _few_train_rows(spec, evidence.curve)
    why += _families_tried(spec, board)
    return tuple(why)


def _gate_to_explain(spec: ExperimentSpec, report: ValidationReport) -> Gate | None:
    """A failed gate of a metric, if possible of the ranking metric."""
    failed = _failed_of_metrics(spec, report)
    return min(failed, key=lambda gate: gate.metric != spec.metric, default=None)


def _failed_of_metrics(spec: ExperimentSpec, report: ValidationReport) -> list[Gate]:
    """The failed gates of scores that should be better: no champion, no audit."""
    not_of_scores = [comparison.gate for comparison in report.champions]
    if report.incumbent is not None:
        not_of_scores.append(incumbent_gate(report.incumbent))
    plausibility = plausibility_gate(spec, report.scores)
    if plausibility is not None:
        not_of_scores.append(plausibility)
    return [
        gate
        for gate in report.failed_gates
        if gate.metric in spec.metric_names and gate not in not_of_scores
    ]


def _nothing_learnt(board: Leaderboard) -> Iterator[Reason]:
    if not board.beats_baseline:
        yield Reason(
            "nothing_learnt",
            "No configuration is significantly better than the baseline: "
            f"{board.metric} {numbers.interval(board.score)}, baseline "
            f"{numbers.score(board.baseline)}.",
            "Look for features that are related to the target; another search will not "
            "help.",
        )


def _implausible(spec: ExperimentSpec, report: ValidationReport) -> Iterator[Reason]:
    gate = plausibility_gate(spec, report.scores)
    if gate is not None and not gate.passed:
        yield Reason(
            "implausible_error",
            f"The {gate.rule.removeprefix('error plausible: ')}.",
            "Ask when the most important features become known, and exclude what is "
            f"not known before the prediction. If it is no leak, write {NO_LEAK}.",
        )


def _label_ceiling(
    gate: Gate, spec: ExperimentSpec, ceiling: float | None
) -> Iterator[Reason]:
    metric = gate.metric
    if ceiling is None or metric != spec.metric:
        return
    if better(metric, gate.limit, ceiling):
        yield Reason(
            "label_ceiling",
            "Rows with the same features have different labels: on the train and test "
            f"rows no model can do better than {metric} {numbers.score(ceiling)}, the "
            f"limit is {numbers.score(gate.limit)}.",
            "Correct the labels, add features that tell these rows apart, or change "
            "the limit.",
        )


def _too_few_validation_rows(
    gate: Gate, spec: ExperimentSpec, report: ValidationReport
) -> Iterator[Reason]:
    """Even a perfect score would miss the limit, or only the bound of this one does."""
    if not gate.by_bound or math.isnan(gate.value):
        return
    metric = gate.metric
    clusters = report.clusters_that_count[metric]
    needed = fewest_clusters(metric, gate.limit)
    bound = perfect_bound(metric, clusters)
    score = report.score(metric).interval
    # A user's own metric has no perfect score, and its bound is infinite.
    if math.isfinite(bound) and (needed is None or needed > clusters):
        number = "whatever their number"
        if needed is not None:
            number = f"with fewer than {needed:,}"
        yield Reason(
            "too_few_validation_rows",
            f"In {report.rows:,} validation rows, {clusters:,} clusters "
            f"({cluster_in_words(spec)}) count for {metric}. Even a perfect score "
            f"would have the bound {numbers.score(bound)} there: it cannot reach "
            f"{numbers.score(gate.limit)} {number}.",
            "Validate on more rows, or change the limit; no search can fix it.",
        )
    elif better(metric, score.estimate, gate.limit):
        yield _only_the_bound(gate, spec, score)


def _only_the_bound(gate: Gate, spec: ExperimentSpec, score: Interval) -> Reason:
    # The standard error shrinks as 1/√rows.
    reach, lead = score.estimate - gate.value, score.estimate - gate.limit
    times = (reach / lead) ** 2
    rows = "many more"
    if math.isfinite(times):
        rows = f"about {math.ceil(times)} times as many"
    advice = f"Validate on {rows} rows (or groups, or days)"
    criteria = [(criterion.metric, criterion.limit) for criterion in spec.acceptance]
    if (gate.metric, gate.limit) in criteria:
        advice += ", or write judged_by: estimate below this criterion"
    return Reason(
        "too_few_validation_rows",
        f"The estimate of {gate.metric}, {numbers.interval(score)}, meets the limit "
        f"{numbers.score(gate.limit)}; its bound does not.",
        f"{advice}.",
    )


def _looks_spent(spec: ExperimentSpec, report: ValidationReport) -> Iterator[Reason]:
    """A gate that fails at the level of this look, but would have passed at the first
    look.
    """
    passed_then = {
        (gate.metric, gate.limit, gate.by_bound)
        for gate in score_gates(spec, report.scores)
        if gate.passed
    }
    if any(
        (gate.metric, gate.limit, gate.by_bound) in passed_then
        for gate in _failed_of_metrics(spec, report)
    ):
        yield Reason(
            "looks_spent",
            f"At the first look a failed gate would have passed: after {report.looks} "
            f"looks at these rows the gates use {numbers.confidence(report.level)} "
            "intervals.",
            "Validate on rows that no model was evaluated on; another attempt on these "
            "rows is judged by even wider intervals.",
        )


def _unequal_groups(spec: ExperimentSpec, report: ValidationReport) -> Iterator[Reason]:
    for gate in audit_gates(spec, report.audit):
        if not gate.passed:
            yield Reason(
                "groups_differ",
                f"{gate.in_words()}.",
                "Compare labels and features of the groups; a search with the same "
                "rows may not help.",
            )


def _coverage_not_held(report: ValidationReport) -> Iterator[Reason]:
    for gate in report.failed_gates:
        if gate.metric == "coverage":
            yield Reason(
                "coverage_not_held",
                f"The gate fails: {gate.rule}, {gate.means}.",
                "Calibrate on more rows, on rows like the parts below the promise, or "
                "promise less.",
            )


def _worse_than_incumbent(report: ValidationReport) -> Iterator[Reason]:
    comparison = report.incumbent
    if comparison is None:
        return
    gate = incumbent_gate(comparison)
    if not gate.passed:
        yield Reason(
            "worse_than_incumbent",
            f"This model is {comparison.answer}: {gate.rule.partition(': ')[2]}.",
            "Go on with the incumbent; give the model the columns that it decides by.",
        )


def _worse_than_champion(
    comparison: ChampionComparison, report: ValidationReport
) -> Iterator[Reason]:
    """The version is better, or may have been fitted with a leak, or its target had
    another meaning.
    """
    paired = comparison.scores
    version = comparison.version
    if paired is None or comparison.gate.passed:
        return
    retire = comparison.retired(report.experiment)
    if paired.reversed is not None:
        yield Reason(
            "target_reversed",
            f"{version} ranks these rows worse than chance (AUC "
            f"{numbers.interval(paired.reversed)}): the target has changed its "
            "meaning, such as yes and no swapped.",
            f"Correct the labels; if the change is meant, {retire}.",
        )
        return
    how = "significantly worse"
    change = paired.difference
    replaced = "raise not_worse_than_champion.tolerance"
    if comparison.must_be_better:
        how = "not significantly better"
        change = paired.gain
        replaced = "drop replace: if_better"
    yield Reason(
        "worse_than_champion",
        f"This model is {how} than the {comparison.role} {version} on the same "
        f"{paired.rows:,} rows: {comparison.metric} {numbers.score(paired.challenger)} "
        f"after {numbers.score(paired.champion)} (difference "
        f"{numbers.interval(change)}).",
        f"Compare the data, features and search of {version} with these; to replace it "
        f"anyway, {replaced}.",
    )
    if comparison.may_have_leaked:
        gain = report.score(comparison.metric).difference_to_baseline
        learnt = significantly_better(comparison.metric, gain)
        yield Reason(
            "champion_may_have_leaked",
            f"{version} is far above this model, which is itself "
            f"{'significantly' if learnt else 'not significantly'} better than the "
            f"baseline: {version} may have been fitted with a leak that was removed "
            "since.",
            f"If so, {retire}; the version before it then takes its place.",
        )


def _drift(report: ValidationReport) -> Iterator[Reason]:
    gap = report.gap
    if gap.worse:
        model = "The same fit" if gap.evaluation == "test_set" else "The final model"
        yield Reason(
            "drift",
            f"{model} scores worse on validation than "
            f"{evaluated(gap.evaluation).short}: {report.metric} "
            f"{numbers.score(gap.validation.estimate)} after "
            f"{numbers.score(gap.test.estimate)} (difference "
            f"{numbers.interval(gap.difference)}).",
            "Find the features that changed between the sets, retrain on later rows, "
            "or drop them.",
        )


def _fit(
    gate: Gate | None, spec: ExperimentSpec, board: Leaderboard, train_rows: float
) -> Iterator[Reason]:
    """Overfit when train is better than test by twice the half width of the 95 %
    interval, else underfit when the train score misses the limit. The variances add up,
    each as 1/rows.
    """
    metric = spec.metric
    row = board.rows[board.rows["key"] == board.single_key].iloc[0]
    train = float(row["train_score"])
    gap = float(row["overfit_gap"])
    width = (board.score.high - board.score.low) * math.sqrt(1 + 1 / train_rows)
    model = "the best model alone"
    if board.single_key == board.chosen:
        model = "the chosen model"
    if gap > width:
        yield Reason(
            "overfit",
            f"On its train rows {model} has {metric} {numbers.score(train)}, "
            f"{evaluated(spec.evaluation_name).short} "
            f"{numbers.score(float(row['test_score']))}: it has memorised rows.",
            "Regularise more, drop features, or train on more rows.",
        )
    elif gate and gate.metric == metric and better(metric, gate.limit, train):
        yield Reason(
            "underfit",
            f"On its own train rows {model} has only {metric} {numbers.score(train)}, "
            f"the limit is {numbers.score(gate.limit)}.",
            "Let models be more flexible, and add features.",
        )


def _weak_segment(report: ValidationReport) -> Iterator[Reason]:
    for segment in report.segments or ():
        if segment.clearly_worse:
            yield Reason(
                "weak_segment",
                f"The model is weaker than expected where {segment.column} is "
                f"{segment.value}: {report.metric} {numbers.interval(segment.score)} "
                f"on {segment.rows:,} rows, expected "
                f"{numbers.score(segment.expected)}.",
                "Look for features that matter there, or use another model for these "
                "rows.",
            )
            return


def _out_of_time(board: Leaderboard) -> Iterator[Reason]:
    single = board.rows[board.rows["key"] != algorithms.ENSEMBLE]
    left_out = sum(map(lacks_seconds, single["reason"]))
    if left_out >= _LEFT_OUT * len(single):
        yield Reason(
            "out_of_time",
            f"{left_out:,} of {numbers.counted(len(single), 'configuration')} had no "
            "time: the search may not have tried the best.",
            "Raise budget.seconds, at first to twice as many: the next run goes on "
            "where this one ended.",
        )


def _search_edges(board: Leaderboard) -> Iterator[Reason]:
    for edge in board.edges:
        sentence = edge.in_words().partition(";")[0]
        advice = f"Extend the search of {edge.hyperparameter} to {edge.wider:g}."
        yield Reason("search_edge", f"{sentence}.", advice)


def _few_train_rows(
    spec: ExperimentSpec, curve: LearningCurve | None
) -> Iterator[Reason]:
    """All train rows are significantly better than a part of them."""
    if curve is None or not significantly_better(spec.metric, curve.gain):
        return
    fits = numbers.counted(curve.configurations, "configuration")
    yield Reason(
        "few_train_rows",
        f"More train rows still help: {spec.metric} {numbers.score(curve.before)} with "
        f"{curve.rows_before:,} rows, {numbers.score(curve.after)} with {curve.rows:,} "
        f"on the same test rows (difference {numbers.interval(curve.gain)}, mean of "
        f"{fits}).",
        "Collect more rows of the same kind.",
    )


def _families_tried(spec: ExperimentSpec, board: Leaderboard) -> Iterator[Reason]:
    tried = _families(spec)
    tied = board.rows.loc[board.rows["in_tie_group"], "algorithm"]
    if len(tried) == 1:
        advice = "Try an algorithm of another family."
        yield Reason("one_family", f"Only {tried[0]} was tried.", advice)
    elif tried and set(tried) <= set(tied):
        yield Reason(
            "families_agree",
            f"Algorithms as different as {', '.join(tried[:-1])} and {tried[-1]} reach "
            f"the same {spec.metric}: the features, which they share, set the limit.",
            "Add or improve features before you search further.",
        )


def _families(spec: ExperimentSpec) -> tuple[str, ...]:
    """The algorithms of the search that use features, in the order of the YAML."""
    declared = dict.fromkeys(entry.algorithm for entry in spec.search)
    return tuple(filter(algorithms.competes, declared))


def gather(
    spec: ExperimentSpec,
    board: Leaderboard,
    sets: TrainingSets,
    models: ModelStore,
    ceiling: float | None,
) -> Evidence:
    """Return the evidence for a choice that is not accepted."""
    train_rows = len(scored_rows(len(sets.train), sets.classes)) / len(sets.test)
    return Evidence(ceiling, train_rows, _learning_curve(spec, board, sets, models))


def _learning_curve(
    spec: ExperimentSpec, board: Leaderboard, sets: TrainingSets, models: ModelStore
) -> LearningCurve | None:
    """The mean gain of the train rows beyond the last small rung; None without such a
    rung. Configurations were chosen by their scores at the rung, so the gain is biased
    downwards.
    """
    within_budget = rungs.within_budget(configurations(spec), spec)
    competing = list(filter(rungs.competes, within_budget))
    *small, full = rungs.ladder(len(competing), sets, spec).rungs
    small = [rung for rung in small if rung.fraction <= _LARGEST_PART]
    if not small:
        return None
    rung = small[-1]
    ranked = set(board.rows.loc[board.rows["rank"].notna(), "key"])
    before, after = [], []
    for configuration in competing:
        if configuration.key not in ranked:
            continue
        part = fingerprint(configuration, rung.sets, spec)
        whole = fingerprint(configuration, full.sets, spec)
        predictions = models.test_predictions([part, whole])
        if len(predictions) == 2:
            before.append(predictions[part])
            after.append(predictions[whole])
    if not before:
        return None
    y = rung.sets.y_test
    weights = rung.sets.w_test
    scored = sets.test.index.isin(rung.sets.test.index)
    clusters = rung.sets.test_clusters(spec)

    def linearised(prediction: np.ndarray) -> Linearised:
        cut = scoring_threshold([spec.metric], y, prediction, weights)
        rows = SetPrediction(y, prediction, clusters, weights)
        return rows.linearise(spec.metric, cut)

    mean_before = average(linearised(prediction) for prediction in before)
    mean_after = average(linearised(prediction[scored]) for prediction in after)
    drawn = layout(spec.metric, y, clusters, weights)
    return LearningCurve(
        rows_before=len(rung.sets.train),
        rows=len(sets.train),
        before=mean_before.estimate,
        after=mean_after.estimate,
        gain=paired_difference(mean_before, mean_after, drawn),
        configurations=len(before),
    )


def next_search(
    spec: ExperimentSpec,
    board: Leaderboard,
    report: ValidationReport,
    evidence: Evidence,
) -> NextSearch:
    """Return why the choice fails its gates, and the next search to try."""
    why = reasons(spec, board, report, evidence)
    searches = _searches(spec, board, {reason.code for reason in why})
    entries = [
        search.model_dump(mode="json", exclude_unset=True)
        for search in (*spec.search, *searches)
    ]
    text = to_yaml({"search": entries})
    extras = sorted({search.algorithm for search in searches} & _EXTRAS)
    if extras:
        text = f"# pip install 'experiment-pipeline[{','.join(extras)}]'\n{text}"
    return NextSearch(why, indent(text, "  "))


def _searches(spec: ExperimentSpec, board: Leaderboard, why: set[str]) -> list[Search]:
    """What to add to the search, given the codes of the reasons."""
    seed = (max(entry.seed for entry in spec.search) + 1) % 2**31
    by_key = {declared.key: declared for declared in configurations(spec)}
    chosen = by_key[board.single_key]
    values = _around(spec, chosen, board.edges, _direction(why))
    searches = []
    # There is nothing to search around a choice without hyperparameters.
    if any(isinstance(value, Range | tuple) for value in values.values()):
        around = _random(chosen.algorithm, _DRAWS, seed, values, chosen.features)
        searches.append(around)
    if searches and "one_family" not in why:
        return searches
    return searches + _other_families(spec, seed)


def _other_families(spec: ExperimentSpec, seed: int) -> list[Search]:
    tried = _families(spec)
    untried = [name for name in FAMILIES if name not in tried]
    return [
        _random(name, _DRAWS_OF_NEW_FAMILY, seed, space(name, spec.task, "as_is"))
        for name in untried or FAMILIES
    ]


def _direction(why: set[str]) -> Direction:
    if "overfit" in why:
        return "stiffer"
    return "more_flexible" if "underfit" in why else "as_is"


def _around(
    spec: ExperimentSpec,
    chosen: Configuration,
    edges: Sequence[SearchEdge],
    direction: Direction,
) -> dict[str, Any]:
    """The values to search around a choice, beyond its edges and in a direction."""
    declared = _declared(spec, chosen.algorithm)
    used = chosen.hyperparameters
    values: dict[str, Any] = dict(space(chosen.algorithm, spec.task, direction, used))
    for name, value in used.items():
        if name in declared:
            # What the algorithm's space does not know (all of a user's own estimator)
            # is searched as before.
            values.setdefault(name, declared[name])
        elif direction == "as_is":
            values[name] = value  # fixed by the YAML
        else:
            values.setdefault(name, value)  # unless other models are needed
    return values | {edge.hyperparameter: _beyond(edge) for edge in edges}


def _declared(
    spec: ExperimentSpec, algorithm: str
) -> dict[str, Range | tuple[Scalar, ...]]:
    """What the YAML searches of an algorithm: ranges, and lists of values."""
    declared: dict[str, Range | tuple[Scalar, ...]] = {}
    for entry in spec.search:
        if entry.algorithm != algorithm:
            continue
        declared |= entry.searched
        values: dict[str, dict[Scalar, None]] = {}
        for configuration in entry.configurations:
            for name, value in configuration.items():
                values.setdefault(name, {})[value] = None
        declared |= {name: tuple(listed) for name, listed in values.items()}
    return declared


def _beyond(edge: SearchEdge) -> Range:
    """From the middle of the searched range to beyond its edge."""
    scale = "linear"
    middle = (edge.low + edge.high) / 2
    if min(edge.low, edge.wider) > 0:
        scale = "log"
        middle = math.sqrt(edge.low * edge.high)
    inner = rounded(middle, integer=isinstance(edge.wider, int))
    low, high = sorted([inner, edge.wider])
    return Range(low=low, high=high, scale=scale)


def _random(
    algorithm: str,
    draws: int,
    seed: int,
    hyperparameters: Mapping[str, Any],
    features: str | None = None,
) -> Search:
    fields: dict[str, Any] = {
        "algorithm": algorithm,
        "method": "random",
        "draws": draws,
        "seed": seed,
        "hyperparameters": dict(sorted(hyperparameters.items())),
    }
    if features is not None and features != default_features(algorithm):
        fields["features"] = features
    return Search.model_validate(fields)
