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
    Ensemble,
    FoundEnsemble,
    RefitTime,
    find_in_time,
)
from experiment_pipeline.stages.leaderboard.notes import SearchEdge, search_edges
from experiment_pipeline.stages.leaderboard.ranking import (
    RankedModel,
    RankedRows,
    Ranking,
    TestPredictions,
    build_rows,
    measure,
    order,
)
from experiment_pipeline.stages.search import conclusions
from experiment_pipeline.stages.search.conclusions import (
    TRAINED,
    Conclusion,
    SearchResults,
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
from experiment_pipeline.storage.records import fingerprint_of
from experiment_pipeline.storage.run_code import metric_sources
from experiment_pipeline.storage.tables import facts_json
from experiment_pipeline.table.digests import table_digest

_RANKED_BY = ("key", "status", "rung", "fingerprint", "error_type", "reason", "notes")


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
    tie_group: tuple[
        str, ...
    ]  # keys that are statistically tied with the best, the best first
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
    # of the sets "train" and "test" that were used, and of the YAML's keys that decided
    # the ranking
    digests: Mapping[str, str] = field(default_factory=dict)
    yaml_digests: Mapping[str, str] = field(default_factory=dict)

    @property
    def beats_baseline(self) -> bool:
        """Whether the chosen score is significantly better than the baseline's."""
        return significantly_better(self.metric, self.difference_to_baseline)

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the chosen model."""
        return str(self.rows.loc[self.rows["key"] == self.chosen, "fingerprint"].item())

    @property
    def searched_cpu_seconds(self) -> float:
        """CPU seconds of the fits behind all rows, each counted once: an ensemble's are
        its members'.
        """
        return float(
            self.rows.loc[self.rows["key"] != ENSEMBLE, "fit_cpu_seconds"].sum()
        )

    @property
    def chosen_ensemble(self) -> Ensemble | None:
        """The ensemble, where it is the choice."""
        return self.ensemble if self.chosen == ENSEMBLE else None

    @property
    def single(self) -> str:
        """Key of the choice; if that is the ensemble, the key of the best single
        configuration.
        """
        if self.chosen != ENSEMBLE:
            return self.chosen
        return str(self.rows["key"][self.rows["key"] != ENSEMBLE].iloc[0])

    def with_ensemble(
        self, declared: Mapping[str, Configuration]
    ) -> dict[str, Configuration]:
        """Return key → configuration of every row: the declared ones, and the
        ensemble.
        """
        own = {} if self.ensemble is None else {ENSEMBLE: self.ensemble.configuration}
        return {**declared, **own}


@dataclass(frozen=True)
class ChoiceByHand:
    """What a person has chosen from a leaderboard, overriding the rule of `choice`."""

    key: str  # of a ranked row
    why: str
    by: str
    # of an ensemble whose weights are known: key of a member → weight
    weights: Mapping[str, float] = field(default_factory=dict)


def leaderboard(
    found: SearchResults,
    models: ModelStore,
    sets: TrainingSets,
    spec: ExperimentSpec,
    set_aside: Sequence[str],
    time: RefitTime | None = None,
    by_hand: ChoiceByHand | None = None,
) -> Leaderboard:
    """Rank the results of a search on its sets, and choose; sentences on rows
    `set_aside` become notes.
    """

    def predictions(one: ModelResult) -> np.ndarray:
        return models.test_predictions([one.fingerprint])[one.fingerprint]

    clusters, weights = sets.test_clusters(spec), (sets.w_test, sets.w_train)
    rows = RankedRows(
        sets.y_test, clusters, sets.y_train, *weights, sets.variance_factor
    )
    stored = models.results([one for one in found.rows["fingerprint"] if one])
    concluded = conclusions.concluded(found, stored)
    board = rank(concluded, predictions, rows, spec, sets.classes, time, by_hand)
    notes = (*set_aside, *board.notes)
    return replace(
        board, notes=notes, digests=sets.digests, yaml_digests=key_digests(spec)
    )


def rank(
    concluded: Sequence[Conclusion],
    predictions: TestPredictions,
    rows: RankedRows,
    spec: ExperimentSpec,
    classes: tuple | None,
    time: RefitTime | None = None,
    by_hand: ChoiceByHand | None = None,
) -> Leaderboard:
    """Rank configurations by the experiment's metric and choose one.

    `time`: what a budget leaves to refit an ensemble; None: no limit. `by_hand` only
    changes the choice.
    """
    results = [one.result for one in concluded if one.status == TRAINED and one.result]
    measured = list(measure(results, predictions, rows, spec))
    weights = None if by_hand is None else by_hand.weights
    found, left_out = find_in_time(measured, predictions, rows, spec, weights, time)
    if found is not None:
        (own,) = measure([found.result], lambda _, one=found: one.on_test, rows, spec)
        measured.append(replace(own, allowance=found.allowance))
    ranking = order(measured, rows, spec, len(classes or ()))
    if not ranking.entries:
        raise _nothing_to_rank(ranking, concluded, spec.metric)
    chosen, reason = _chosen(ranking, spec, found, by_hand)
    key, single = chosen.result.key, ranking.single[0] if chosen.is_ensemble else chosen
    edges = search_edges(spec, single.result.algorithm, single.result.hyperparameters)
    ensemble = None if found is None else found.ensemble
    table = build_rows(
        ranking, key, concluded, spec, ensemble.in_words if ensemble else ""
    )
    seen = found.on_test if found and chosen.is_ensemble else predictions(chosen.result)
    return Leaderboard(
        metric=spec.metric,
        rows=table,
        chosen=key,
        reason=f"{reason}; {left_out}" if left_out else reason,
        score=chosen.score,
        baseline=ranking.baseline,
        difference_to_baseline=chosen.difference_to_baseline,
        tie_group=tuple(entry.result.key for entry in ranking.entries if entry.tied),
        optimism=leaderboard_notes.optimism(ranking, spec),
        edges=edges,
        notes=(
            *(
                f"the chosen {chosen.result.algorithm}: {note}"
                for note in chosen.result.notes
            ),
            *leaderboard_notes.notes(
                ranking, chosen, table, edges, rows.predicted(seen), spec
            ),
        ),
        evaluation=spec.evaluation_name,
        ensemble=ensemble,
    )


def _chosen(
    ranking: Ranking,
    spec: ExperimentSpec,
    found: FoundEnsemble | None,
    by_hand: ChoiceByHand | None,
) -> tuple[RankedModel, str]:
    """The choice by the rule of the YAML, or a person's, and the reason."""
    chosen, reason = _choose(ranking, spec, found)
    if by_hand is None:
        return chosen, reason
    rule = f"choice: {spec.choice} takes {chosen.result.key}"
    taken = next(one for one in ranking.entries if one.result.key == by_hand.key)
    return taken, f"chosen by {by_hand.by}: {by_hand.why} ({rule})"


def ranking_fingerprint(
    given: ExperimentSpec,
    found: SearchResults,
    set_aside: Sequence[str],
    version: int,
    seconds: float | None = None,
    by_hand: ChoiceByHand | None = None,
) -> str:
    """Return the digest of all that decides a leaderboard; `seconds` is the run's
    budget.
    """
    concluded = found.rows[list(_RANKED_BY)].reset_index(drop=True)
    steps = ("fraction", "test_score", "train_score")
    return fingerprint_of(
        results=table_digest(concluded),
        rungs=[
            [key, [[getattr(step, name) for name in steps] for step in path]]
            for key, path in sorted(found.paths.items())
        ],
        sets=dict(found.digests),
        set_aside=list(set_aside),
        spec=given.model_dump(mode="json"),
        version=version,
        **metric_sources(given),
        **({} if seconds is None else {"seconds": seconds}),
        **({} if by_hand is None else {"by_hand": asdict(by_hand)}),
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
    members = [store.require(one.fingerprint).result for one in ensemble.members]
    return ensemble.result(members, board.metric)


def chosen_configuration(board: Leaderboard, spec: ExperimentSpec) -> Configuration:
    """Return the configuration of the choice of a board that was made by this YAML."""
    return board.with_ensemble({one.key: one for one in configurations(spec)})[
        board.chosen
    ]


def key_digests(given: ExperimentSpec) -> dict[str, str]:
    """Return key → digest of its value, for each key of the YAML that a stage was
    given.
    """
    # Not the repository: a wrong one may be corrected after the report.
    values = given.model_dump(mode="json", exclude={"export": {"repository"}})
    return {key: fingerprint_of(value=value) for key, value in values.items()}


def check_same_keys(
    stage: str, made_by: Mapping[str, str], given: ExperimentSpec
) -> None:
    """Raise `StorageError` when the YAML has changed since a stage was made, in keys
    that decide it.
    """
    now = key_digests(given)
    if changed := [key for key in now if made_by.get(key) != now[key]]:
        rule = f"the YAML's {listed(changed)} changed after it was made"
        raise StorageError(
            stage, rule, "Run the experiment's job again; what is trained is reused."
        )


def check_same_sets(
    stage: str, made_from: Mapping[str, str], digests: Mapping[str, str]
) -> None:
    """Raise `StorageError` when another run has replaced the sets since a stage was
    made.
    """
    other = [name for name, digest in digests.items() if made_from.get(name) != digest]
    if other:
        rule = f"another run replaced it after {stage} was made from {dict(made_from)}"
        fix = "Wait until that run has ended, then run the experiment's job again."
        raise StorageError(f"{' and '.join(other)} set", rule, fix)


def check_same_metric(stage: str, made_by: str, metric: str) -> None:
    """Raise `TrainingError` when the YAML's metric was changed since a stage
    was made.
    """
    if made_by != metric:
        rule = f"it was scored by {made_by}, the experiment's metric is {metric}"
        fix = "Materialize it again; what is trained is reused."
        raise TrainingError(stage, rule, fix)


def _nothing_to_rank(
    ranking: Ranking, concluded: Sequence[Conclusion], metric: str
) -> TrainingError:
    reasons = [one.failure.in_words if one.failure else one.reason for one in concluded]
    undefined = [f"{metric} is undefined" for _ in ranking.undefined]
    causes = Counter(undefined or reasons or ["no configuration was trained"])
    ((reason, count),) = causes.most_common(1)
    return TrainingError(
        "the leaderboard",
        f"no configuration has a score on all rows; {count} of {causes.total()}: {reason}",
        "correct the hyperparameters or the estimator named in the tracebacks (in the log, and with "
        "search_results); if time ran out, raise the budget or write halving: off",
    )


def _choose(
    ranking: Ranking,
    spec: ExperimentSpec,
    found: FoundEnsemble | None,
) -> tuple[RankedModel, str]:
    """Return the choice and its reason. Measured times never decide: they differ
    between runs.
    """
    best, first = ranking.entries[0], ranking.single[0]
    tied = [entry for entry in ranking.entries if entry.tied]
    configurations = numbers.counted(len(ranking.single), "configuration")
    where = numbers.evaluated(spec.evaluation_name).where
    by_score = spec.choice == "best_score"
    if found and (found.is_better if by_score else best.is_ensemble and len(tied) == 1):
        own = next(entry for entry in ranking.entries if entry.is_ensemble)
        alone = max(first.result.predict_seconds_per_row, 1e-9)
        reason = (
            f"ensemble of the best few of {configurations} {where}: {numbers.interval(own.score)}; "
            f"its cross-fitted {spec.metric} ({numbers.score(own.score.estimate)}) is better than "
            f"the best single model's ({numbers.score(found.alone)}, also cross-fitted); "
            f"{len(found.ensemble.members)} models, "
            f"{own.result.predict_seconds_per_row / alone:.1f} times the prediction time of "
            f"{first.result.key}, no additional fits"
        )
        return own, reason
    among = f"{configurations} and their ensemble" if found else configurations
    standing = f"best {spec.metric} of {among} {where}: {numbers.interval(best.score)}"
    if others := sum(entry is not best for entry in tied):
        standing += f"; statistically tied with {numbers.counted(others, 'other')}"
    if by_score:
        equal = (
            sum(one.score.estimate == first.score.estimate for one in ranking.single)
            - 1
        )
        rule = "the smallest model of them is chosen, then the first by key"
        same = f"; {equal} more have exactly the same score: {rule}" if equal else ""
        return first, f"{standing}{same}"
    sign = metric_of(spec.metric).sign
    smallest = min(
        (entry for entry in tied if not entry.is_ensemble),
        key=lambda e: (e.result.model_bytes, -sign * e.score.estimate, e.result.key),
    )
    plausible = abs(worse_bound(spec.metric, smallest.difference))
    loss = ""
    if math.isfinite(plausible) and len(tied) > 1:
        loss = f"; up to {numbers.score(plausible)} {spec.metric} worse than the best is plausible"
    return smallest, (
        f"smallest of the {len(tied)} models that are statistically tied {where}: "
        f"{numbers.megabytes(smallest.result.model_bytes)}, {spec.metric} "
        f"{numbers.interval(smallest.score)}; the best, {best.result.configuration.in_words}, has "
        f"{numbers.megabytes(best.result.model_bytes)} and {numbers.score(best.score.estimate)}{loss}"
    )
