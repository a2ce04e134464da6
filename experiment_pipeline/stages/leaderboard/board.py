"""The leaderboard: a row for every configuration, and the choice of one with its
reason.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import pandas as pd

from experiment_pipeline.errors import StorageError, TrainingError, listed
from experiment_pipeline.reporting import numbers
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.spec.algorithms import ENSEMBLE
from experiment_pipeline.stages.leaderboard import notes as leaderboard_notes
from experiment_pipeline.stages.leaderboard.ensemble import (
    CrossFittedEnsemble,
    Ensemble,
    RefitTime,
    find_ensemble,
    find_in_time,
)
from experiment_pipeline.stages.leaderboard.incumbent import (
    IncumbentAnswers,
    IncumbentComparison,
    compare_with_incumbent,
)
from experiment_pipeline.stages.leaderboard.notes import SearchEdge, search_edges
from experiment_pipeline.stages.leaderboard.ranking import (
    Measured,
    RankedModel,
    RankedRows,
    Ranking,
    build_rows,
    order,
)
from experiment_pipeline.stages.leaderboard.scored import (
    NOTHING_EARLIER,
    ComparedRows,
    EarlierScores,
    ScoreLedger,
)
from experiment_pipeline.stages.search.conclusions import (
    TRAINED,
    Conclusion,
    SearchResults,
    concluded,
)
from experiment_pipeline.stages.search.configurations import (
    Configuration,
    configurations,
)
from experiment_pipeline.stages.search.results import ModelResult, ModelStore
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.statistics.interval import Interval
from experiment_pipeline.statistics.metrics import (
    metric_of,
    significantly_better,
    worse_bound,
)
from experiment_pipeline.statistics.thresholds import best_threshold, threshold_value
from experiment_pipeline.storage.records import fingerprint_of
from experiment_pipeline.storage.run_code import metric_sources
from experiment_pipeline.storage.tables import facts_json
from experiment_pipeline.table.digests import table_digest

_RANKED_BY = ("key", "status", "rung", "fingerprint", "error_type", "reason", "notes")
# Columns and rows of a leaderboard in a notebook.
_SHOWN = ("rank", "key", "test_score", "low", "high", "in_tie_group", "status")
_MOST_SHOWN = 10


@dataclass(frozen=True, eq=False)
class Leaderboard:
    """A ranking and its choice."""

    metric: str  # by which configurations are ranked
    # with the columns of `ranking.COLUMNS`: a row per declared configuration, the best
    # first, those without a rank last. `low` and `high` bound the score (95 %),
    # `difference_low` and `difference_high` the true `difference_to_best`: both for all
    # configurations together. The ensemble's difference is its lead over a single model
    # picked on other rows than those that score it; `overfit_gap` is by how much the
    # train score is better
    rows: pd.DataFrame
    chosen: str  # key of the configuration to ship
    reason: str  # why, in words
    score: Interval  # the chosen configuration's score on the test set
    baseline: float  # what predicting without features scores there
    # the chosen score minus the baseline's on the same rows, at a cross-fitted
    # threshold; the bounds hold for all configurations together
    difference_to_baseline: Interval
    # keys that are statistically tied with the best, the best first
    tie_group: tuple[str, ...]
    # expected selection bias of the best single score; None where it cannot be
    # separated from drift (a split by time), or not be estimated (one resampling
    # cluster)
    optimism: float | None
    # where the choice, or of an ensemble the best configuration, lies at an end of the
    # search
    edges: tuple[SearchEdge, ...]
    notes: tuple[str, ...]  # caveats, one sentence each
    # test_set, or cross_validation: scores of train and test rows, each left out of the
    # fit
    evaluation: str = "test_set"
    ensemble: Ensemble | None = None  # of the best few; it has a row as well
    by_hand: bool = False  # whether a person has chosen
    # the choice beside the rule in use today; None: the YAML names none
    incumbent: IncumbentComparison | None = None
    # of the sets "train" and "test" that were used, and of the YAML's keys that decided
    # the ranking
    digests: Mapping[str, str] = field(default_factory=dict)
    yaml_digests: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        where = numbers.evaluated(self.evaluation).where
        first = self.rows[list(_SHOWN)].head(_MOST_SHOWN).to_string(index=False)
        return (
            f"{len(self.rows):,} rows; chosen: {self.chosen}, {self.metric} "
            f"{numbers.interval(self.score)} {where}, baseline "
            f"{numbers.score(self.baseline)}\n{first}"
        )

    @property
    def beats_baseline(self) -> bool:
        """Whether the chosen score is significantly better than the baseline's."""
        return significantly_better(self.metric, self.difference_to_baseline)

    @property
    def tolerance_of_tie(self) -> float:
        """How much worse than the best a choice by hand may be; 0 if it is not tied."""
        if not self.by_hand or self.chosen not in self.tie_group:
            return 0.0
        row = self.rows[self.rows["key"] == self.chosen].iloc[0]
        widest = float(max(abs(row["difference_low"]), abs(row["difference_high"])))
        return widest if math.isfinite(widest) else 0.0

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the chosen model."""
        return str(self.rows.loc[self.rows["key"] == self.chosen, "fingerprint"].item())

    @property
    def searched_cpu_seconds(self) -> float:
        """CPU seconds of the fits behind all rows, each counted once."""
        is_single = self.rows["key"] != ENSEMBLE
        return float(self.rows.loc[is_single, "fit_cpu_seconds"].sum())

    @property
    def chosen_ensemble(self) -> Ensemble | None:
        """The ensemble, where it is the choice."""
        return self.ensemble if self.chosen == ENSEMBLE else None

    @property
    def single_key(self) -> str:
        """Key of the choice; if that is the ensemble, the key of the best single
        configuration.
        """
        if self.chosen != ENSEMBLE:
            return self.chosen
        return str(self.rows["key"][self.rows["key"] != ENSEMBLE].iloc[0])

    def configurations(self, spec: ExperimentSpec) -> dict[str, Configuration]:
        """Return key → configuration: all that the YAML declares, and the ensemble."""
        declared = [*configurations(spec)]
        if self.ensemble is not None:
            declared.append(self.ensemble.configuration)
        return {configuration.key: configuration for configuration in declared}


@dataclass(frozen=True)
class ChoiceByHand:
    """What a person has chosen from a leaderboard, overriding the rule of `choice`."""

    key: str  # of a ranked row
    why: str
    by: str
    # of an ensemble whose weights are known: key of a member → weight
    weights: Mapping[str, float] = field(default_factory=dict)


def leaderboard(
    results: SearchResults,
    models: ModelStore,
    sets: TrainingSets,
    spec: ExperimentSpec,
    set_aside: Sequence[str],
    time: RefitTime | None = None,
    by_hand: ChoiceByHand | None = None,
    ledger: ScoreLedger | None = None,
) -> Leaderboard:
    """Rank the results of a search on its sets, and choose; sentences on rows
    `set_aside` become notes.

    `ledger`: of what was scored on these rows before; this ranking is added to it.
    """
    rows = _ranked_rows(models, sets, spec)
    stored = models.results(filter(None, results.rows["fingerprint"]))
    scored = None if ledger is None else _in_ledger(ledger, rows, sets)
    board = rank(concluded(results, stored), rows, time, by_hand, scored)
    return replace(
        board,
        notes=(*set_aside, *board.notes),
        digests=sets.digests,
        yaml_digests=key_digests(spec),
    )


def rankings_until(
    board: Leaderboard,
    models: ModelStore,
    sets: TrainingSets,
    spec: ExperimentSpec,
) -> int:
    """Return how many rankings of the test rows there were with that of a board."""
    ranked = board.rows.loc[board.rows["rank"].notna(), "fingerprint"]
    rows = _ranked_rows(models, sets, spec)
    ledger = ScoreLedger.of(spec.name)
    return _in_ledger(ledger, rows, sets).rankings_until(ranked.tolist())


def _ranked_rows(
    models: ModelStore, sets: TrainingSets, spec: ExperimentSpec
) -> RankedRows:
    def predictions(result: ModelResult) -> np.ndarray:
        return models.test_predictions([result.fingerprint])[result.fingerprint]

    return RankedRows(
        spec,
        predictions,
        sets.y_test,
        sets.test_clusters(spec),
        sets.y_train,
        n_classes=len(sets.classes or ()),
        weights=sets.w_test,
        w_train=sets.w_train,
        variance_factor=sets.variance_factor,
        row_numbers=sets.test.index.to_numpy(),
        incumbent=IncumbentAnswers.of(sets.test, spec, sets.classes),
    )


def _in_ledger(
    ledger: ScoreLedger, rows: RankedRows, sets: TrainingSets
) -> ComparedRows:
    y = pd.Series(sets.y_test, index=sets.test.index)
    return ledger.on(y, rows.groups, rows.spec.metric)


def rank(
    conclusions: Sequence[Conclusion],
    rows: RankedRows,
    time: RefitTime | None = None,
    by_hand: ChoiceByHand | None = None,
    scored: ComparedRows | None = None,
) -> Leaderboard:
    """Rank configurations by the experiment's metric and choose one.

    `time`: what a budget leaves to refit an ensemble; None, or a choice by hand: no
    limit. `scored`: the rows in the ledger of scores; None: nothing was scored before.
    """
    spec = rows.spec
    results = [
        end.result for end in conclusions if end.status == TRAINED and end.result
    ]
    results.sort(key=lambda result: result.key)
    measured = [rows.measured(result, rows.predictions(result)) for result in results]
    if by_hand is None:
        averaged, left_out = find_in_time(measured, rows, time)
    else:
        averaged = find_ensemble(measured, rows, by_hand.weights)
        left_out = ""
    if averaged is not None:
        measured.append(averaged.measured)
    ranking = order(measured, rows, _scored_before(measured, scored))
    if not ranking.entries:
        raise _nothing_to_rank(ranking, conclusions, spec.metric)
    choice, reason = _choose(ranking, spec, averaged)
    if by_hand is not None:
        reason = (
            f"chosen by {by_hand.by}: {by_hand.why} "
            f"(choice: {spec.choice} takes {choice.key})"
        )
        choice = ranking.entry(by_hand.key)
    described = _described(
        ranking, choice, conclusions, rows, averaged, f"{reason}{left_out}"
    )
    return replace(described, by_hand=by_hand is not None)


def _scored_before(
    measured: Sequence[Measured], scored: ComparedRows | None
) -> EarlierScores:
    """What else was scored on the rows before; these models are entered as well."""
    by_fingerprint = {
        model.result.fingerprint: model for model in measured if model.is_defined
    }
    if scored is None or not by_fingerprint:
        return NOTHING_EARLIER
    scores = {
        fingerprint: model.score.estimate
        for fingerprint, model in by_fingerprint.items()
    }
    columns = [model.in_ledger for model in by_fingerprint.values()]
    return scored.enter(scores, np.column_stack(columns))


def _described(
    ranking: Ranking,
    choice: RankedModel,
    conclusions: Sequence[Conclusion],
    rows: RankedRows,
    averaged: CrossFittedEnsemble | None,
    reason: str,
) -> Leaderboard:
    """The board of a ranking and its choice, with its table and notes."""
    spec = rows.spec
    if averaged is not None and choice.is_ensemble:
        single = ranking.single[0].result
        on_test = averaged.on_test
    else:
        single = choice.result
        on_test = rows.predictions(single)
    edges = search_edges(spec, single.algorithm, single.hyperparameters)
    ensemble = averaged.ensemble if averaged else None
    members = ensemble.in_words if ensemble else ""
    table = build_rows(ranking, choice.key, conclusions, spec.metric, members)
    predicted = rows.predicted(on_test)
    caveats = leaderboard_notes.notes(ranking, choice, table, edges, predicted, spec)
    incumbent = None
    if rows.incumbent is not None:
        cut = threshold_value(best_threshold(spec.metric_names, spec.costs, predicted))
        incumbent = compare_with_incumbent(spec, rows.incumbent, predicted, cut)
    of_fit = [
        f"the chosen {choice.result.algorithm}: {note}" for note in choice.result.notes
    ]
    return Leaderboard(
        metric=spec.metric,
        rows=table,
        chosen=choice.key,
        reason=reason,
        score=choice.score,
        baseline=ranking.baseline,
        difference_to_baseline=choice.difference_to_baseline,
        tie_group=tuple(entry.key for entry in ranking.tie_group),
        optimism=leaderboard_notes.optimism(ranking, spec),
        edges=edges,
        notes=(*of_fit, *caveats),
        evaluation=spec.evaluation_name,
        ensemble=ensemble,
        incumbent=incumbent,
    )


def _nothing_to_rank(
    ranking: Ranking, conclusions: Sequence[Conclusion], metric: str
) -> TrainingError:
    reasons = [
        end.failure.in_words if end.failure else end.reason for end in conclusions
    ]
    undefined = [f"{metric} is undefined" for _ in ranking.undefined]
    causes = Counter(undefined or reasons or ["no configuration was trained"])
    ((reason, count),) = causes.most_common(1)
    return TrainingError(
        "the leaderboard",
        rule=(
            f"no configuration has a score on all rows; {count} of {causes.total()}: "
            f"{reason}"
        ),
        fix=(
            "correct the hyperparameters or the estimator named in the tracebacks (in "
            "the log, and with search_results); if time ran out, raise the budget or "
            "write halving: off"
        ),
    )


def _choose(
    ranking: Ranking, spec: ExperimentSpec, averaged: CrossFittedEnsemble | None
) -> tuple[RankedModel, str]:
    """Return the choice and its reason. Measured times never decide: they differ
    between runs.
    """
    where = numbers.evaluated(spec.evaluation_name).where
    by_score = spec.choice == "best_score"
    if averaged is not None:
        best = ranking.entries[0]
        stands_alone = all(entry.is_ensemble for entry in ranking.tie_group)
        if best.is_ensemble and (by_score or stands_alone):
            return best, _why_ensemble(ranking, best, averaged, where)
    if by_score:
        return ranking.single[0], _why_best(ranking, spec.metric, where)
    sign = metric_of(spec.metric).sign
    smallest = min(
        (entry for entry in ranking.tie_group if not entry.is_ensemble),
        key=lambda entry: (
            entry.result.model_bytes,
            -sign * entry.score.estimate,
            entry.key,
        ),
    )
    return smallest, _why_smallest(ranking, smallest, spec.metric, where)


def _why_ensemble(
    ranking: Ranking, entry: RankedModel, averaged: CrossFittedEnsemble, where: str
) -> str:
    best_single = ranking.single[0].result
    seconds = max(best_single.predict_seconds_per_row, 1e-9)
    times = entry.result.predict_seconds_per_row / seconds
    searched = numbers.counted(len(ranking.single), "configuration")
    return (
        f"ensemble of the best few of {searched} {where}: "
        f"{numbers.interval(entry.score)}; its cross-fitted {entry.result.metric} "
        f"({numbers.score(entry.score.estimate)}) is better than the best single "
        f"model's ({numbers.score(averaged.single_score)}, also cross-fitted); "
        f"{len(averaged.members)} models, {times:.1f} times the prediction time of "
        f"{best_single.key}, no additional fits"
    )


def _why_best(ranking: Ranking, metric: str, where: str) -> str:
    best = ranking.single[0]
    searched = numbers.counted(len(ranking.single), "configuration")
    if len(ranking.single) < len(ranking.entries):
        searched += " and their ensemble"
    reason = f"best {metric} of {searched} {where}: {numbers.interval(best.score)}"
    if tied := len(ranking.tie_group) - 1:
        reason += f"; statistically tied with {numbers.counted(tied, 'other')}"
    first, *following = (entry.score.estimate for entry in ranking.single)
    if equal := following.count(first):
        reason += (
            f"; {equal} more have exactly the same score: the smallest model of them "
            "is chosen, then the first by key"
        )
    return reason


def _why_smallest(
    ranking: Ranking, smallest: RankedModel, metric: str, where: str
) -> str:
    best = ranking.entries[0]
    tied = len(ranking.tie_group)
    reason = (
        f"smallest of the {tied} models that are statistically tied {where}: "
        f"{numbers.megabytes(smallest.result.model_bytes)}, {metric} "
        f"{numbers.interval(smallest.score)}; the best, "
        f"{best.result.configuration.in_words}, has "
        f"{numbers.megabytes(best.result.model_bytes)} and "
        f"{numbers.score(best.score.estimate)}"
    )
    loss = abs(worse_bound(metric, smallest.difference))
    if math.isfinite(loss) and tied > 1:
        reason += (
            f"; up to {numbers.score(loss)} {metric} worse than the best is plausible"
        )
    return reason


def ranking_fingerprint(
    spec: ExperimentSpec,
    results: SearchResults,
    set_aside: Sequence[str],
    version: int,
    by_hand: ChoiceByHand | None,
) -> str:
    """Return the digest of all that decides a leaderboard."""
    ranked_by = results.rows[list(_RANKED_BY)].reset_index(drop=True)
    return fingerprint_of(
        results=table_digest(ranked_by),
        rungs=[
            [key, [[step.fraction, step.test_score, step.train_score] for step in path]]
            for key, path in sorted(results.paths.items())
        ],
        sets=dict(results.digests),
        set_aside=list(set_aside),
        spec=spec.model_dump(mode="json"),
        version=version,
        seconds_left=results.seconds_left,
        by_hand=by_hand and asdict(by_hand),
        **metric_sources(spec),
    )


def board_digest(board: Leaderboard) -> str:
    """Return the digest of a leaderboard: of all that a later stage can read
    from it.
    """
    return fingerprint_of(
        rows=table_digest(board.rows), choice=facts_json(board).decode()
    )


def chosen_result(board: Leaderboard, store: ModelStore) -> ModelResult:
    """Return the numbers of a board's choice, from those of the models behind it."""
    ensemble = board.chosen_ensemble
    if ensemble is None:
        return store.require(board.fingerprint).result
    members = [store.require(member.fingerprint).result for member in ensemble.members]
    return ensemble.result(members, board.metric)


