"""Watch a version's promise: join its predictions with labels that arrive later, and
compare scores.

In: predictions as `predict` writes them, labels, the validation rows of the version's
run. Out: a `WatchRow`. Labelled rows are kept in the storage by id (`Watches`) and
never changed; a row counts once the labels of its day are complete.
"""

import json
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import numpy as np
import pandas as pd
from pandera.pandas import DataFrameSchema

from experiment_pipeline.errors import (
    InvalidModel,
    StorageError,
    UnknownRun,
    UnusableTable,
    did_you_mean,
    listed,
)
from experiment_pipeline.intake import raw_table
from experiment_pipeline.intake.sources import read_source
from experiment_pipeline.prediction import rows as delivered
from experiment_pipeline.reporting.run_record import JUDGED_ROWS, JudgedRows, WatchRow
from experiment_pipeline.spec import Data, Scalar
from experiment_pipeline.spec.models import duration
from experiment_pipeline.statistics.interval import ConsecutiveClusters, Interval
from experiment_pipeline.statistics.metrics import better, metric_of
from experiment_pipeline.statistics.promise import ENOUGH, Days, evidence
from experiment_pipeline.statistics.scores import SetPrediction, baseline_score
from experiment_pipeline.storage import registry as versions
from experiment_pipeline.storage.files import location, storage_root
from experiment_pipeline.storage.records import now
from experiment_pipeline.storage.tables import from_parquet, read_table, to_parquet
from experiment_pipeline.table import coercion, kinds
from experiment_pipeline.table.digests import row_hashes
from experiment_pipeline.table.features import encode_target
from experiment_pipeline.table.preparation import declared_columns, prepare
from experiment_pipeline.table.schema import column_schemas, load_schema

# A day with fewer labels is merged with the next one before it is compared.
FEWEST_ROWS = 30
# Without `label_after`, a day is complete when this share of its predictions has a
# label.
FULL = 0.95
# A column of labelled rows: how many predictions their day has.
OF_DAY = "of_day"
# With fewer days, the shown interval resamples rows instead of days.
_FEWEST_DAYS = 10
_ONE_DAY = pd.Timedelta(days=1)
# Memory is not worth a note while the days count as more than this share of them.
_LITTLE_MEMORY = 0.3
# A cause that explains this share of a fall is named.
_MAIN_CAUSE = 0.5
_UNKNOWN = Interval(np.nan, np.nan, np.nan)


def watch(
    experiment: str,
    predictions: pd.DataFrame | str,
    labels: pd.DataFrame | str,
    *,
    ids: str | Collection[str] = (),
    time: str | None = None,
    version: str | None = None,
    label_after: str | None = None,
) -> WatchRow:
    """Compare the score that a version promised with its score on later labels.

    >>> found = watch("flight_delay", "predictions.csv", "labels.csv", ids="flight")
    >>> found.rows, found.below
    (60, False)

    `predictions` (as `predict` writes them) and `labels` (with the target) are tables
    or URLs, joined by `ids` (default: the experiment's). `time`: the column of a row's
    day (default: that of a split by time); without it a call is one day. `version`:
    default the champion. `label_after`: how long labels take, such as "30 days": then
    a day counts; default: what the experiment declares as `label`, and without one a
    day counts once 95 % of its predictions have a label. Raises UnusableTable: a column
    is missing or unusable, or no id is in both tables; InvalidModel, UnknownRun: the
    version cannot be watched; ValueError: no duration.
    """
    # SQLAlchemy is slow to load, and predicting does not need it.
    from experiment_pipeline.tracking.database.archive import Watches
    from experiment_pipeline.tracking.database.recording import record_rows
    from experiment_pipeline.tracking.outcomes import write_pages

    promise = _promise(experiment, version)
    wait = promise.days_to_wait(label_after)
    watches = Watches.of(experiment)
    earlier = watches.of_version(promise.version)
    names = [ids] if isinstance(ids, str) else list(ids)
    names = names or list(promise.signature.id_columns)
    notes: list[str] = []
    labelled = promise.joined(predictions, labels, names, time, notes)
    if wait is not None:
        _check_days(labelled)
    deliveries = [from_parquet(watches.rows.read(row.delivery)) for row in earlier]
    known = _by_call(deliveries, labelled[:0])
    new = _not_yet_delivered(labelled, known, notes)
    rows = pd.concat([known, new.assign(call=len(deliveries))])
    calls = [*(row.at for row in earlier), now()]
    counted = of_complete_days(rows, calls, wait, notes)
    watched = replace(promise.compared(counted, notes), rows=len(rows))
    if earlier and new.empty and watched.days == earlier[-1].days:
        return replace(earlier[-1], new_rows=0, notes=tuple(notes))
    digest = watches.rows.put(to_parquet(new.reset_index(drop=True)))
    watched = replace(watched, new_rows=len(new), delivery=digest)
    watches.journal(promise.version).append(watched, digest)
    record_rows([watched], experiment)
    with suppress(StorageError, UnknownRun):
        write_pages(storage_root(), experiment)
    return watched


