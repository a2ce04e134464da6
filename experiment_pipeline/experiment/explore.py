"""Explore a table up to the leaderboard: no validation row is scored, nothing recorded.

    churn = explore("churn.csv", target="churned")
    churn.without("tenure")            each keeps what is trained, and shows what it
    churn.with_features(function)      changes: the paired difference to what was before
    churn.add(MyModel(), "mine")
    churn.seconds(120)
    churn.evaluate()                   the best of them on the validation set, once

The test rows are used up: intervals of a leaderboard hold for all configurations that
were ever scored on them (`stages/leaderboard/scored.py`).
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from time import perf_counter
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import pandas as pd

# Every exploration stores models. skops looks for the names of its types in all modules
# that are loaded: after those below it would take .2 s longer.
import skops.io  # noqa: F401

from experiment_pipeline import errors
from experiment_pipeline.drafting.files import schema_of
from experiment_pipeline.experiment import declared
from experiment_pipeline.experiment.context import Run, RunBudget
from experiment_pipeline.experiment.flow import run_stages
from experiment_pipeline.experiment.reporter import LOG, ProgressReporter
from experiment_pipeline.experiment.settings import with_settings
from experiment_pipeline.experiment.store import ExplorationStore
from experiment_pipeline.intake.frames import table_or_place
from experiment_pipeline.intake.raw_table import RawTable, parse
from experiment_pipeline.intake.sources import read_source
from experiment_pipeline.reporting import document, numbers
from experiment_pipeline.reporting.run_record import Trigger
from experiment_pipeline.spec.algorithms import ENSEMBLE
from experiment_pipeline.stages.leaderboard.board import Leaderboard, rankings_until
from experiment_pipeline.stages.leaderboard.chosen import ChosenModel
from experiment_pipeline.stages.search.conclusions import NOT_STARTED
from experiment_pipeline.stages.search.training_sets import TrainingSets, as_evaluated
from experiment_pipeline.stages.validation_report.shortfall import gather
from experiment_pipeline.statistics import scores
from experiment_pipeline.statistics.interval import (
    Interval,
    Layout,
    Linearised,
    level_of_comparison,
)
from experiment_pipeline.statistics.metrics import better, metric_of
from experiment_pipeline.statistics.thresholds import cross_fitted
from experiment_pipeline.storage.files import (
    Location,
    create_exclusive,
    read_bytes,
    storage_root,
)
from experiment_pipeline.storage.records import fingerprint_of, from_json, to_json
from experiment_pipeline.table.digests import table_digest
from experiment_pipeline.table.features import NamedColumns

if TYPE_CHECKING:
    from experiment_pipeline.experiment.keys import Keys
    from experiment_pipeline.experiment.result import RunResult

# Columns of the leaderboard, beside the hyperparameters.
_SHOWN = [
    "rank",
    "key",
    "algorithm",
    "test_score",
    "low",
    "high",
    "difference_to_best",
    "in_tie_group",
    "train_score",
    "fit_cpu_seconds",
    "model_bytes",
]
NOT_YET = "not yet a difference"
# So many changes that are no difference leave the score's interval honest (simulated:
# of 15 explorations about 7 are kept and 97 % covered, of 20 about 10 and 91 %).
_MOST_UNPROVEN = 7
_NOT_EVALUATED = (
    "explored, not yet evaluated: .evaluate() opens the validation set, once"
)


@dataclass(frozen=True)
class RunLimits:
    """What a call limits: its seconds, and the fits at a time; None: as declared."""

    seconds: float | None = None
    workers: int | None = None
    progress: bool = True


@dataclass(frozen=True)
class SplitColumns:
    """The columns that decide the sets of explorations."""

    columns: tuple[str, ...]
    digest: str  # sha256 in hex of their values

    def are_in(self, frame: pd.DataFrame) -> bool:
        """Whether a table has them with the same values."""
        if not set(self.columns) <= set(frame.columns):
            return False
        return table_digest(frame[[*self.columns]]) == self.digest


@dataclass(frozen=True, eq=False)
class Exploration:
    """An experiment up to its leaderboard; no row of the validation set was scored."""

    named: NamedColumns  # the settings, as in defs.yaml, and the schema
    summary: str  # the inferred settings and the reasons
    assets: Mapping[str, Any]  # asset → its value
    store: ExplorationStore
    limits: RunLimits
    before: "Exploration | None" = None  # what this one changes
    labels: pd.Index | None = None  # as of `RunResult`

    @property
    def name(self) -> str:
        """The experiment's name."""
        return self.named.spec.name

    @property
    def board(self) -> Leaderboard:
        """The ranking, the choice and its reason, notes."""
        return self.assets["leaderboard"]

    @property
    def leaderboard(self) -> pd.DataFrame:
        """The ranked configurations, the best first: scores, then hyperparameters."""
        ranked = self.board.rows.dropna(subset="rank")
        by_key = self.board.configurations(self.named.spec)
        hyperparameters = [by_key[key].hyperparameters for key in ranked["key"]]
        settings = pd.DataFrame.from_records(hyperparameters, index=ranked.index)
        table = pd.concat([ranked[_SHOWN], settings], axis=1)
        return table.reset_index(drop=True).dropna(axis=1, how="all")

    @property
    def findings(self) -> pd.DataFrame:
        """What the data analysis noticed, a row each."""
        return pd.DataFrame(self.store.results["data_analysis"].findings)

    @property
    def outlook(self) -> tuple[str, ...]:
        """What more rows, more time and other labels may bring, a sentence each."""
        metric = self.board.metric
        analysis = self.store.results["data_analysis"]
        evidence = gather(
            self.named.spec,
            self.board,
            self.sets,
            self.store.models(),
            analysis.label_ceiling,
        )
        sentences = []
        if (curve := evidence.curve) is not None:
            sentences.append(
                f"{curve.rows:,} in place of {curve.rows_before:,} train rows: "
                f"{difference_in_words(metric, curve.gain)}."
            )
        if evidence.ceiling is not None:
            ceiling = numbers.score(evidence.ceiling)
            sentences.append(f"Contradicting labels allow at best {metric} {ceiling}.")
        waiting = int((self.board.rows["status"] == NOT_STARTED).sum())
        if waiting:
            left_out = numbers.counted(waiting, "configuration")
            sentences.append(f"{left_out} had no time to start.")
        return tuple(sentences)

    @cached_property
    def change(self) -> Interval | None:
        """The score of the choice minus that before, paired; None: nothing was before,
        or its test rows or metric were others.

        The intervals of all explorations of these test rows, however many, hold
        together with 95 %: each further one is wider.
        """
        if self.before is None or self.judged_by != self.before.judged_by:
            return None
        level = level_of_comparison(max(self.explorations - 1, 1))
        return scores.paired_difference(
            self.before.score, self.score, self.layout, level
        )

    @cached_property
    def explorations(self) -> int:
        """How many leaderboards these test rows had, up to and including this one."""
        return rankings_until(
            self.board,
            self.store.models(),
            self.sets,
            self.named.spec,
        )

    @property
    def best(self) -> "Exploration":
        """The one with the best score of this and those before it on the same test
        rows; of equal ones the latest.
        """
        best = self
        for earlier in self._earlier():
            if self.judged_by != earlier.judged_by:
                continue
            new, old = earlier.board.score.estimate, best.board.score.estimate
            if better(self.board.metric, new, old):
                best = earlier
        return best

    def evaluate(self, *, trigger: Trigger = "notebook") -> "RunResult":
        """Evaluate the choice of the best exploration on the validation set; if all
        gates accept it, it is exported.

        The run is recorded, and reuses the trained models. Raises as `run`.
        """
        # An exploration records nothing: until here it does not wait for the database's
        # libraries.
        from experiment_pipeline.experiment.run import executed

        best = self.best
        result = executed(
            best.named,
            summary=best.summary,
            trigger=trigger,
            seconds=best.limits.seconds,
            workers=best.limits.workers,
            progress=best.limits.progress,
            delivered=best._raw,  # noqa: SLF001
        )
        return replace(result, labels=self.labels)

    def add(self, estimator: Any, name: str, note: str = "") -> "Exploration":
        """Explore with a model of your own, which is described as in
        `experiment_pipeline.add`.
        """
        entry = {**declared.described(estimator), "name": name, "note": note}
        named = declared.with_search(self.named, [entry], extend=True)
        return self._next(named, name)

    def with_features(
        self, function: Callable[[pd.DataFrame], pd.DataFrame]
    ) -> "Exploration":
        """Explore with columns that a function makes of the table; it replaces an
        earlier one. The function is as for `preparation.function` of defs.yaml.
        """
        keys = declared.declared_keys(self.named)
        path = declared.as_yaml(function, "function")
        preparation = {**keys.get("preparation", {}), "function": path}
        return self._with_columns({"preparation": preparation})

    def without(self, *columns: str, why: str = "explored without it") -> "Exploration":
        """Explore without some columns."""
        keys = declared.declared_keys(self.named)
        excluded = {**keys.get("exclude", {}), **dict.fromkeys(columns, why)}
        return self._with_columns({"exclude": excluded})

    def seconds(self, seconds: float) -> "Exploration":
        """Search on, with more seconds in all."""
        keys = declared.declared_keys(self.named)
        budget = {**keys.get("budget", {}), "seconds": seconds}
        named = declared.with_keys(
            self.named, {"budget": budget}, self.named.schema_text
        )
        limits = RunLimits(seconds, self.limits.workers, self.limits.progress)
        return explored(named, self.summary, limits, self._raw, before=self)

    @property
    def _raw(self) -> RawTable:
        """The table as delivered."""
        return self.assets["raw_data"]

    def _with_columns(self, keys: Mapping[str, Any]) -> "Exploration":
        """Explore with other keys, and so with another schema."""
        named = declared.with_keys(self.named, keys, "")
        schema_text = schema_of(self._raw.frame, named.spec)
        return self._next(declared.with_keys(named, {}, schema_text))

    def _next(self, named: NamedColumns, *asked_for: str) -> "Exploration":
        return explored(
            named,
            self.summary,
            self.limits,
            self._raw,
            before=self,
            asked_for=asked_for or None,
        )

    def _earlier(self) -> Iterator["Exploration"]:
        earlier = self.before
        while earlier is not None:
            yield earlier
            earlier = earlier.before

    @cached_property
    def sets(self) -> TrainingSets:
        """The train and test rows that the leaderboard was made of."""
        assets = self.assets
        return as_evaluated(assets["train_set"], assets["test_set"], self.named.spec)

    @cached_property
    def judged_by(self) -> str:
        """Digest of the metric and the test rows with their encoded targets: equal ones
        can be compared.
        """
        sets = self.sets
        rows = sets.test.index[self._order].tolist()
        targets = sets.y_test[self._order].tolist()
        return fingerprint_of(metric=self.board.metric, rows=rows, targets=targets)

    @cached_property
    def _order(self) -> np.ndarray:
        """The positions (n,) of the test rows by row number, repeats in their order."""
        return np.argsort(self.sets.test.index, kind="stable")

    @cached_property
    def layout(self) -> Layout:
        """How the test rows are drawn, by row number."""
        sets = self.sets
        order = self._order
        return scores.layout(
            self.board.metric,
            sets.y_test[order],
            sets.test_clusters(self.named.spec)[order],
            None if sets.w_test is None else sets.w_test[order],
        )

    @cached_property
    def score(self) -> Linearised:
        """The score of the choice on the test rows, and what each of them adds to it,
        by row number.
        """
        sets = self.sets
        clusters = sets.test_clusters(self.named.spec)
        chosen = ChosenModel.of(self.board, self.store.models(), sets.y_test, clusters)
        score = cross_fitted(self.board.metric, chosen.predicted(sets)).score
        return replace(score, influence=score.influence[self._order])

    @property
    def changed(self) -> str:
        """The change against what was before, in words."""
        if self.before is None:
            return ""
        change = self.change
        if change is None:
            return "other test rows or another metric than before: not compared"
        difference = numbers.difference(change).removesuffix(")")
        return (
            f"{difference}, corrected for {self.explorations} explorations) to before: "
            f"{self._verdict}"
        )

    @cached_property
    def _verdict(self) -> str:
        if self.change is None:
            return ""
        return difference_in_words(self.board.metric, self.change)

    @property
    def _built_on_luck(self) -> str:
        """A caveat on a chain of changes, none of which is shown to be one."""
        chain = [self, *self._earlier()]
        unproven = sum(each._verdict == NOT_YET for each in chain)  # noqa: SLF001
        if unproven <= _MOST_UNPROVEN:
            return ""
        return (
            f"{unproven} changes up to here were {NOT_YET}: together they make the "
            "score optimistic, and the truth may lie outside its interval. Go on from "
            "the last that is better; .evaluate() gives an honest score"
        )

    @property
    def _scored(self) -> str:
        board = self.board
        where = numbers.evaluated(board.evaluation).where
        is_ranked = board.rows["rank"].notna() & (board.rows["key"] != ENSEMBLE)
        ranked = numbers.counted(int(is_ranked.sum()), "ranked configuration")
        return (
            f"best of {ranked}: {board.chosen}, "
            f"{board.metric} {numbers.interval(board.score)} {where}, baseline "
            f"{numbers.score(board.baseline)}"
        )

    def __repr__(self) -> str:
        lines = [
            f"{self.name}: {_NOT_EVALUATED}",
            self._scored,
            self.changed,
            self._built_on_luck,
        ]
        return "\n".join(filter(None, lines))

    def _repr_html_(self) -> str:
        lines = [
            self._scored,
            self.changed,
            self._built_on_luck,
            *self.board.notes[:3],
        ]
        blocks = [document.Paragraph(line) for line in lines if line]
        title = f"{self.name}: {_NOT_EVALUATED}"
        return document.fragment(document.Section(title, blocks))


