"""The leaderboard: every configuration in a row, and the choice of one with its reason.

In: the results of a search and its predictions of the test rows. Out: a `Leaderboard`, whose
order and choice depend neither on the order of the results nor on how fast they were trained; it
is stored whole, so that nothing downstream has to rank again. Scores and rows: `ranking.py`;
remarks: `notes.py`; how a board looks: `page.py`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import pandas as pd

from experiment_pipeline import errors
from experiment_pipeline.errors import SetsReplaced, TrainingError
from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.evaluated import evaluated
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.spec.algorithms import ENSEMBLE
from experiment_pipeline.stages.leaderboard import notes as leaderboard_notes
from experiment_pipeline.stages.leaderboard.edges import SearchEdge, search_edges
from experiment_pipeline.stages.leaderboard.ensemble import (
    Ensemble,
    Found,
    RefitTime,
    ensemble_in_time,
)
from experiment_pipeline.stages.leaderboard.ranking import (
    RankedModel,
    RankedRows,
    Ranking,
    TestPredictions,
    build_rows,
    measure,
    order,
)
from experiment_pipeline.stages.registry import STAGES
from experiment_pipeline.stages.search import conclusions
from experiment_pipeline.stages.search.conclusions import TRAINED, Conclusion, SearchResults
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.results import ModelResult, TrainedModel
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.statistics.interval import Interval
from experiment_pipeline.statistics.metrics import METRICS, significantly_better
from experiment_pipeline.storage.records import fingerprint_of
from experiment_pipeline.storage.tables import facts_json
from experiment_pipeline.table.digests import table_digest

_RANKED_BY = ("key", "status", "rung", "fingerprint", "error_type", "reason", "notes")


@dataclass(frozen=True, eq=False)
class Leaderboard:
    """A ranking and its choice.

    Attributes:
        metric: what ranks.
        rows: with the columns of `ranking.COLUMNS`: a row per declared configuration, the best first,
            those without a rank last. `low` and `high` bound the score (95 %);
            `difference_to_best` is the score minus the best one, `difference_low` and
            `difference_high` bound what it truly is, for all configurations together;
            `overfit_gap` is by how much the train score is better; `seed_mean` and
            `seed_deviation` are those of the scores with several seeds.
        chosen: key of the configuration to ship.
        reason: why, in words.
        score: the chosen configuration's score on the test set.
        baseline: what predicting without features scores there.
        difference_to_baseline: the chosen score minus the baseline's on the same rows, at a
            cross-fitted threshold; the bounds hold for all configurations together.
        tie_group: keys that the test set cannot tell from the best, the best first.
        optimism: by how much the best score is expected to flatter; None where that cannot be
            told from drift (a split by time), or not be estimated (one resampling cluster).
        edges: where the choice, or of an ensemble the best configuration, lies at an end of the
            search.
        notes: what to know before believing it, one sentence each.
        evaluation: test_set, or cross_validation: scores are then those of train and test rows
            that were left out of the fit.
        ensemble: of the best few, which is a row as well; None where one alone is best.
        digests: of the sets "train" and "test" that it holds for.
    """

    metric: str
    rows: pd.DataFrame
    chosen: str
    reason: str
    score: Interval
    baseline: float
    difference_to_baseline: Interval
    tie_group: tuple[str, ...]
    optimism: float | None
    edges: tuple[SearchEdge, ...]
    notes: tuple[str, ...]
    evaluation: str = "test_set"
    ensemble: Ensemble | None = None
    digests: Mapping[str, str] = field(default_factory=dict)

    @property
    def beats_baseline(self) -> bool:
        """Whether the chosen score is better than the baseline's by more than chance."""
        return significantly_better(self.metric, self.difference_to_baseline)

    @property
    def fingerprint(self) -> str:
        """Of the chosen model."""
        return str(self.rows.loc[self.rows["key"] == self.chosen, "fingerprint"].item())

    @property
    def searched_cpu_seconds(self) -> float:
        """Of the fits behind all rows, each counted once: an ensemble's are its members'."""
        return float(self.rows.loc[self.rows["key"] != ENSEMBLE, "fit_cpu_seconds"].sum())

    @property
    def chosen_ensemble(self) -> Ensemble | None:
        """The ensemble, where it is the choice."""
        return self.ensemble if self.chosen == ENSEMBLE else None

    @property
    def single(self) -> str:
        """Key of the configuration to learn from: the choice, or of an ensemble the best alone."""
        if self.chosen != ENSEMBLE:
            return self.chosen
        return str(self.rows["key"][self.rows["key"] != ENSEMBLE].iloc[0])

    def with_ensemble(self, declared: Mapping[str, Configuration]) -> dict[str, Configuration]:
        """Return key → configuration of every row: what is declared, and the ensemble."""
        own = {} if self.ensemble is None else {ENSEMBLE: self.ensemble.configuration}
        return {**declared, **own}


