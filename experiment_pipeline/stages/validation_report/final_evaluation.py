"""The final evaluation: refit the choice, score it once on the validation set, explain
the result.

In: the choice, its stored models, the three sets. Out: a `FinalEvaluation` with the
pipeline that would be exported, and its files. Ledger, registry and storage are the
caller's.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.document import Chart, render, render_html
from experiment_pipeline.reporting.numbers import evaluated
from experiment_pipeline.reporting.run_record import ROW, SET, EvidenceRow, JudgedRows
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.leaderboard.board import Leaderboard
from experiment_pipeline.stages.leaderboard.incumbent import (
    IncumbentAnswers,
    IncumbentComparison,
    compare_with_incumbent,
)
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
from experiment_pipeline.stages.validation_report.judged_model import (
    Classes,
    JudgedModel,
)
from experiment_pipeline.stages.validation_report.ledger import NO_LOOKS, EarlierLooks
from experiment_pipeline.stages.validation_report.report import (
    Examination,
    NextSearch,
    SetFact,
    ValidationReport,
    judge,
)
from experiment_pipeline.stages.validation_report.shortfall import Evidence, next_search
from experiment_pipeline.statistics.interval import variance_factor
from experiment_pipeline.statistics.metrics import (
    metric_of,
    significantly_better,
    significantly_worse,
)
from experiment_pipeline.statistics.scores import (
    SetPrediction,
    linearise,
    paired_difference,
)
from experiment_pipeline.statistics.thresholds import (
    best_threshold,
    cross_fitted,
    threshold_value,
)
from experiment_pipeline.storage.tables import to_parquet
from experiment_pipeline.table.clusters import (
    FITTED_ROWS,
    FittedRows,
    canonical_order,
    classes_of,
    resampling_clusters,
)
from experiment_pipeline.table.digests import INDEX, row_hashes
from experiment_pipeline.table.features import encode_target
from experiment_pipeline.table.intervals import Calibrated
from experiment_pipeline.table.preparation import source_columns
from experiment_pipeline.table.table import some_rows, spilled, with_only

if TYPE_CHECKING:
    from experiment_pipeline.stages.leaderboard.chosen import ChosenModel
    from experiment_pipeline.stages.search.voting import TakenApart

STAGE = "validation_report"
REPORT, MARKDOWN, PAGE, MODEL = "report.json", "report.md", "report.html", "model.skops"
JUDGED, NEXT_SEARCH = "validation_rows.parquet", "next_search.yaml"
PREDICTED = "predicted_rows.parquet"
_MOST_FEATURES, _MOST_TEST_ROWS = 10, 1_000_000  # of PREDICTED
# Time for the importance of features: a share of the search's CPU time; least and most
# wall seconds.
_SHARE_OF_SEARCH, _LEAST_SECONDS, _MOST_SECONDS = 0.075, 1.0, 10.0
# Fits that predict the test rows as a random split does.
_MOST_RANDOM_FITS = 5
# Reserved for charts and files, which follow the optional parts.
_TO_DRAW_SECONDS = 1.5
# More rows hardly narrow the interval of validation minus test score. Gates use all
# rows.
MOST_ROWS_OF_GAP = 20_000
_TOO_LONG = (
    "the importance of features is not computed: shuffling each of them once would "
    "take longer than its share of the search time"
)
_NO_TIME = (
    "importance of features, weakest segments and horizons are not computed: the "
    "budget of seconds was spent on the search and on fitting the chosen configuration "
    "again"
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
    # predictions of the validation rows; later runs are compared with them
    judged: JudgedRows
    rows: pd.DataFrame  # PREDICTED_ROWS

    def contents(
        self, fitted_rows: Callable[[], FittedRows]
    ) -> dict[str, Callable[[], bytes]]:
        """Return the evaluation as files: name → function that returns the content.

        `fitted_rows` returns what the pipeline was fitted on.
        """
        from experiment_pipeline.storage.persistence import to_bytes

        report = self.report
        document = page.build_document(report, self.charts)

        def html() -> bytes:
            # Rows are not in the Markdown: it goes into event logs.
            shown = page.build_document(report, self.charts, self.rows)
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
        if self.next_search is not None:
            contents[NEXT_SEARCH] = self.next_search.yaml.encode
        return contents


@dataclass(frozen=True)
class Background:
    """What earlier stages and earlier runs know of a choice."""

    looks: EarlierLooks = NO_LOOKS
    champions: Sequence[gates.Champion] = ()  # the versions to compare with
    trusted: Sequence[str] = ()  # types whose code a champion may run
    conditions: Sequence[str] = ()  # of the data analysis


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
        if self.spec.export.refit == "none":
            return self.sets.train
        return self.sets.every_row

    @cached_property
    def exported(self) -> Any:
        """The fit that would be exported."""
        if self.spec.export.refit == "none":
            return self.train_only
        return self.model.refitted(self.fitted_on, self.sets, self.spec, self.workers)

    @cached_property
    def parts(self) -> "TakenApart":
        """The exported fit, taken apart."""
        return _taken_apart(self.exported)

    def predict(self, parts: "TakenApart", rows: pd.DataFrame) -> np.ndarray:
        """Return the predictions of a fit for prepared rows."""
        sets = self.sets
        features = with_only(rows, sets.features)
        return parts.predict_rows(features, sets.task, sets.classes, self.workers)

    def predicted(self, parts: "TakenApart", rows: pd.DataFrame) -> SetPrediction:
        """Return prepared rows with their targets and the predictions of a fit."""
        sets = self.sets
        return SetPrediction(
            encode_target(rows[sets.target], sets.classes),
            self.predict(parts, rows),
            resampling_clusters(rows, self.spec, sets.features),
            sets.weights_of(rows),
        )

    def fitted_once(
        self, rows: pd.DataFrame, sets: TrainingSets, workers: int = 1
    ) -> Any:
        """Return the model fitted on other prepared rows, not as a mean of fits."""
        export = self.spec.export.model_copy(update={"fits": 1})
        once = self.spec.model_copy(update={"export": export})
        return self.model.refitted(rows, sets, once, workers)

    @property
    def optional_seconds(self) -> float:
        """Wall seconds of an optional part: a share of the search's CPU time."""
        return _SHARE_OF_SEARCH * self.board.searched_cpu_seconds / self.workers

    def judged(self) -> JudgedModel:
        """Return the model with its predictions of test and validation rows."""
        sets = self.sets
        fitted = self.fitted_on
        exported = self.predicted(self.parts, self.validation)
        target = encode_target(fitted[sets.target], sets.classes)
        return JudgedModel(
            spec=self.spec,
            key=self.board.chosen,
            result=self.model.result,
            classes=sets.classes,
            exported=exported,
            train_only=self._by_train_only(exported),
            test=self.model.predicted(sets),
            y_fitted=spilled(target),
            w_fitted=sets.weights_of(fitted),
            uncalibrated=self._uncalibrated(exported),
            features=sets.features,
            rows=self.validation,
            delivered=some_rows(self.delivered, self.places),
            fitted=fitted,
        )

    def _by_train_only(self, exported: SetPrediction) -> SetPrediction:
        """At most MOST_ROWS_OF_GAP evenly spread rows, by the fit of the search."""
        kth = slice(None, None, -(-len(exported.y) // MOST_ROWS_OF_GAP))
        rows = exported.rows(kth)
        if self.exported is self.train_only:
            return rows
        parts = _taken_apart(self.train_only)
        return replace(rows, prediction=self.predict(parts, self.validation[kth]))

    def _uncalibrated(self, exported: SetPrediction) -> SetPrediction | None:
        """The same rows by the exported fit without its calibrators, if it has any."""
        from experiment_pipeline.stages.search.averaging import uncalibrated

        if self.model.result.calibration is None:
            return None
        model = uncalibrated(self.exported[-1])
        parts = replace(self.parts, models=((model, 1.0),))
        return replace(exported, prediction=self.predict(parts, self.validation))


def _taken_apart(fit: Any) -> "TakenApart":
    from experiment_pipeline.stages.search.voting import TakenApart

    return TakenApart.of(fit)


def evaluate(
    choice: Choice,
    background: Background = Background(),
    *,
    evidence: Callable[[], Evidence] = Evidence,
    seconds_left: Callable[[], float] = lambda: math.inf,
) -> FinalEvaluation:
    """Judge the chosen configuration on rows that were not used to fit or choose it.

    `evidence` is called when a gate fails; without `seconds_left`, optional parts are
    left out.
    """
    model = choice.judged()
    seconds = seconds_left() - _TO_DRAW_SECONDS
    examination = _examination(choice, model, background, seconds)
    report = judge(model, examination, background.looks, background.conditions)
    missing = [_NO_TIME] if seconds <= 0 else _not_computed(report, len(model.features))
    promised = [*by_random_split(choice, model, seconds_left())]
    case = _case(choice, model, report, seconds_left())
    probes = (row for probe in referee.PROBES for row in probe(case))
    report = replace(
        report,
        evidence=(*promised, *probes),
        notes=(*report.notes, *choice.model.notes, *missing),
    )
    following = None
    if not report.accepted:
        following = next_search(choice.spec, choice.board, report, evidence())
        steps = [
            EvidenceRow(
                kind="next step",
                what=reason.advice,
                because=reason.evidence,
                promises=reason.promises,
            )
            for reason in following.reasons
        ]
        report = replace(report, evidence=(*report.evidence, *steps))
    # Rows are known again by their ids, else by all columns.
    known_by = choice.ids or [str(name) for name in choice.delivered]
    hashes = row_hashes(choice.delivered, known_by, ROW, choice.places)
    return FinalEvaluation(
        report,
        following,
        choice.exported,
        pictures.charts(report, model),
        JudgedRows.of(model.exported, model.cut, hashes),
        _predicted_rows(choice, model, case.names),
    )


def _examination(
    choice: Choice, model: JudgedModel, background: Background, seconds: float
) -> Examination:
    """How the model fares; without seconds only what gates need."""
    sets = choice.sets
    level = background.looks.level
    once = sets.once
    calibrated = Calibrated.on(
        with_only(sets.test[once], sets.features), model.test.rows(once), sets.classes
    )
    examination = Examination(
        audit=tuple(audit(model)),
        champions=tuple(
            gates.compare_with_champion(
                model,
                champion,
                background.trusted,
                level,
                tolerance_of_tie=choice.board.tolerance_of_tie,
            )
            for champion in background.champions
        ),
        incumbent=_beside_incumbent(model, choice.board.incumbent, level),
    )
    if seconds <= 0:
        bare = replace(model, features=())  # coverage is not checked by feature
        coverage = effects.check_coverage(bare, calibrated, level)
        return replace(examination, coverage=coverage)
    return replace(
        examination,
        coverage=effects.check_coverage(model, calibrated, level),
        usage=_usage(choice, model, seconds),
        segments=effects.weakest_segments(model),
        horizons=effects.by_horizon(model),
        acquaintance=effects.by_acquaintance(model),
    )


def _beside_incumbent(
    model: JudgedModel, on_test: IncumbentComparison | None, level: float
) -> IncumbentComparison | None:
    answers = IncumbentAnswers.of(model.rows, model.spec, model.classes)
    if answers is None:
        return None
    return compare_with_incumbent(
        model.spec, answers, model.exported, model.cut, on_test, level
    )


def _usage(choice: Choice, model: JudgedModel, seconds: float) -> effects.Usage | None:
    """The use of features on rows that the fit has not seen."""
    sets = choice.sets
    fit = choice.train_only
    if sets.folds:
        sets = sets.folds[0].sets
        fit = choice.fitted_once(sets.train, sets)
    return effects.usage(
        choice.spec,
        fit,
        sets,
        model.cut,
        seconds=min(
            max(choice.optional_seconds, _LEAST_SECONDS), _MOST_SECONDS, seconds
        ),
        seconds_per_row=model.result.predict_seconds_per_row,
        workers=choice.workers,
    )


def by_random_split(
    choice: Choice, model: JudgedModel, seconds: float
) -> Iterator[EvidenceRow]:
    """Compare the predictions of the test rows with those that a random split of the
    train and test rows would have given: the same rows, from fits on as many rows.

    After a cross-validation by time these are the rows of the last fold.
    """
    spec = choice.spec
    split = spec.split
    if split.by == "random":
        return
    as_declared = _AsDeclared.of(choice)
    what = f"a split by {split.by} ({split.column}), as declared"
    allowed = min(
        max(choice.optional_seconds, _MOST_SECONDS), (seconds - _TO_DRAW_SECONDS) / 4
    )
    fits = min(int(allowed / model.result.fit_wall_seconds), _MOST_RANDOM_FITS)
    if fits < 1:
        what += ": a random split is not tried, fitting again would take too long"
        yield EvidenceRow(kind="random split", what=what)
        return
    at_random = as_declared.predicted_at_random(choice, fits)
    if at_random is None:
        what += ": a random split is not tried, its train rows lack a class"
        yield EvidenceRow(kind="random split", what=what)
        return
    declared = as_declared.test.rows(at_random.places)
    promised = replace(declared, prediction=at_random.prediction)
    first, second = (
        cross_fitted(spec.metric, part).score for part in (declared, promised)
    )
    gap = paired_difference(first, second, declared.layout(spec.metric))
    what += f": {numbers.score(first.estimate)}"
    if significantly_better(spec.metric, gap):
        what += "; a random split would have promised too much"
    elif significantly_worse(spec.metric, gap):
        what += "; a random split would have promised less"
    else:
        what += "; the difference may be chance"
    yield EvidenceRow.of("random split", what, second.estimate, gap, len(declared.y))


@dataclass(frozen=True, eq=False)
class _AtRandom:
    """What fits on random rows predict."""

    places: np.ndarray  # (k,) of the predicted rows among the test rows, ascending
    prediction: np.ndarray  # (k,) or (k, classes)


@dataclass(frozen=True, eq=False)
class _AsDeclared:
    """The test rows as the search predicts them, and the rows of a random split."""

    sets: TrainingSets  # of one fit
    test: SetPrediction
    places: np.ndarray  # (n_test,) of the test rows among `sets.every_row`
    n_fitted: int  # rows of one fit

    @classmethod
    def of(cls, choice: Choice) -> "_AsDeclared":
        """Each row once; of folds in time the last, as the others have fewer rows."""
        sets = choice.sets
        test = choice.model.predicted(sets).rows(sets.once)
        index = sets.test.index[sets.once]
        if sets.folds:
            last = sets.folds[-1]
            sets = last.sets
            if choice.spec.split.by == "time":
                test = choice.model.predicted(choice.sets).rows(last.places)
                index = sets.test.index
        stops_early = any(member.result.rounds for member in choice.model.members)
        n_fitted = int(sets.fit_mask.sum()) if stops_early else len(sets.train)
        # Another draw of the fitted rows gives another model, on either side.
        factor = variance_factor([n_fitted], [len(sets.test)], 1)
        test = replace(test, variance_factor=factor)
        places = sets.every_row.index.get_indexer(index)
        return cls(sets, test, places, n_fitted)

    def predicted_at_random(self, choice: Choice, fits: int) -> _AtRandom | None:
        """Predict test rows by at most so many fits; None: their rows lack a class.

        Each fit leaves out one part of all rows and predicts the test rows in it.
        """
        sets = self.sets
        rows = sets.every_row
        order = self._random_order(choice)
        part = len(rows) - self.n_fitted
        to_predict = np.zeros(len(rows), dtype=bool)
        to_predict[self.places] = True
        is_predicted = np.zeros(len(rows), dtype=bool)
        prediction = np.zeros((len(rows), *self.test.prediction.shape[1:]))
        for start in range(0, len(rows), part)[:fits]:
            turned = np.roll(order, -start)
            fitted = some_rows(rows, np.sort(turned[part:]))
            if sets.classes and fitted[sets.target].nunique() < len(sets.classes):
                return None
            # The last part begins again with rows of the first.
            left_out = turned[:part][: len(rows) - start]
            predicted = np.sort(left_out[to_predict[left_out]])
            if not len(predicted):
                continue
            parts = _taken_apart(choice.fitted_once(fitted, sets, choice.workers))
            prediction[predicted] = choice.predict(parts, some_rows(rows, predicted))
            is_predicted[predicted] = True
        places = np.flatnonzero(is_predicted[self.places])
        return _AtRandom(places, prediction[self.places[places]])

    def _random_order(self, choice: Choice) -> np.ndarray:
        """All rows at random, (n,), each class spread evenly."""
        rows = self.sets.every_row
        in_order = canonical_order(rows, choice.spec, self.sets.features)
        drawn = np.random.default_rng(choice.spec.seed).permutation(in_order)
        classes = classes_of(rows, choice.spec)[drawn]
        number = pd.Series(classes).groupby(classes).cumcount().to_numpy()
        share = (number + 0.5) / np.bincount(classes)[classes]
        return drawn[np.argsort(share, kind="stable")]


def _case(
    choice: Choice, model: JudgedModel, report: ValidationReport, seconds_left: float
) -> referee.Case:
    """What a referee's questions are answered with, within the seconds."""
    from experiment_pipeline.stages.search.learners.learner import Clock

    seconds = max(min(seconds_left - _TO_DRAW_SECONDS, _MOST_SECONDS), 0.0)
    case = referee.Case(
        model,
        report,
        linear=_linear(choice, model, min(seconds, seconds_left / 16)),
        predict=lambda rows: choice.predict(choice.parts, rows),
        most_features=0,
    )
    with Clock() as clock:
        rows, unchanged = case.sample
        case.predict(rows)
        unchanged.linearise(report.metric, model.cut)
    in_time = int(seconds / 2 / referee.CHANGES / clock.wall_seconds)
    return replace(case, most_features=min(in_time, referee.MOST_FEATURES))


def _linear(
    choice: Choice, model: JudgedModel, seconds: float
) -> referee.LinearModel | str:
    """The best linear model, fitted on the rows of the exported one; or why not."""
    linear = choice.model.linear
    sets = choice.sets
    fitted_on = choice.fitted_on
    if linear is None:
        return "the search has none"
    key = linear.result.key
    if key == model.key:
        return "it is this model"
    wall_seconds = linear.result.fit_wall_seconds * len(fitted_on) / len(sets.train)
    if wall_seconds > seconds:
        return f"{key}, not computed: fitting it again would take too long"
    fit = linear.refitted(fitted_on, sets, choice.spec, choice.workers)
    prediction = choice.predict(_taken_apart(fit), choice.validation)
    # Where halving stopped it at a small rung, it has no predictions of all test rows.
    threshold = model.threshold
    if len(linear.on_test) == len(sets.y_test):
        threshold = best_threshold(
            choice.spec.metric_names, choice.spec.costs, linear.predicted(sets)
        )
    exported = replace(model.exported, prediction=prediction)
    return referee.LinearModel(key, exported, threshold_value(threshold))


def _not_computed(report: ValidationReport, n_features: int) -> Iterator[str]:
    if report.usage is None:
        yield _TOO_LONG
    if report.segments is None:
        why = f"no part of the validation set has {effects.FEWEST_ROWS} rows"
        if metric_of(report.metric).is_own:
            why = "the expected score of a segment is only known for built-in metrics"
        yield f"the weakest segments are not computed: {why}"
    elif n_features > effects.MOST_COLUMNS:
        rest = n_features - effects.MOST_COLUMNS
        yield f"{page.MORE_SEGMENTS}the last {rest:,} of {n_features:,}"


def _predicted_rows(
    choice: Choice, model: JudgedModel, features: Sequence[str]
) -> pd.DataFrame:
    """The table PREDICTED_ROWS; of the features, the first ones as delivered."""
    delivered = choice.delivered
    sets = choice.sets
    ids = choice.ids
    sources = source_columns(features, delivered.columns, choice.spec.preparation)
    columns = with_only(delivered, [*ids, *sources[:_MOST_FEATURES]])

    def table(rows: SetPrediction, row_numbers: pd.Index) -> pd.DataFrame:
        losses = _losses(rows, model.classes, model.cut)
        cells = some_rows(columns, delivered.index.get_indexer(row_numbers))
        taken = (SET, INDEX, *losses)
        cells = cells.rename(columns={name: f"delivered_{name}" for name in taken})
        losses.index = cells.index
        first = len(ids)
        return pd.concat([cells.iloc[:, :first], losses, cells.iloc[:, first:]], axis=1)

    once = sets.once
    tested = table(model.test.rows(once), sets.test.index[once])
    tables = {
        "validation": table(model.exported, choice.validation.index),
        evaluated(choice.spec.evaluation_name).name: tested.nlargest(
            _MOST_TEST_ROWS, "loss"
        ),
    }
    return pd.concat(tables, names=[SET]).reset_index(level=SET)


def _losses(rows: SetPrediction, classes: Classes, cut: float) -> pd.DataFrame:
    """Target, prediction and loss of rows, (n, 3 or 4)."""
    metric = "mae" if classes is None else "log_loss"
    mean_loss = linearise(metric, rows.y, rows.prediction)
    losses = mean_loss.influence + mean_loss.estimate
    if classes is None:
        columns = {"target": rows.y, "prediction": rows.prediction}
    else:
        labels = pd.Series(classes)
        columns = {
            "target": labels[rows.y.astype(np.int64)].array,
            "prediction": labels[rows.decided(cut)].array,
            "probability_of_target": np.exp(-losses),
        }
    return pd.DataFrame({**columns, "loss": losses})


def fitted_rows_of(
    raw: pd.DataFrame, sets: TrainingSets, spec: ExperimentSpec
) -> FittedRows:
    """Return the rows that the exported model is fitted on; later challengers leave
    them out.
    """
    columns = source_columns(sets.features, raw.columns, spec.preparation)
    # A user's function does not declare the columns it reads.
    if spec.preparation.function is not None:
        columns = list(raw.columns)
    rows = raw.index.get_indexer(sets.row_numbers)
    return FittedRows.of(raw, spec, columns, rows)


def set_facts(sets: TrainingSets, validation_set: SetTable) -> tuple[SetFact, ...]:
    """Return rows and digest of the three sets."""
    facts = [
        SetFact(name, sets.set_sizes[name], sets.digests[name])
        for name in ("train", "test")
    ]
    rows = len(validation_set.rows)
    return (*facts, SetFact("validation", rows, validation_set.digest))


def scores_table(report: ValidationReport) -> pd.DataFrame:
    """Return the scores of a report, a row per metric."""
    rows = []
    for score in report.scores:
        interval = score.interval
        difference = score.difference_to_baseline
        rows.append(
            {
                "metric": score.metric,
                "estimate": interval.estimate,
                "low": interval.low,
                "high": interval.high,
                "baseline": score.baseline,
                "difference_to_baseline": difference.estimate,
                "difference_low": difference.low,
                "difference_high": difference.high,
            }
        )
    return pd.DataFrame(rows)