def difference_in_words(metric: str, change: Interval) -> str:
    """`better`, `worse`, or `not yet a difference`."""
    if change.low <= 0 <= change.high:
        return NOT_YET
    is_gain = change.estimate * metric_of(metric).sign > 0
    return "better" if is_gain else "worse"


@with_settings
def explore(
    data: Any,
    target: str | None = None,
    *,
    name: str | None = None,
    schema: str | None = None,
    seconds: float | None = None,
    workers: int | None = None,
    progress: bool = True,
    **settings: "Unpack[Keys]",
) -> Exploration:
    """Explore a table up to the leaderboard, without a look at the validation set.

    >>> linear = [{"algorithm": "linear"}]
    >>> lines = explore(table, "y", name="lines", search=linear, progress=False)
    >>> lines.leaderboard["key"].tolist(), lines.change
    (['linear'], None)

    Arguments and errors as for `run`; also DataError: the data analysis or a check of
    the rows ends the run. The search gets all `seconds` that reading and analysis
    leave.
    """
    began = perf_counter()
    data = table_or_place(data)
    named, summary = declared.experiment_of(
        data, target, name=name, schema=schema, seconds=seconds, settings=settings
    )
    named = declared.with_schema(named)
    source = named.spec.source
    raw = parse(read_source(source), source)
    named.check(list(raw.frame.columns))
    limits = RunLimits(seconds, workers, progress)
    named = _with_same_sets(named, raw)
    found = explored(named, summary, limits, raw, began=began)
    return replace(found, labels=declared.labels_of(data))