def leaderboard(
    found: SearchResults,
    stored: Mapping[str, ModelResult],
    predictions: TestPredictions,
    sets: TrainingSets,
    spec: ExperimentSpec,
    set_aside: Sequence[str],
    time: RefitTime | None = None,
) -> Leaderboard:
    """Rank what a search has left for these sets.

    Args:
        found: the search.
        stored: fingerprint → result, of those it names.
        predictions: as of `rank`.
        sets: that it was made from.
        spec: the experiment.
        set_aside: what the split had to leave out, a sentence each.
        time: as of `rank`.
    """
    board = rank(
        conclusions.concluded(found, stored),
        predictions,
        RankedRows(
            sets.y_test,
            sets.test_clusters(spec),
            sets.y_train,
            sets.w_test,
            sets.w_train,
            sets.variance_factor,
        ),
        spec,
        sets.classes,
        time,
    )
    return replace(board, notes=(*set_aside, *board.notes), digests=sets.digests)


def rank(
    concluded: Sequence[Conclusion],
    predictions: TestPredictions,
    rows: RankedRows,
    spec: ExperimentSpec,
    classes: tuple | None,
    time: RefitTime | None = None,
) -> Leaderboard:
    """Rank configurations by the experiment's metric and choose one.

    Args:
        concluded: what came of each, in any order; those that were trained are ranked.
        predictions: gives what a result predicts for the test rows; asked once of each, of the
            choice once more, so it may read a store.
        rows: the test rows.
        spec: the experiment. Configurations it declares and nobody concluded are listed last.
        classes: of the target; None for regression.
        time: of a budget of seconds, which an ensemble has to be fitted again in; None: no limit.

    Raises:
        AllConfigurationsFailed: no configuration has a score.
    """
    results = [one.result for one in concluded if one.status == TRAINED and one.result]
    measured = list(measure(results, predictions, rows, spec))
    found, left_out = ensemble_in_time(measured, predictions, rows, spec, time)
    if found is not None:
        measured += measure([found.result], lambda _: found.on_test, rows, spec)
    ranking = order(measured, rows, spec, len(classes or ()))
    if not ranking.entries:
        raise _nothing_to_rank(ranking, concluded, spec.metric)
    chosen, reason = _choose(ranking, spec, found)
    key, single = chosen.result.key, ranking.single[0] if chosen.is_ensemble else chosen
    edges = search_edges(spec, single.result.algorithm, single.result.hyperparameters)
    ensemble = None if found is None else found.ensemble
    table = build_rows(ranking, key, concluded, spec, ensemble.in_words if ensemble else "")
    on_test = found.on_test if found and chosen.is_ensemble else predictions(chosen.result)
    predicted = rows.predicted(on_test)
    needed = {one.key: one.needed_seconds for one in concluded}
    notes = leaderboard_notes.notes(
        ranking, table.assign(needed=table["key"].map(needed)), edges, predicted, spec
    )
    return Leaderboard(
        metric=spec.metric,
        rows=table,
        chosen=key,
        reason=f"{reason}; {left_out}" if left_out else reason,
        score=chosen.score,
        baseline=ranking.baseline,
        difference_to_baseline=chosen.difference_to_baseline,
        tie_group=tuple(entry.result.key for entry in ranking.tie_group),
        optimism=leaderboard_notes.optimism(ranking, spec),
        edges=edges,
        notes=(
            *(f"the chosen {chosen.result.algorithm}: {note}" for note in chosen.result.notes),
            *notes,
        ),
        evaluation=spec.evaluation_name,
        ensemble=ensemble,
    )


def ranking_fingerprint(
    given: ExperimentSpec,
    found: SearchResults,
    set_aside: Sequence[str],
    seconds: float | None = None,
) -> str:
    """Return the digest of all that decides a leaderboard; what the fits took is theirs.

    Args:
        given: what of the experiment a ranking depends on.
        found: the search.
        set_aside: as of `leaderboard`.
        seconds: the budget of the run, where it has one.
    """
    concluded = found.rows[list(_RANKED_BY)]
    return fingerprint_of(
        {
            "results": table_digest(concluded.reset_index(drop=True)),
            "rungs": [
                [key, [[step.fraction, step.test_score, step.train_score] for step in path]]
                for key, path in sorted(found.paths.items())
            ],
            "sets": dict(found.digests),
            "set_aside": list(set_aside),
            "spec": given.model_dump(mode="json"),
            "version": STAGES["leaderboard"].version,
            **({} if seconds is None else {"seconds": seconds}),
        }
    )


def board_digest(board: Leaderboard) -> str:
    """Return the digest of a leaderboard: of all that a later stage can learn from it."""
    return fingerprint_of({"rows": table_digest(board.rows), "choice": facts_json(board).decode()})


class StoredModels(Protocol):
    """Trained models by their fingerprints."""

    def require(self, fingerprint: str) -> TrainedModel:
        """Return a model that must be there."""