def _check_days(labelled: pd.DataFrame) -> None:
    """Raise UnusableTable if no prediction has a day."""
    if len(labelled) and not labelled[OF_DAY].any():
        raise UnusableTable(
            "label_after",
            rule="the predictions have no column with the day of a row",
            fix="Name one by `time`; `keep` of `predict` copies it to the predictions.",
        )


def _today() -> np.int64:
    """Return the day, counted since 1970."""
    return np.datetime64(now()[:10], "D").astype(np.int64)


def _days_of(time: str) -> int:
    """Return a duration in whole days, rounded up."""
    return ceil(duration(time) / _ONE_DAY)


def _that_are_in(labelled: pd.DataFrame, within: str, notes: list[str]) -> pd.DataFrame:
    """Return the rows that are so old: a label that is not in yet would stay what it
    is today.
    """
    wait = _days_of(within)
    is_in = labelled["day"] <= _today() - wait
    if not is_in.all():
        notes.append(f"{(~is_in).sum():,} labels are not in yet: they take {wait} days")
    return labelled[is_in]


def _by_call(deliveries: Sequence[pd.DataFrame], empty: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of earlier calls, with the number of their `call`."""
    known = pd.concat(
        [empty, *(rows.assign(call=n) for n, rows in enumerate(deliveries))]
    )
    # An earlier release did not count them.
    return known.drop_duplicates("id").fillna({OF_DAY: 0})


def _not_yet_delivered(
    labelled: pd.DataFrame, known: pd.DataFrame, notes: list[str]
) -> pd.DataFrame:
    """Return the rows that no earlier call had; `notes` gets a sentence on others."""
    is_known = labelled["id"].isin(known["id"])
    again = labelled[is_known]
    if len(again):
        columns = [*again.columns.drop(["day", OF_DAY])]
        same = len(again.merge(known, on=columns))
        notes.append(
            f"{len(again):,} rows were given before, {len(again) - same:,} with other "
            "values: the first ones count"
        )
    return labelled[~is_known]


@dataclass(frozen=True)
class _WorstStretch:
    """The stretch of days up to now that speaks most against the promise."""

    evidence: float = 1.0
    since: str = "NaT"  # its first day
    score: float = np.nan


@dataclass(frozen=True, eq=False)
class Promise:
    """The score that a version promised, its rows, and how to read labels."""

    experiment: str
    version: str
    metric: str
    score: Interval  # on the validation set
    judged: JudgedRows  # the validation rows
    signature: delivered.Signature
    reading: delivered.Reading
    schema: DataFrameSchema
    times: str | None  # the column of a row's day
    label_within: str | None = None  # how long labels take, as declared

    def days_to_wait(self, label_after: str | None) -> int | None:
        """Return how many days labels take; None: nobody has said it."""
        time = label_after or self.label_within
        return None if time is None else _days_of(time)

    def joined(
        self,
        predictions: pd.DataFrame | str,
        labels: pd.DataFrame | str,
        ids: Sequence[str],
        time: str | None,
        notes: list[str],
    ) -> pd.DataFrame:
        """Return labelled predictions: `id` (a hash), `y`, `prediction_0` …, `day`.

        Days are counted since 1970. `of_day`: how many predictions its day has, 0 if
        the predictions have no days. `notes` gets a sentence for rows that are left
        out.
        """
        target = self.signature.target
        texts = [*ids, *filter(None, [time or self.times])]
        predicted = _keyed(
            _read(predictions, texts), ids, self._outputs, "predictions", notes
        )
        is_text = self.reading.raw_types.get(target) == delivered.TEXT
        label_texts = [*texts, target] if is_text else texts
        labelled = _keyed(_read(labels, label_texts), ids, [target], "labels", notes)
        y = self._labels_of(predicted, labelled, ids, notes)
        columns: dict[str, Any] = {
            "id": y.index,
            "y": encode_target(y, self._classes),
        }
        for number, name in enumerate(self._outputs):
            columns[f"prediction_{number}"] = _finite(predicted.loc[y.index, name])
        days = self._days(time, [predicted.loc[y.index], labelled.loc[y.index]])
        rows = pd.DataFrame(columns | {"day": days, OF_DAY: 0})
        column = time or self.times
        if column in predicted:
            of_all = kinds.microseconds(self._moments(predicted[column]).dropna())
            rows[OF_DAY] = rows["day"].map(
                pd.Series(of_all // kinds.DAY).value_counts()
            )
        if self.label_within is not None:
            return _that_are_in(rows, self.label_within, notes)
        return rows

    def _labels_of(
        self,
        predicted: pd.DataFrame,
        labelled: pd.DataFrame,
        ids: Sequence[str],
        notes: list[str],
    ) -> pd.Series:
        """Return the targets of the rows that both tables have, by their key."""
        both = predicted.index.intersection(labelled.index)
        if both.empty:
            first = listed(predicted[ids[0]].head(3))
            second = listed(labelled[ids[0]].head(3))
            raise UnusableTable(
                f"column {', '.join(ids)}",
                rule=f"no label has the id of a prediction: {first}, but {second}",
                fix="Make ids equal in both tables.",
            )
        y = self._targets(labelled.loc[both])
        counts = {
            "predictions have no label yet": len(predicted) - len(both),
            "labels have no prediction": len(labelled) - len(both),
            "labels are missing, or not of the target's type": len(both) - len(y),
        }
        notes += [f"{rows:,} {what}" for what, rows in counts.items() if rows]
        if y.empty:
            raise UnusableTable(
                f"column {self.signature.target}",
                rule=f"is missing in all {len(both):,} rows that have a prediction",
                fix="Deliver it as in training.",
            )
        return y

    @property
    def _classes(self) -> tuple[Scalar, ...] | None:
        """The classes, of two the positive one last; None for regression."""
        classes = self.signature.classes
        if classes is None or self.signature.task != "binary":
            return classes
        positive = self.signature.positive_class
        return tuple(sorted(classes, key=lambda label: label == positive))

    @property
    def _outputs(self) -> list[str]:
        """The columns of predictions that are scored."""
        classes = self._classes
        if classes is None:
            return [delivered.PREDICTION]
        modelled = classes[1:] if self.signature.task == "binary" else classes
        return [f"probability_{label}" for label in modelled]

    def _targets(self, labelled: pd.DataFrame) -> pd.Series:
        """Return the targets as training read them, without missing ones."""
        target = self.signature.target
        settings = {"function": None, "calendar": {}}
        preparation = self.reading.preparation.model_copy(update=settings)
        others = {name for _, name in declared_columns(preparation)}
        prepared = prepare(labelled[[target]], preparation, may_be_absent=others)
        if kinds.kind_of(prepared.frame[target]) == "datetime":
            raise UnusableTable(
                f"column {target}",
                rule="holds dates, and the model predicts whether they come within "
                f"{self.label_within}",
                fix="Deliver true or false.",
            )
        schema = column_schemas([target], self.schema)[target]
        values, *_ = coercion.coerce(prepared.frame[target], schema)
        return values.dropna()

    def _days(
        self, time: str | None, tables: Sequence[pd.DataFrame]
    ) -> np.ndarray | np.int64:
        """Return the days of the rows; without a column of times, today."""
        column = time or self.times
        cells = next((table[column] for table in tables if column in table), None)
        if cells is None and time is None:
            return _today()
        if cells is None:
            raise UnusableTable(
                f"column {column}",
                rule=f"is in neither table; {did_you_mean(time, tables[1].columns)}",
                fix="Name the column of days by `time`.",
            )
        moments = self._moments(cells)
        if missing := int(moments.isna().sum()):
            raise UnusableTable(
                f"column {column}",
                rule=f"{missing:,} of {len(cells):,} labelled rows have no readable "
                "date",
                fix="Write ISO 8601, such as 2026-02-03.",
            )
        return kinds.microseconds(moments) // kinds.DAY

    def _moments(self, cells: pd.Series) -> pd.Series:
        """Return the times of a column, as training read them."""
        if kinds.kind_of(cells) == "datetime":
            return cells
        formats = self.reading.preparation.datetime_formats.get(str(cells.name), ())
        return coercion.read_datetimes(coercion.as_text(cells), formats)

    def compared(self, rows: pd.DataFrame, notes: list[str]) -> WatchRow:
        """Compare the rows of complete days with the promise.

        Days are counted per `call`, which completed them.
        """
        rows, day, days = _by_day(rows)
        reference, cut = self.judged.as_prediction, self.judged.threshold
        scored = JudgedRows(rows.assign(unit=day), cut).as_prediction
        clusters = np.arange(len(rows))
        if days >= _FEWEST_DAYS:
            clusters = day.view(ConsecutiveClusters)
        score, baseline = _UNKNOWN, np.nan
        if len(rows):
            score = replace(scored, clusters=clusters).interval(self.metric, cut)
            classes = len(self.signature.classes or ())
            baseline = baseline_score(
                self.metric, reference.y, scored.y, self.signature.task, classes
            )
        fall = _WorstStretch()
        if days:
            complete = scored.rows(day < days)
            shown = evidence(Days.of(self.metric, self.score, reference, complete, cut))
            notes += _memory_note(float(shown.independent), days)
            first = int(rows["day"][day == int(shown.start)].iloc[0])
            later = scored.rows((rows["day"] >= first).to_numpy())
            fall = _WorstStretch(
                evidence=min(float(shown.total), 1e9),
                since=str(np.datetime64(first, "D")),
                score=later.score(self.metric, cut),
            )
            if self._is_below(fall):
                notes += self._cause(later, fall.score)
                notes.append(
                    "the champion stays until you replace it: run the experiment "
                    f"again, or experiment-pipeline refit {self.experiment}"
                )
        if waiting := int((day == days).sum()):
            notes.append(
                f"{waiting:,} rows are not compared yet: a day needs {FEWEST_ROWS}"
            )
        below = self._is_below(fall)
        return WatchRow(
            version=self.version,
            at=now(),
            metric=self.metric,
            rows=len(rows),
            days=days,
            score=score.estimate,
            low=score.low,
            high=score.high,
            promise=self.score.estimate,
            promise_low=self.score.low,
            promise_high=self.score.high,
            baseline=baseline,
            evidence=fall.evidence,
            below=below,
            since=fall.since if below else None,
            recent=fall.score if below else None,
            notes=tuple(notes),
        )

    def _is_below(self, fall: "_WorstStretch") -> bool:
        """Whether the evidence suffices, and the score is worse than promised."""
        is_worse = not better(self.metric, fall.score, self.score.estimate)
        return fall.evidence >= ENOUGH and is_worse

    def _cause(self, later: SetPrediction, score: float) -> list[str]:
        """Name other shares of the classes if they explain at least half of a fall."""
        classes = self._classes
        if classes is None:
            return []
        before, after = (
            np.bincount(y.astype(np.int64), minlength=len(classes)) / len(y)
            for y in (self.judged.as_prediction.y, later.y)
        )
        with np.errstate(divide="ignore"):
            weights = (before / after)[later.y.astype(np.int64)]
        as_before = replace(later, weights=weights)
        with_shares = as_before.score(self.metric, self.judged.threshold)
        explained = (with_shares - score) / (self.score.estimate - score)
        if not explained >= _MAIN_CAUSE:  # also if it is undefined
            return []
        # Of two classes the positive one is last.
        most = len(classes) - 1
        if len(classes) > 2:
            most = int(np.abs(after - before).argmax())
        cause = (
            f"the cause is a changing share of classes: {classes[most]} is "
            f"{after[most]:.0%} of the rows since then, and was {before[most]:.0%} on "
            f"validation; with the shares of then the score would be {with_shares:.4f}"
        )
        return [cause]


def of_complete_days(
    rows: pd.DataFrame, calls: Sequence[str], wait: int | None, notes: list[str]
) -> pd.DataFrame:
    """Return the rows of days whose labels are complete; `call` completed their day.

    `calls`: their times; the last one is this one. A day is complete `wait` days later,
    or (None) once it is over and FULL of its predictions have a label: labels may come
    by class, and part of a day is then another sample. Rows that come afterwards do not
    count for the same reason, so a complete day never changes. Rows of an unknown
    number of predictions count at once. `notes` gets a sentence for the others.
    """
    of_calls = rows.groupby(["day", "call"], as_index=False)
    days = of_calls.agg(labels=("id", "size"), predicted=(OF_DAY, "max"))
    of_days = days.groupby("day")
    full = FULL * of_days["predicted"].cummax()
    days["is_full"] = of_days["labels"].cumsum() >= full
    dates = np.array([call[:10] for call in calls], dtype="datetime64[D]")
    dates = np.maximum.accumulate(dates.astype(np.int64))
    # The first call that is so many days later.
    first = days["day"] + (1 if wait is None else wait)
    days["completed"] = np.searchsorted(dates, first)
    if wait is None:
        days["completed"] = days[["call", "completed"]].max(axis=1)
        days.loc[~days["is_full"], "completed"] = len(calls)
    completed = rows["day"].map(days.groupby("day")["completed"].min())
    completed = completed.where(rows[OF_DAY] > 0, rows["call"])
    is_late = rows["call"] > completed
    is_waiting = ~is_late & (completed >= len(calls))
    if late := int(is_late.sum()):
        notes.append(
            f"{late:,} labels came after their day was complete, and do not count"
        )
    if waiting := int(is_waiting.sum()):
        until = f"until their day is {wait} days old"
        if wait is None:
            until = (
                f"until {FULL:.0%} of the predictions of their day have a label; if "
                "some never get one, give the time that labels take as label_after"
            )
        notes.append(f"{waiting:,} labels wait {until}")
    counts = ~is_late & ~is_waiting
    return rows[counts].assign(call=completed[counts])


def _memory_note(independent: float, days: int) -> list[str]:
    """Say for how many days the days count if they resemble their neighbours."""
    if independent > _LITTLE_MEMORY * days:
        return []
    note = (
        f"days may resemble their neighbours: {days:,} days count as "
        f"{independent:,.0f}, a drop takes longer to be seen, and false alarms may be "
        "more likely than 5 %"
    )
    return [note]


def _promise(experiment: str, version: str | None) -> Promise:
    """Find a version (None: the champion), its promised score, and its judged rows."""
    from experiment_pipeline.tracking import questions

    recorded = questions.versions(experiment)
    if recorded.empty:
        raise UnknownRun(
            experiment,
            rule="no version of this experiment is recorded",
            fix="Run it, or name the database that holds it in "
            "EXPERIMENT_PIPELINE_DATABASE.",
        )
    home = location(recorded["place"].iloc[-1]).parent.parent
    registry = versions.Registry(home.parent, home.name)
    version = version or registry.champion() or "the champion"
    source = f"{experiment} {version}"
    runs = dict(zip(recorded["version"], recorded["run_id"], strict=True))
    if version not in runs:
        raise InvalidModel(
            source,
            rule=f"is no recorded version; {did_you_mean(version, runs)}",
            fix="Name one of these by `version`.",
        )
    run = {"experiment": experiment, "run_id": runs[version]}
    place, exported = questions.report_of(run, JUDGED_ROWS), registry.model(version)
    settings = exported.settings()
    split, weights = settings.get("split", {}), settings.get("sample_weight")
    label = settings.get("label", {})
    score = json.loads(exported.read(versions.METRICS))["scores"][0]
    metric = score["metric"]
    if weights or metric_of(metric).is_own:
        raise InvalidModel(
            source,
            rule=f"its rows are weighted by {weights}"
            if weights
            else f"{metric} is your own metric",
            fix="Only a built-in metric, without weights, can be watched.",
        )
    return Promise(
        experiment=experiment,
        version=version,
        metric=metric,
        score=Interval(score["estimate"], score["low"], score["high"]),
        judged=read_table(place, JudgedRows),
        signature=delivered.Signature.from_bytes(
            exported.read(delivered.SIGNATURE), source
        ),
        reading=delivered.Reading.from_bytes(
            exported.read(delivered.PREPARATION), source
        ),
        schema=load_schema(exported.read(versions.SCHEMA).decode()),
        times=split["column"] if split.get("by") == "time" else label.get("since"),
        label_within=label.get("within"),
    )


def _read(table: pd.DataFrame | str, texts: Collection[str]) -> pd.DataFrame:
    if isinstance(table, pd.DataFrame):
        return table
    data = Data.model_validate({"url": table})
    return raw_table.read(read_source(data), data, as_written=texts).frame


def _finite(predictions: pd.Series) -> np.ndarray:
    """Return predictions as float64; UnusableTable: one is not a finite number."""
    values = pd.to_numeric(predictions, errors="coerce").to_numpy(np.float64)
    if not np.isfinite(values).all():
        raise UnusableTable(
            f"column {predictions.name}",
            rule="has values that are not finite numbers",
            fix="Deliver the predictions as `predict` wrote them.",
        )
    return values


def _keyed(
    frame: pd.DataFrame,
    ids: Sequence[str],
    columns: Sequence[str],
    words: str,
    notes: list[str],
) -> pd.DataFrame:
    """Return the rows by a hash of their ids; of duplicate ids the first row stays.

    `words`: what the table holds. Raises UnusableTable: it lacks an id or a column.
    """
    advice = (
        "Name a column of both tables that identifies a row; `keep` of `predict` "
        "copies it to the predictions."
    )
    if not ids:
        rule = "no column is named, and the experiment has none"
        raise UnusableTable("the ids", rule, advice)
    for name in (*ids, *columns):
        if name not in frame:
            meant = did_you_mean(name, frame.columns)
            raise UnusableTable(
                f"column {name}",
                rule=f"the {words} have no such column; {meant}",
                fix=advice if name in ids else "Deliver it under this name.",
            )
    texts = pd.DataFrame({name: coercion.as_text(frame[name]) for name in ids})
    has_id = texts.notna().all(axis=1)
    hashes = pd.Index(row_hashes(texts[has_id], ids, "watch"))
    keyed = frame[has_id].set_axis(hashes, axis=0)
    is_repeated = keyed.index.duplicated()
    if not has_id.all():
        notes.append(f"{(~has_id).sum():,} {words} have no id, and are left out")
    if is_repeated.any():
        notes.append(
            f"{is_repeated.sum():,} {words} have the id of an earlier row, and are "
            "left "
            "out"
        )
    return keyed[~is_repeated]


def _by_day(rows: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray, int]:
    """Sort rows by call and day; number the days (n,); count the complete ones.

    A small day is merged with the next one. Rows that arrive later never change a
    complete day.
    """
    if rows.empty:
        return rows, np.array([], dtype=np.int64), 0
    rows = rows.sort_values(["call", "day"], kind="stable", ignore_index=True)
    group = rows.groupby(["call", "day"]).ngroup().to_numpy()
    sizes = np.bincount(group)
    ends = np.cumsum(sizes)
    begun, codes = np.unique((ends - sizes) // FEWEST_ROWS, return_inverse=True)
    is_incomplete = ends[-1] // FEWEST_ROWS == begun[-1]
    return rows, codes[group], len(begun) - int(is_incomplete)