def _with_same_sets(named: NamedColumns, raw: RawTable) -> NamedColumns:
    """Return the experiment with a random split that no change of features moves.

    The columns that decide it are those of the first exploration of these targets,
    where they are still the same: else rows that were scored would come into the
    validation set.
    """
    spec = named.spec
    split = spec.split
    if split.by != "random" or split.id_columns or split.columns:
        return named
    delivered = map(str, raw.frame)
    features = [name for name in delivered if name not in spec.not_features]
    first = SplitColumns(tuple(features), table_digest(raw.frame[features]))
    targets = table_digest(raw.frame[[spec.target]])
    path = storage_root() / spec.name / "explored" / f"{targets}.json"
    create_exclusive(path, to_json(first))
    stored = from_json(SplitColumns, read_bytes(path), _not_columns(path))
    columns = stored.columns
    if not stored.are_in(raw.frame):
        columns = first.columns
        LOG.warning(
            "columns of the first exploration of these targets are gone or changed: "
            "the rows are split anew, and rows that were scored may come into the "
            "validation set. Leave columns out by .without(…), and add others."
        )
    keys = declared.declared_keys(named)
    declared_split = {**keys.get("split", {}), "columns": [*columns]}
    return declared.with_keys(named, {"split": declared_split}, named.schema_text)