def chosen_result(board: Leaderboard, store: StoredModels) -> ModelResult:
    """Return the numbers of a board's choice, from those of the models behind it."""
    ensemble = board.chosen_ensemble
    if ensemble is None:
        return store.require(board.fingerprint).result
    members = [store.require(one.fingerprint).result for one in ensemble.members]
    return ensemble.result(members, board.metric)


def check_same_sets(stage: str, made_from: Mapping[str, str], digests: Mapping[str, str]) -> None:
    """Stop when a stage was made from other sets than those read now.

    Raises:
        SetsReplaced: another run has replaced the sets in between.
    """
    other = [name for name, digest in digests.items() if made_from.get(name) != digest]
    if other:
        raise SetsReplaced(
            f"{' and '.join(other)} set",
            f"another run replaced it after {stage} was made from {dict(made_from)}",
            "Wait until that run has ended, then run the experiment's job again.",
        )


def check_same_metric(results: SearchResults, metric: str) -> None:
    """Stop when `search_results` was scored by another metric than the experiment's.

    Raises:
        TrainingError: the YAML was changed in between.
    """
    if results.metric != metric:
        raise TrainingError(
            "search_results",
            f"it was scored by {results.metric}, the experiment's metric is {metric}",
            "Materialize it again; what is trained is reused.",
        )


def _nothing_to_rank(
    ranking: Ranking, concluded: Sequence[Conclusion], metric: str
) -> errors.AllConfigurationsFailed:
    if ranking.undefined:
        return errors.AllConfigurationsFailed(
            f"all {len(ranking.undefined)} trained configurations",
            f"have an undefined {metric}",
            "look for predictions that are not finite, or choose another metric",
        )
    failures = Counter(one.failure.in_words for one in concluded if one.failure is not None)
    others = Counter(one.reason for one in concluded if one.failure is None)
    if others:
        # Those who failed came further than those who were stopped.
        (reason, _), *_ = (failures or others).most_common(1)
        return errors.AllConfigurationsFailed(
            "the leaderboard",
            f"no configuration was trained on all rows: {reason}",
            "raise the budget, write halving: off, or mend what failed",
        )
    if not failures:
        return errors.AllConfigurationsFailed(
            "the leaderboard", "no configuration was trained", "train trained_model first"
        )
    (reason, count), *_ = failures.most_common(1)
    return errors.AllConfigurationsFailed(
        f"all {failures.total()} configurations",
        f"failed, {count} of them with {reason}",
        "correct the hyperparameters, or the estimator, that the tracebacks name: they are in the "
        "log, and with search_results",
    )


def _choose(ranking: Ranking, spec: ExperimentSpec, found: Found | None) -> tuple[RankedModel, str]:
    """Return the choice and its reason. Never by seconds: they differ from run to run.

    An ensemble is chosen where it is better than one alone would be that was picked in the same
    way, and as the smallest only where it is the best and nothing else is tied.
    """
    best, tied = ranking.entries[0], ranking.tie_group
    among = numbers.counted(len(ranking.single), "configuration")
    among += " and their ensemble" if found else ""
    how = evaluated(spec.evaluation_name)
    standing = f"best {spec.metric} of {among} {how.where}: {numbers.interval(best.score)}"
    if len(tied) > 1:
        standing += f"; {len(tied) - 1:,} more cannot be told from it"
    beyond_ties = best.is_ensemble and len(tied) == 1
    if found and (found.is_better if spec.choice == "best_score" else beyond_ties):
        together = next(entry for entry in ranking.entries if entry.is_ensemble)
        told = found.ensemble.told(spec.metric, together, ranking.single[0], found.alone)
        if together is not best:
            several = numbers.counted(len(ranking.single), "configuration")
            standing = f"the ensemble of the best few of {several} {how.where}: {numbers.interval(together.score)}"
        return together, f"{standing}; {told}"
    if spec.choice == "best_score":
        return ranking.single[0], standing + _tie_break(ranking.single)
    sign = METRICS[spec.metric].sign
    smallest = min(
        (entry for entry in tied if not entry.is_ensemble),
        key=lambda e: (e.result.model_bytes, -sign * e.score.estimate, e.result.key),
    )
    if smallest is best:
        return best, standing + ("; it is the smallest of these" if len(tied) > 1 else "")
    return smallest, (
        f"smallest of the {len(tied)} models that {how.by} cannot tell from the best: "
        f"{numbers.megabytes(smallest.result.model_bytes)}, {spec.metric} "
        f"{numbers.interval(smallest.score)}; the best, {best.result.configuration.in_words}, has "
        f"{numbers.megabytes(best.result.model_bytes)} and {numbers.score(best.score.estimate)}"
    )


def _tie_break(entries: Sequence[RankedModel]) -> str:
    best = entries[0]
    equal = [e for e in entries[1:] if e.score.estimate == best.score.estimate]
    if not equal:
        return ""
    larger = equal[0].result.model_bytes > best.result.model_bytes
    rule = "the smallest model of them" if larger else "of equal size, the first by key"
    return f"; {len(equal)} more score exactly the same: taken is {rule}"
