"""The final evaluation: refit the choice, score it once on the validation set, explain
the result.

In: the choice, its stored models, the three sets. Out: a `FinalEvaluation` with the
pipeline that would be exported, and its files. Ledger, registry and storage are the
caller's.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from experiment_pipeline.reporting.document import Chart, render, render_html
from experiment_pipeline.reporting.numbers import evaluated
from experiment_pipeline.reporting.run_record import ROW, SET, EvidenceRow, JudgedRows
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.leaderboard.board import Leaderboard
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.stages.split_sets.sets import SetTable
from experiment_pipeline.stages.validation_report import (
    effects,
    gates,
    page,
    pictures,
    referee,
)
from experiment_pipeline.stages.validation_report.audit import audit
from experiment_pipeline.stages.validation_report.effects import (
    CoverageCheck,
    Segment,
    Usage,
)
from experiment_pipeline.stages.validation_report.ledger import NO_LOOKS, EarlierLooks
from experiment_pipeline.stages.validation_report.report import (
    NextSearch,
    SetFact,
    ValidationReport,
    exported_threshold,
    judge,
)
from experiment_pipeline.stages.validation_report.shortfall import Evidence, next_search
from experiment_pipeline.statistics.importance import spread_evenly
from experiment_pipeline.statistics.interval import Weights
from experiment_pipeline.statistics.metrics import metric_of
from experiment_pipeline.statistics.scores import SetPrediction, linearise
from experiment_pipeline.statistics.thresholds import threshold_value
from experiment_pipeline.storage.tables import to_parquet
from experiment_pipeline.table.clusters import (
    FITTED_ROWS,
    FittedRows,
    resampling_clusters,
)
from experiment_pipeline.table.digests import INDEX, row_hashes
from experiment_pipeline.table.features import encode_target
from experiment_pipeline.table.intervals import Calibrated
from experiment_pipeline.table.preparation import source_columns
from experiment_pipeline.table.table import some_rows, spilled, with_only

if TYPE_CHECKING:
    from experiment_pipeline.stages.leaderboard.chosen import ChosenModel

STAGE = "validation_report"
REPORT, MARKDOWN, PAGE, MODEL = "report.json", "report.md", "report.html", "model.skops"
JUDGED, NEXT_SEARCH = "validation_rows.parquet", "next_search.yaml"
PREDICTED = "predicted_rows.parquet"
_MOST_FEATURES, _MOST_TEST_ROWS = 10, 1_000  # of PREDICTED
# Time for the importance of features: a share of the search's CPU time; least and most
# wall seconds.
_SHARE_OF_SEARCH, _LEAST_SECONDS, _MOST_SECONDS = 0.075, 1.0, 10.0
# Reserved for charts and files, which follow the optional parts.
_TO_DRAW_SECONDS = 1.5
# More rows hardly narrow the interval of validation minus test score. Gates use all
# rows.
MOST_ROWS_OF_GAP = 20_000
_TOO_LONG = (
    "the importance of features is not computed: shuffling each of them once would take longer "
    "than its share of the search time"
)
_NO_TIME = (
    "importance of features, weakest segments and horizons are not computed: the budget of seconds "
    "was spent on the search and on fitting the chosen configuration again"
)


@dataclass(frozen=True, eq=False)
class Judged:
    """What the asset holds: scores, a row per metric, and what was scored."""

    scores: pd.DataFrame
    fingerprint: str  # of the report
    model_fingerprint: str
    sets: tuple[SetFact, ...]
    yaml_digests: Mapping[str, str]  # digests of the YAML's keys that decided it


@dataclass(frozen=True, eq=False)
class FinalEvaluation:
    """The judgement of the choice, and what it is based on."""

    report: ValidationReport
    next_search: NextSearch | None  # None: accepted
    pipeline: Any  # that would be exported
    charts: Mapping[str, tuple[Chart, ...]]
    judged: JudgedRows  # predictions of the validation rows; later runs are compared with them
    rows: pd.DataFrame  # PREDICTED_ROWS

    def contents(
        self, fitted_rows: Callable[[], FittedRows]
    ) -> dict[str, Callable[[], bytes]]:
        """Return the evaluation as files: name → function that returns the content.

        `fitted_rows` returns what the pipeline was fitted on.
        """
        from experiment_pipeline.storage.persistence import to_bytes

        report, following = self.report, self.next_search
        document = page.build_document(report, following, self.charts)

        def html() -> bytes:
            # Not in the Markdown: it goes into event logs, where no row belongs.
            worst_rows = page.worst_rows(report, self.rows)
            shown = replace(document, sections=(*document.sections, worst_rows))
            return render_html(shown, passed=report.accepted).encode()

        contents = {
            REPORT: lambda: report.to_json().encode(),
            MARKDOWN: lambda: render(document).encode(),
            PAGE: html,
            MODEL: lambda: to_bytes(self.pipeline),
            FITTED_ROWS: lambda: fitted_rows().to_bytes(),
            JUDGED: lambda: to_parquet(self.judged),
            PREDICTED: lambda: to_parquet(self.rows),
        }
        if following is not None:
            contents[NEXT_SEARCH] = following.yaml.encode
        return contents


@dataclass(frozen=True)
class Background:
    """What earlier stages and earlier runs know of a choice."""

    looks: EarlierLooks = NO_LOOKS
    champions: Sequence[gates.Champion] = ()  # the versions to compare with
    trusted: Sequence[str] = ()  # types whose code a champion may run
    conditions: Sequence[str] = ()  # of the data analysis


def evaluate(
    choice: "Choice",
    background: Background = Background(),
    *,
    evidence: Callable[[], Evidence] = Evidence,
    seconds_left: Callable[[], float] = lambda: math.inf,
) -> FinalEvaluation:
    """Judge the chosen configuration on rows that were not used to fit or choose it.

    `evidence` is called when a gate fails; without `seconds_left`, optional parts are
    left out.
    """
    spec, board, trained, sets = choice.spec, choice.board, choice.model, choice.sets
    validation, delivered, workers = choice.validation, choice.delivered, choice.workers
    earlier_looks = background.looks
    on_validation, of_search, uncalibrated = choice.predicted()
    on_test = trained.predicted(sets)
    cut = threshold_value(threshold := exported_threshold(spec, on_test))
    left, level = seconds_left() - _TO_DRAW_SECONDS, earlier_looks.level
    wanted = _SHARE_OF_SEARCH * board.searched_cpu_seconds / workers
    used, segments, horizons, coverage = choice.effects(
        on_test, on_validation, cut, level, left, wanted
    )
    same = some_rows(delivered, choice.places)
    given = (
        background.trusted,
        trained.result.fingerprint,
        on_validation,
        cut,
        same,
        sets.classes,
        level,
    )
    y, w = choice.fitted
    report = judge(
        *(spec, board.chosen, on_validation, of_search, on_test, y, sets.classes),
        w_fitted=w,
        threshold=threshold,
        usage=used,
        segments=segments,
        horizons=horizons,
        audited=[*audit(spec, validation, on_validation, cut, sets.classes)],
        earlier_looks=earlier_looks,
        hyperparameters=trained.result.configuration.declared_settings,
        calibrated_by=trained.result.calibration,
        uncalibrated=uncalibrated,
        coverage=coverage,
        champions=[
            gates.hold_against_champion(spec, one, *given)
            for one in background.champions
        ],
        conditions=background.conditions,
    )
    missing = [_NO_TIME] if left <= 0 else _not_computed(report, len(sets.features))
    report = replace(
        report,
        notes=(*report.notes, *trained.notes, *missing),
        evidence=choice.asked(report, on_validation, seconds_left()),
    )
    charts = pictures.charts(report, on_validation, on_test, sets.classes, spec.costs)
    following = (
        None if report.accepted else next_search(spec, board, report, evidence())
    )
    rows, judged = (
        choice.rows(report, on_validation, on_test),
        choice.judged(on_validation, cut),
    )
    return FinalEvaluation(report, following, choice.exported, charts, judged, rows)


@dataclass(frozen=True, eq=False)
class Choice:
    """The chosen configuration's fits, and the rows that they were fitted on and are
    judged on.
    """

    spec: ExperimentSpec
    board: Leaderboard
    model: "ChosenModel"
    sets: TrainingSets
    validation: pd.DataFrame  # (n, columns) prepared
    delivered: pd.DataFrame  # the whole table as delivered
    workers: int = 1

    @cached_property
    def places(self) -> np.ndarray:
        """Positions of the validation rows in the delivered table, (n,)."""
        return self.delivered.index.get_indexer(self.validation.index)

    @property
    def ids(self) -> list[str]:
        """The id columns of the split that the table has."""
        return [name for name in self.spec.split.id_columns if name in self.delivered]

    @cached_property
    def train_only(self) -> Any:
        """The model as the search fitted it."""
        return self.model.train_only(self.sets, self.spec)

    @property
    def fitted_on(self) -> pd.DataFrame:
        """The rows of the exported fit."""
        return (
            self.sets.train if self.spec.export.refit == "none" else self.sets.every_row
        )

    @cached_property
    def exported(self) -> Any:
        """The fit that would be exported."""
        if self.spec.export.refit == "none":
            return self.train_only
        return self.model.refitted(self.fitted_on, self.sets, self.spec, self.workers)

    @property
    def fitted(self) -> tuple[np.ndarray, Weights]:
        """Encoded targets and weights of the rows of the exported fit."""
        target = encode_target(self.fitted_on[self.sets.target], self.sets.classes)
        return spilled(target), self.sets.weights_of(self.fitted_on)

    @property
    def parts(self) -> Any:
        """The exported fit, taken apart."""
        from experiment_pipeline.stages.search.voting import TakenApart

        return TakenApart.of(self.exported)

    def predict(self, parts: Any, rows: pd.DataFrame) -> np.ndarray:
        """Return the predictions of a fit for prepared rows."""
        sets, features = self.sets, with_only(rows, self.sets.features)
        return np.asarray(
            parts.predict_rows(features, sets.task, sets.classes, self.workers)
        )

    def predicted(self) -> tuple[SetPrediction, SetPrediction, SetPrediction | None]:
        """The validation rows as predicted by the exported fit; by the fit of the
        search, at most MOST_ROWS_OF_GAP evenly spread rows; and by the exported fit
        without its calibrators, if any.
        """
        from experiment_pipeline.stages.search.averaging import uncalibrated
        from experiment_pipeline.stages.search.voting import TakenApart

        validation, sets, parts = self.validation, self.sets, self.parts
        on_validation = SetPrediction(
            encode_target(validation[sets.target], sets.classes),
            self.predict(parts, validation),
            resampling_clusters(validation, self.spec, sets.features),
            sets.weights_of(validation),
        )
        some = slice(None, None, -(-len(validation) // MOST_ROWS_OF_GAP))
        of_search, without = on_validation.rows(some), None
        if self.exported is not self.train_only:
            prediction = self.predict(TakenApart.of(self.train_only), validation[some])
            of_search = replace(of_search, prediction=prediction)
        if self.model.result.calibration is not None:
            parts = replace(parts, models=((uncalibrated(self.exported[-1]), 1.0),))
            without = replace(on_validation, prediction=self.predict(parts, validation))
        return on_validation, of_search, without

    def effects(
        self,
        on_test: SetPrediction,
        on_validation: SetPrediction,
        cut: float,
        level: float,
        left: float,
        wanted: float,
    ) -> tuple[
        Usage | None, tuple[Segment, ...] | None, tuple[Segment, ...], CoverageCheck
    ]:
        """The use of features on rows that the fit has not seen; of validation, weakest
        segments, horizons and coverage. `left`: seconds of the budget; `wanted`:
        seconds for the use of features.
        """
        spec, sets, rows, features = (
            self.spec,
            self.sets,
            self.validation,
            self.sets.features,
        )
        tested = with_only(sets.test[sets.once], features), on_test.rows(sets.once)
        held = (
            rows,
            on_validation,
            features if left > 0 else (),
            self.fitted_on,
            level,
        )
        coverage = effects.check_coverage(
            spec, Calibrated.on(*tested, sets.classes), *held
        )
        if left <= 0:
            return None, None, (), coverage
        horizons = effects.by_horizon(spec, self.fitted_on, rows, on_validation, cut)
        train_only = self.train_only
        if sets.folds:
            sets = sets.folds[0].sets
            once = spec.model_copy(
                update={"export": spec.export.model_copy(update={"fits": 1})}
            )
            train_only = self.model.refitted(sets.train, sets, once)
        used = effects.usage(
            *(spec, train_only, sets, cut),
            seconds=min(max(wanted, _LEAST_SECONDS), _MOST_SECONDS, left),
            seconds_per_row=self.model.result.predict_seconds_per_row,
            workers=self.workers,
        )
        given = (rows, features, on_validation, spec.metric, cut)
        weakest = (
            None if metric_of(spec.metric).is_own else effects.weakest_segments(*given)
        )
        return used, weakest, horizons, coverage

    def asked(
        self, report: ValidationReport, on_validation: SetPrediction, left: float
    ) -> tuple[EvidenceRow, ...]:
        """What a referee asks; the linear model is fitted on the same rows as the
        exported one.
        """
        from experiment_pipeline.stages.search.learners.learner import Clock
        from experiment_pipeline.stages.search.voting import TakenApart

        spec, sets, validation, fitted_on = (
            self.spec,
            self.sets,
            self.validation,
            self.fitted_on,
        )
        own, seconds = self.parts, max(min(left - _TO_DRAW_SECONDS, _MOST_SECONDS), 0.0)
        challenger: referee.Linear | str = "the search has none"
        if (linear := self.model.linear) is not None:
            key, wanted = linear.result.key, linear.result.fit_wall_seconds
            challenger = f"{key}, not computed: fitting it again would take too long"
            if key == report.configuration:
                challenger = "it is this model"
            elif wanted * len(fitted_on) / len(sets.train) <= min(seconds, left / 16):
                parts = TakenApart.of(
                    linear.refitted(fitted_on, sets, spec, self.workers)
                )
                predicted = replace(
                    on_validation, prediction=self.predict(parts, validation)
                )
                # Where halving stopped it at a small rung, it has no predictions of all
                # test rows.
                whole = len(linear.on_test) == len(sets.y_test)
                at = (
                    exported_threshold(spec, linear.predicted(sets))
                    if whole
                    else report.threshold
                )
                challenger = key, predicted, threshold_value(at)
        ranked = report.usage.importance if report.usage else ()
        names = [*dict.fromkeys([*(one.feature for one in ranked), *sets.features])]
        at = spread_evenly(len(validation), min(len(validation), referee.MOST_ROWS))
        rows, plain, metric = (
            some_rows(validation, at),
            on_validation.rows(at),
            spec.metric,
        )
        cut = threshold_value(report.threshold)
        with Clock() as clock:
            self.predict(own, rows)
            plain.linearise(metric, cut)
        most = min(
            int(seconds / 2 / referee.CHANGES / clock.wall_seconds),
            referee.MOST_FEATURES,
        )
        at = spread_evenly(len(fitted_on), min(len(fitted_on), referee.MOST_FITTED))
        seen = some_rows(with_only(fitted_on, names[:most]), at)
        shaken = (rows, seen, plain, metric, cut, names, most)
        return (
            *referee.challengers(report, on_validation, challenger),
            *referee.robustness(partial(self.predict, own), *shaken),
            *referee.unknowns(spec, report, validation, on_validation),
        )

    def judged(self, predicted: SetPrediction, cut: float) -> JudgedRows:
        """The predictions of the validation rows, which are identified by ids, else by
        all columns.
        """
        known_by = self.ids or [*map(str, self.delivered)]
        return JudgedRows.of(
            predicted, cut, row_hashes(self.delivered, known_by, ROW, self.places)
        )

    def rows(
        self,
        report: ValidationReport,
        on_validation: SetPrediction,
        on_test: SetPrediction,
    ) -> pd.DataFrame:
        """The table PREDICTED_ROWS."""
        spec, sets, delivered, ids = self.spec, self.sets, self.delivered, self.ids
        strongest = (
            [one.feature for one in report.usage.importance] if report.usage else []
        )
        features = dict.fromkeys([*strongest, *sets.features])
        sources = source_columns(features, delivered.columns, spec.preparation)[
            :_MOST_FEATURES
        ]
        columns, cut = (
            with_only(delivered, [*ids, *sources]),
            threshold_value(report.threshold),
        )

        def table(of: SetPrediction, numbers: pd.Index) -> pd.DataFrame:
            metric = "mae" if sets.classes is None else "log_loss"
            mean_loss = linearise(metric, of.y, of.prediction)
            losses = mean_loss.influence + mean_loss.estimate
            known = {"target": of.y, "prediction": of.prediction}
            if sets.classes is not None:
                labels, known["prediction"] = pd.Series(sets.classes), of.decided(cut)
                known = {
                    k: labels[codes.astype(np.int64)].array
                    for k, codes in known.items()
                }
                known["probability_of_target"] = np.exp(-losses)
            known["loss"] = losses
            own = some_rows(columns, delivered.index.get_indexer(numbers))
            own = own.rename(
                columns={name: f"delivered_{name}" for name in (SET, INDEX, *known)}
            )
            beside, k = pd.DataFrame(known, index=own.index), len(ids)
            return pd.concat([own.iloc[:, :k], beside, own.iloc[:, k:]], axis=1)

        tested = table(on_test.rows(once := sets.once), sets.test.index[once])
        tested = tested.nlargest(_MOST_TEST_ROWS, "loss")
        parts = {"validation": table(on_validation, self.validation.index)}
        found = pd.concat(
            parts | {evaluated(spec.evaluation_name).name: tested}, names=[SET]
        )
        return found.reset_index(level=SET)


def _not_computed(report: ValidationReport, n_features: int) -> Iterator[str]:
    if report.usage is None:
        yield _TOO_LONG
    if report.segments is None:
        why = f"no part of the validation set has {effects.FEWEST_ROWS} rows"
        if metric_of(report.metric).is_own:
            why = "the expected score of a segment is only known for built-in metrics"
        yield f"the weakest segments are not computed: {why}"
    elif n_features > effects.MOST_COLUMNS:
        yield f"{page.MORE_SEGMENTS}the last {n_features - effects.MOST_COLUMNS:,} of {n_features:,}"


def fitted_rows_of(
    raw: pd.DataFrame, sets: TrainingSets, spec: ExperimentSpec
) -> FittedRows:
    """Return the rows that the exported model is fitted on; later challengers leave
    them out.
    """
    sources = source_columns(sets.features, raw.columns, spec.preparation)
    # A user's function does not declare the columns it reads.
    every = spec.preparation.function is not None
    rows = raw.index.get_indexer(sets.row_numbers)
    return FittedRows.of(raw, spec, list(raw.columns) if every else sources, rows)


def set_facts(sets: TrainingSets, validation_set: SetTable) -> tuple[SetFact, ...]:
    """Return rows and digest of the three sets."""
    sizes, digests = sets.set_sizes, sets.digests
    return (
        *(SetFact(name, sizes[name], digests[name]) for name in ("train", "test")),
        SetFact("validation", len(validation_set.rows), validation_set.digest),
    )


def scores_table(report: ValidationReport) -> pd.DataFrame:
    """Return the scores of a report, a row per metric."""
    rows = []
    for one in report.scores:
        score, gain = one.interval, one.difference_to_baseline
        bounds = {"estimate": score.estimate, "low": score.low, "high": score.high}
        names = ("difference_to_baseline", "difference_low", "difference_high")
        apart = dict(zip(names, (gain.estimate, gain.low, gain.high), strict=True))
        rows.append({"metric": one.metric, **bounds, "baseline": one.baseline, **apart})
    return pd.DataFrame(rows)