def _not_columns(path: Location) -> errors.EntryCorrupt:
    return errors.EntryCorrupt(
        str(path),
        rule="does not name the columns of a split",
        fix="Delete the file: explorations then split the rows anew.",
    )


def explored(
    named: NamedColumns,
    summary: str,
    limits: RunLimits,
    raw: RawTable,
    *,
    before: Exploration | None = None,
    began: float | None = None,
    asked_for: Collection[str] | None = None,
) -> Exploration:
    """Run the stages up to the leaderboard; `began`: when the seconds start, None: now;
    `asked_for`: as of `Run`.

    Raises the error that ends the run.
    """
    begin = perf_counter() if began is None else began
    spec = named.spec
    store = ExplorationStore(spec)
    seconds = limits.seconds or spec.budget.seconds
    budget = RunBudget(seconds, lambda: perf_counter() - begin)
    reporter = ProgressReporter(named, limits.progress, budget)
    run = Run(
        named,
        store,
        reporter,
        budget,
        workers=limits.workers,
        delivered=raw,
        asked_for=asked_for,
        explores=True,
    )
    with reporter.shown():
        finished = run_stages(
            run, lambda _, outcome: outcome.log_to(LOG), until="leaderboard"
        )
    if finished.refused is not None:
        raise finished.refused
    labels = None if before is None else before.labels
    return Exploration(named, summary, finished.assets, store, limits, before, labels)
