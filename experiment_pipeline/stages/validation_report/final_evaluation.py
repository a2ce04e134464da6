"""The final evaluation: refit the choice, score it once on the validation set, explain the result.

In: the choice, its stored models, the three sets. Out: a `FinalEvaluation` with the pipeline that
would be exported, and its files. Ledger, registry and storage are the caller's.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from experiment_pipeline.prediction.intervals import Calibrated
from experiment_pipeline.prediction.rows import source_columns
from experiment_pipeline.reporting.document import Chart, render, render_html
from experiment_pipeline.reporting.numbers import evaluated
from experiment_pipeline.reporting.run_record import ROW, SET, EvidenceRow, JudgedRows
from experiment_pipeline.spec import CalibrationMethod, ExperimentSpec
from experiment_pipeline.stages.leaderboard.board import Leaderboard
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.stages.split_sets.sets import SetTable
from experiment_pipeline.stages.validation_report import effects, page, pictures, referee
from experiment_pipeline.stages.validation_report.audit import audit
from experiment_pipeline.stages.validation_report.effects import CoverageCheck, Segment, Usage
from experiment_pipeline.stages.validation_report.gates import (
    PublishedChampion,
    hold_against_champion,
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
from experiment_pipeline.statistics.metrics import metric_of
from experiment_pipeline.statistics.scores import SetPrediction, linearise
from experiment_pipeline.statistics.thresholds import threshold_value
from experiment_pipeline.storage.mapped import aside, some_rows
from experiment_pipeline.storage.tables import to_parquet
from experiment_pipeline.table.clusters import FITTED_ROWS, FittedRows, resampling_clusters
from experiment_pipeline.table.digests import row_hashes
from experiment_pipeline.table.features import encode_target
from experiment_pipeline.table.table import with_only

if TYPE_CHECKING:
    from experiment_pipeline.stages.leaderboard.chosen import ChosenModel

STAGE = "validation_report"
REPORT, MARKDOWN, PAGE, MODEL = "report.json", "report.md", "report.html", "model.skops"
JUDGED, NEXT_SEARCH = "validation_rows.parquet", "next_search.yaml"
PREDICTED = "predicted_rows.parquet"
_MOST_FEATURES, _MOST_TEST_ROWS = 10, 1_000  # of that table
# Time for the importance of features: a share of the search's, and wall seconds.
_SHARE_OF_SEARCH, _LEAST_SECONDS, _MOST_SECONDS = 0.075, 1.0, 10.0
# Reserved for charts and files, which follow the optional parts.
_TO_DRAW_SECONDS = 1.5
# More rows hardly narrow the interval of the loss from test to validation. Gates use all rows.
MOST_ROWS_OF_GAP = 20_000


_TOO_LONG = (
    "the importance of features is not computed: shuffling each of them once would take longer "
    "than a tenth of the search"
)
_NO_TIME = (
    "importance of features, weakest segments and horizons are not computed: the budget of seconds "
    "was spent on the search and on fitting the chosen configuration again"
)


@dataclass(frozen=True, eq=False)
class Judged:
    """What the asset holds: scores, a row per metric, the report's fingerprint, the model's, sets."""

    scores: pd.DataFrame
    fingerprint: str
    model_fingerprint: str
    sets: tuple[SetFact, ...]


@dataclass(frozen=True, eq=False)
class FinalEvaluation:
    """The judgement of the choice, and what it rests on."""

    report: ValidationReport
    next_search: NextSearch | None  # None: accepted
    pipeline: Any  # that would be exported
    charts: Mapping[str, tuple[Chart, ...]]
    judged: JudgedRows  # predictions of the validation rows; later runs are compared with them
    rows: pd.DataFrame  # PREDICTED_ROWS

    def files(self, fitted_rows: FittedRows) -> dict[str, bytes]:
        """Return it as files, name → content; `fitted_rows` are those of the pipeline."""
        from experiment_pipeline.storage.persistence import to_bytes

        report, following = self.report, self.next_search
        document = page.build_document(report, following, self.charts)
        # Markdown travels into event logs, where no row of the table belongs.
        shown = replace(document, sections=(*document.sections, page.worst_rows(report, self.rows)))
        return {
            REPORT: report.to_json().encode(),
            MARKDOWN: render(document).encode(),
            PAGE: render_html(shown, passed=report.accepted).encode(),
            MODEL: to_bytes(self.pipeline),
            FITTED_ROWS: fitted_rows.to_bytes(),
            JUDGED: to_parquet(self.judged),
            PREDICTED: to_parquet(self.rows),
            **({} if following is None else {NEXT_SEARCH: following.yaml.encode()}),
        }


def evaluate(
    spec: ExperimentSpec,
    board: Leaderboard,
    trained: "ChosenModel",
    sets: TrainingSets,
    validation: pd.DataFrame,
    *,
    delivered: pd.DataFrame,
    earlier_looks: EarlierLooks = NO_LOOKS,
    current: Sequence[PublishedChampion] = (),
    conditions: Sequence[str] = (),
    trusted: Sequence[str] = (),
    evidence: Callable[[], Evidence] = Evidence,
    workers: int = 1,
    seconds_left: Callable[[], float] = lambda: math.inf,
) -> FinalEvaluation:
    """Judge the chosen configuration on rows that were not used to fit or choose it.

    `validation` (n, columns) is prepared, `delivered` the whole table as delivered. `current` are
    the versions to be as good as, which may run `trusted` code, `conditions` those of the data analysis.
    `evidence` is asked for when a gate fails; no `seconds_left` leave out optional parts.
    """
    refit, train_only = spec.export.refit != "none", trained.train_only(sets, spec)
    fitted_on = sets.every_row if refit else sets.train
    exported = trained.refitted(fitted_on, sets, spec, workers) if refit else train_only
    fits = (exported, train_only, calibration := trained.result.calibration)
    on_validation, of_search, uncalibrated = _predicted(*fits, validation, sets, spec, workers)
    on_test = trained.predicted(sets)
    cut = threshold_value(threshold := exported_threshold(spec, on_test))
    fit = (trained, train_only, fitted_on, cut, workers, left := seconds_left() - _TO_DRAW_SECONDS)
    known = (spec, board, sets, on_test, validation, on_validation, earlier_looks.level, *fit)
    used, segments, horizons, coverage = _effects(*known)
    same = some_rows(delivered, delivered.index.get_indexer(validation.index))
    fingerprint, level = trained.result.fingerprint, earlier_looks.level
    given = (trusted, fingerprint, on_validation, cut, same, sets.classes, level)
    y, w = aside(encode_target(fitted_on[sets.target], sets.classes)), sets.weights_of(fitted_on)
    report = judge(
        *(spec, board.chosen, on_validation, of_search, on_test, y, sets.classes),
        w_fitted=w,
        threshold=threshold,
        usage=used,
        segments=segments,
        horizons=horizons,
        audited=[*audit(spec, validation, on_validation, cut, sets.classes)],
        earlier_looks=earlier_looks,
        hyperparameters=trained.result.configuration.given,
        calibrated_by=calibration,
        uncalibrated=uncalibrated,
        coverage=coverage,
        champions=[hold_against_champion(spec, one, *given) for one in current],
        conditions=conditions,
    )
    missing = [_NO_TIME] if left <= 0 else _not_computed(report, len(sets.features))
    models = (trained.linear, exported, sets, fitted_on, validation, on_validation, workers)
    asked = _asked(spec, report, seconds_left(), *models)
    report = _completed(report, missing, asked, board, exported)
    charts = pictures.charts(report, on_validation, on_test, sets.classes, spec.costs)
    following = None if report.accepted else next_search(spec, board, report, evidence())
    rows = _judged_rows(spec, sets, report, on_validation, on_test, validation, delivered)
    return FinalEvaluation(report, following, exported, charts, *rows)


def _completed(
    report: ValidationReport,
    missing: Iterable[str],
    evidence: tuple[EvidenceRow, ...],
    board: Leaderboard,
    exported: Any,
) -> ValidationReport:
    """The report with what was left out, what a referee asks, and the generated features."""
    from experiment_pipeline.stages.search.voting import TakenApart

    made, notes = TakenApart.of(exported).generated, (*report.notes, *missing)
    return replace(report, notes=notes, evidence=evidence, receipts=board.receipts, generated=made)


def _judged_rows(
    spec: ExperimentSpec,
    sets: TrainingSets,
    report: ValidationReport,
    on_validation: SetPrediction,
    on_test: SetPrediction,
    validation: pd.DataFrame,
    delivered: pd.DataFrame,
) -> tuple[JudgedRows, pd.DataFrame]:
    """The predictions of the validation rows, and the table PREDICTED_ROWS."""
    strongest = [one.feature for one in report.usage.importance] if report.usage else []
    features = dict.fromkeys([*strongest, *sets.features])
    sources = source_columns(features, delivered.columns, spec.preparation)[:_MOST_FEATURES]
    ids = [name for name in spec.split.id_columns if name in delivered]
    columns, cut = with_only(delivered, [*ids, *sources]), threshold_value(report.threshold)

    def table(of: SetPrediction, numbers: pd.Index) -> pd.DataFrame:
        mean_loss = linearise("mae" if sets.classes is None else "log_loss", of.y, of.prediction)
        losses = mean_loss.influence + mean_loss.estimate
        known = {"target": of.y, "prediction": of.prediction}
        if sets.classes is not None:
            labels, known["prediction"] = pd.Series(sets.classes), of.decided(cut)
            known = {k: labels[codes.astype(np.int64)].array for k, codes in known.items()}
            known["probability_of_target"] = np.exp(-losses)
        known["loss"] = losses
        own = some_rows(columns, delivered.index.get_indexer(numbers))
        own = own.rename(columns={name: f"delivered_{name}" for name in (SET, *known)})
        beside, k = pd.DataFrame(known, index=own.index), len(ids)
        return pd.concat([own.iloc[:, :k], beside, own.iloc[:, k:]], axis=1)

    tested = table(on_test.rows(once := sets.once), sets.test.index[once])
    tested = tested.nlargest(_MOST_TEST_ROWS, "loss")
    parts = {"validation": table(on_validation, validation.index)}
    rows = pd.concat(parts | {evaluated(spec.evaluation_name).name: tested}, names=[SET])
    at = delivered.index.get_indexer(validation.index)
    keys = row_hashes(delivered, ids or [*map(str, delivered)], ROW, at)
    return JudgedRows.of(on_validation, cut, keys), rows.reset_index(level=SET)


def _not_computed(report: ValidationReport, n_features: int) -> Iterator[str]:
    if report.usage is None:
        yield _TOO_LONG
    if report.segments is None:
        why = f"no part of the validation set has {effects.FEWEST_ROWS} rows"
        if metric_of(report.metric).is_own:
            why = "the score to expect of a part is known for built-in metrics alone"
        yield f"the weakest segments are not computed: {why}"
    elif n_features > effects.MOST_COLUMNS:
        yield f"the segments of {n_features - effects.MOST_COLUMNS:,} more features are not computed"


def _predicted(
    exported: Any,
    train_only: Any,
    calibration: CalibrationMethod | None,
    validation: pd.DataFrame,
    sets: TrainingSets,
    spec: ExperimentSpec,
    workers: int,
) -> tuple[SetPrediction, SetPrediction, SetPrediction | None]:
    """The validation rows as predicted by the exported fit; by the fit of the search, at most
    MOST_ROWS_OF_GAP evenly spread rows; and by the exported fit without its calibrators, if any.
    """
    from experiment_pipeline.stages.search.averaging import uncalibrated
    from experiment_pipeline.stages.search.voting import TakenApart

    on_validation = SetPrediction(
        encode_target(validation[sets.target], sets.classes),
        _predict(TakenApart.of(exported), validation, sets, workers),
        resampling_clusters(validation, spec, sets.features),
        sets.weights_of(validation),
    )
    some = slice(None, None, -(-len(validation) // MOST_ROWS_OF_GAP))
    of_search, without = on_validation.rows(some), None
    if exported is not train_only:
        prediction = _predict(TakenApart.of(train_only), validation[some], sets, workers)
        of_search = replace(of_search, prediction=prediction)
    if calibration is not None:
        parts = TakenApart.of(exported)
        parts = replace(parts, models=((uncalibrated(exported[-1]), 1.0),))
        prediction = _predict(parts, validation, sets, workers)
        without = replace(on_validation, prediction=prediction)
    return on_validation, of_search, without


def _predict(parts: Any, rows: pd.DataFrame, sets: TrainingSets, workers: int) -> np.ndarray:
    features = with_only(rows, sets.features)
    return np.asarray(parts.predict_rows(features, sets.task, sets.classes, workers))


def _effects(
    spec: ExperimentSpec,
    board: Leaderboard,
    sets: TrainingSets,
    on_test: SetPrediction,
    validation: pd.DataFrame,
    on_validation: SetPrediction,
    level: float,
    trained: "ChosenModel",
    train_only: Any,
    fitted_on: pd.DataFrame,
    cut: float,
    workers: int,
    left: float,
) -> tuple[Usage | None, tuple[Segment, ...] | None, tuple[Segment, ...], CoverageCheck]:
    """The use of features on rows that the fit has not seen; weakest parts, horizons, coverage of validation."""
    features, metric = sets.features, spec.metric
    tested = with_only(sets.test[sets.once], features), on_test.rows(sets.once)
    held = (validation, on_validation, features if left > 0 else (), fitted_on, level)
    coverage = effects.check_coverage(spec, Calibrated.on(*tested, sets.classes), *held)
    if left <= 0:
        return None, None, (), coverage
    horizons = effects.by_horizon(spec, fitted_on, validation, on_validation, cut)
    if sets.folds:
        sets = sets.folds[0].sets
        train_only = trained.refitted(sets.train, sets, spec)
    wanted = _SHARE_OF_SEARCH * board.searched_cpu_seconds / workers
    used = effects.usage(
        *(spec, train_only, sets, cut),
        seconds=min(max(wanted, _LEAST_SECONDS), _MOST_SECONDS, left),
        seconds_per_row=trained.result.predict_seconds_per_row,
        workers=workers,
    )
    own = metric_of(metric).is_own
    weakest = (
        None if own else effects.weakest_segments(validation, features, on_validation, metric, cut)
    )
    return used, weakest, horizons, coverage


def _asked(
    spec: ExperimentSpec,
    report: ValidationReport,
    left: float,
    linear: "ChosenModel | None",
    exported: Any,
    sets: TrainingSets,
    fitted_on: pd.DataFrame,
    validation: pd.DataFrame,
    on_validation: SetPrediction,
    workers: int,
) -> tuple[EvidenceRow, ...]:
    """What a referee asks; the linear model is fitted on as many rows as the exported one."""
    from experiment_pipeline.stages.search.learners.learner import Clock
    from experiment_pipeline.stages.search.voting import TakenApart

    own = TakenApart.of(exported)
    seconds = max(min(left - _TO_DRAW_SECONDS, _MOST_SECONDS), 0.0)
    challenger: referee.Linear | str = "the search has none"
    if linear is not None:
        key, wanted = linear.result.key, linear.result.fit_wall_seconds
        challenger = f"{key}, not computed: fitting it again would take too long"
        if key == report.configuration:
            challenger = "it is the exported one"
        elif wanted * len(fitted_on) / len(sets.train) <= min(seconds, left / 16):
            parts = TakenApart.of(linear.refitted(fitted_on, sets, spec, workers))
            prediction = _predict(parts, validation, sets, workers)
            # Halving may have stopped it on a part of the rows, at a rung of a sixteenth of them.
            whole = len(linear.on_test) == len(sets.y_test)
            at = exported_threshold(spec, linear.predicted(sets)) if whole else report.threshold
            challenger = key, replace(on_validation, prediction=prediction), threshold_value(at)
    ranked = report.usage.importance if report.usage else ()
    names = [*dict.fromkeys([*(one.feature for one in ranked), *sets.features])]
    at = spread_evenly(len(validation), min(len(validation), referee.MOST_ROWS))
    rows, plain, metric = some_rows(validation, at), on_validation.rows(at), spec.metric
    cut = threshold_value(report.threshold)
    with Clock() as clock:
        _predict(own, rows, sets, workers)
        plain.linearise(metric, cut)
    most = min(int(seconds / 2 / referee.CHANGES / clock.wall_seconds), referee.MOST_FEATURES)
    at = spread_evenly(len(fitted_on), min(len(fitted_on), referee.MOST_FITTED))
    seen = some_rows(with_only(fitted_on, names[:most]), at)
    return (
        *referee.challengers(report, on_validation, challenger),
        *referee.robustness(
            lambda some: _predict(own, some, sets, workers),
            *(rows, seen, plain, metric, cut, names, most),
        ),
        *referee.unknowns(spec, report, validation, on_validation),
    )


def fitted_rows_of(raw: pd.DataFrame, sets: TrainingSets, spec: ExperimentSpec) -> FittedRows:
    """Return the rows that the exported model is fitted on; later challengers leave them out."""
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
    own, ends = ["estimate", "low", "high"], attrgetter("estimate", "low", "high")
    gain = ["difference_to_baseline", "difference_low", "difference_high"]
    rows = [
        (one.metric, *ends(one.interval), one.baseline, *ends(one.difference_to_baseline))
        for one in report.scores
    ]
    return pd.DataFrame(rows, columns=["metric", *own, "baseline", *gain])