def chosen_configuration(board: Leaderboard, spec: ExperimentSpec) -> Configuration:
    """Return the configuration of the choice of a board that was made by this YAML."""
    return board.configurations(spec)[board.chosen]


def key_digests(spec: ExperimentSpec) -> dict[str, str]:
    """Return key → digest of its value, for each key of the YAML that decides a
    stage.
    """
    # Not the repository: a wrong one may be corrected after the report.
    values = spec.model_dump(mode="json", exclude={"export": {"repository"}})
    return {key: fingerprint_of(value=value) for key, value in values.items()}


def check_same_keys(
    stage: str, decided_by: Mapping[str, str], spec: ExperimentSpec
) -> None:
    """Raise `StorageError` when the YAML has changed since a stage was made, in keys
    that decide it.
    """
    changed = [
        key
        for key, digest in key_digests(spec).items()
        if decided_by.get(key) != digest
    ]
    if changed:
        raise StorageError(
            stage,
            rule=f"the YAML's {listed(changed)} changed after it was made",
            fix="Run the experiment's job again; what is trained is reused.",
        )


def check_same_sets(
    stage: str, made_from: Mapping[str, str], digests: Mapping[str, str]
) -> None:
    """Raise `StorageError` when another run has replaced the sets since a stage was
    made.
    """
    replaced = [
        name for name, digest in digests.items() if made_from.get(name) != digest
    ]
    if replaced:
        raise StorageError(
            f"{' and '.join(replaced)} set",
            rule=(
                f"another run replaced it after {stage} was made from {dict(made_from)}"
            ),
            fix="Wait until that run has ended, then run the experiment's job again.",
        )


def check_same_metric(stage: str, scored_by: str, metric: str) -> None:
    """Raise `TrainingError` when the YAML's metric was changed since a stage
    was made.
    """
    if scored_by != metric:
        raise TrainingError(
            stage,
            rule=f"it was scored by {scored_by}, the experiment's metric is {metric}",
            fix="Materialize it again; what is trained is reused.",
        )
