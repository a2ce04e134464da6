"""Watch a version's promise: join its predictions with labels that arrive later, and
compare scores.

In: predictions as `predict` writes them, labels, the validation rows of the version's
run. Out: a `WatchRow`. Labelled rows are kept in the storage by id (`Watches`) and
never changed.
"""

import json
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import yaml
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
from experiment_pipeline.spec import Data
from experiment_pipeline.statistics.interval import ConsecutiveClusters, Interval
from experiment_pipeline.statistics.metrics import better, metric_of
from experiment_pipeline.statistics.promise import ENOUGH, Days, evidence
from experiment_pipeline.statistics.scores import baseline_score
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
# With fewer days, the shown interval resamples rows instead of days.
_FEWEST_DAYS = 10
_DAY = 24 * 3600 * 1_000_000  # in microseconds


def watch(
    experiment: str,
    predictions: pd.DataFrame | str,
    labels: pd.DataFrame | str,
    *,
    ids: str | Collection[str] = (),
    time: str | None = None,
    version: str | None = None,
) -> WatchRow:
    """Compare the score that a version promised with its score on labels that arrived
    later.

    >>> found = watch("flight_delay", "predictions.csv", "labels.csv", ids="flight")
    >>> found.rows, found.below
    (60, False)

    `predictions` (as `predict` writes them) and `labels` (with the target) are tables
    or URLs, joined by `ids` (default: the experiment's). `time`: the column of a row's
    day (default: that of a split by time); without it a call is one day. `version`:
    default the champion. Raises UnusableTable: a column is missing or unusable, or no
    id is in both tables; InvalidModel, UnknownRun: the version cannot be watched.
    """
    # SQLAlchemy is slow to load, and predicting does not need it.
    from experiment_pipeline.tracking.database.archive import Watches
    from experiment_pipeline.tracking.database.recording import record_rows
    from experiment_pipeline.tracking.outcomes import write_pages

    promise, notes, watches = (
        _promise(experiment, version),
        list[str](),
        Watches.of(experiment),
    )
    earlier = watches.of_version(promise.version)
    by = ([ids] if isinstance(ids, str) else list(ids)) or list(
        promise.signature.id_columns
    )
    given = promise.joined(predictions, labels, by, time, notes)
    calls = [from_parquet(watches.rows.read(one.delivery)) for one in earlier]
    known = pd.concat([given[:0], *(one.assign(call=k) for k, one in enumerate(calls))])
    known = known.drop_duplicates("id")
    new, again = (
        given[given["id"].isin(known["id"]) == there] for there in (False, True)
    )
    if len(again):
        same = len(again.merge(known, on=[*again.columns.drop("day")]))
        otherwise = f"{len(again) - same:,} with other values: the first ones count"
        notes.append(f"{len(again):,} rows were given before, {otherwise}")
    if earlier and new.empty:
        return replace(earlier[-1], new_rows=0, notes=tuple(notes))
    rows = pd.concat([known, new.assign(call=len(calls))])
    found = promise.compared(rows, notes, earlier[-1] if earlier else None)
    digest = watches.rows.put(to_parquet(new.reset_index(drop=True)))
    found = replace(found, new_rows=len(new), delivery=digest)
    watches.journal(promise.version).append(found, digest)
    record_rows([found], experiment)
    with suppress(StorageError, UnknownRun):
        write_pages(experiment, storage_root())
    return found


@dataclass(frozen=True, eq=False)
class Promise:
    """The score that a version promised, the rows it was measured on, and how to read
    labels.
    """

    experiment: str
    version: str
    metric: str
    score: Interval  # on the validation set
    judged: JudgedRows  # the validation rows
    signature: delivered.Signature
    reading: delivered.Reading
    schema: DataFrameSchema
    times: str | None  # the column of a split by time

    def joined(
        self,
        predictions: pd.DataFrame | str,
        labels: pd.DataFrame | str,
        ids: Sequence[str],
        time: str | None,
        notes: list[str],
    ) -> pd.DataFrame:
        """Return labelled predictions: `id` (a hash), `y`, `prediction_0` and so on,
        `day` since 1970.
        """
        signature, texts = self.signature, [*ids, *filter(None, [time or self.times])]
        target, classes, outputs = (
            signature.target,
            signature.classes,
            [delivered.PREDICTION],
        )
        if signature.task == "binary" and classes is not None:
            classes = tuple(
                sorted(classes, key=lambda one: one == signature.positive_class)
            )
        if classes is not None:
            modelled = classes[1:] if signature.task == "binary" else classes
            outputs = [f"probability_{one}" for one in modelled]
        as_trained = (
            [target] if self.reading.raw_types.get(target) == delivered.TEXT else []
        )
        predicted = _keyed(
            _read(predictions, texts), ids, outputs, "predictions", notes
        )
        labelled = _keyed(
            _read(labels, [*texts, *as_trained]), ids, [target], "labels", notes
        )
        both = predicted.index.intersection(labelled.index)
        if both.empty:
            first = [listed(one[ids[0]].head(3)) for one in (predicted, labelled)]
            rule = f"no label has the id of a prediction: {first[0]}, but {first[1]}"
            raise UnusableTable(
                f"column {', '.join(ids)}", rule, "Make ids equal in both tables."
            )
        alone = self.reading.preparation.model_copy(
            update={"function": None, "calendar": {}}
        )
        others = {name for _, name in declared_columns(alone)}
        made = prepare(labelled.loc[both, [target]], alone, may_be_absent=others).frame[
            target
        ]
        y = coercion.coerce(made, column_schemas([target], self.schema)[target])[
            0
        ].dropna()
        for rows, what in (
            (len(predicted) - len(both), "predictions have no label yet"),
            (len(labelled) - len(both), "labels have no prediction"),
            (len(both) - len(y), "labels are missing, or not of the target's type"),
        ):
            notes += [f"{rows:,} {what}"] if rows else []
        if y.empty:
            rule = f"is missing in all {len(both):,} rows that have a prediction"
            raise UnusableTable(f"column {target}", rule, "Deliver it as in training.")
        tables = [predicted.loc[y.index], labelled.loc[y.index]]
        known = {"id": y.index, "y": encode_target(y, classes)}
        for number, name in enumerate(outputs):
            values = pd.to_numeric(tables[0][name], errors="coerce").to_numpy(
                np.float64
            )
            if not np.isfinite(values).all():
                fix = "Deliver the predictions as `predict` wrote them."
                raise UnusableTable(
                    f"column {name}", "has values that are not finite numbers", fix
                )
            known[f"prediction_{number}"] = values
        there = time or any(self.times in table for table in tables)
        today = np.datetime64(now()[:10], "D").astype(np.int64)
        days = self._days(time or str(self.times), tables) if there else today
        return pd.DataFrame({**known, "day": days})

    def _days(self, column: str, tables: Sequence[pd.DataFrame]) -> np.ndarray:
        cells = next((table[column] for table in tables if column in table), None)
        if cells is None:
            rule = f"is in neither table; {did_you_mean(column, tables[1].columns)}"
            raise UnusableTable(
                f"column {column}", rule, "Name the column of days by --time."
            )
        formats = self.reading.preparation.datetime_formats.get(column, ())
        if kinds.kind_of(cells) != "datetime":
            cells = coercion.read_datetimes(coercion.as_text(cells), formats)
        if missing := int(cells.isna().sum()):
            rule = f"{missing:,} of {len(cells):,} labelled rows have no readable date"
            raise UnusableTable(
                f"column {column}", rule, "Write ISO 8601, such as 2026-02-03."
            )
        return kinds.microseconds(cells) // _DAY

    def compared(
        self, rows: pd.DataFrame, notes: list[str], last: WatchRow | None
    ) -> WatchRow:
        """Compare all labelled rows so far with the promise; days are counted per
        `call`.
        """
        rows, day, days = _by_day(rows)
        reference, cut = self.judged.as_prediction, self.judged.threshold
        seen = JudgedRows(rows.assign(unit=day), cut).as_prediction
        drawn = (
            day.view(ConsecutiveClusters)
            if days >= _FEWEST_DAYS
            else np.arange(len(rows))
        )
        shown = replace(seen, clusters=drawn).interval(self.metric, cut)
        total, began = 1.0, None if last is None or not last.below else last.since
        if days:
            complete = seen.rows(day < days)
            found = evidence(Days.of(self.metric, self.score, reference, complete, cut))
            total = min(float(found.total), 1e9)
            if found.memory > 2 / np.sqrt(days):
                how = f"are correlated ({float(found.memory):.2f})"
                notes.append(
                    f"neighbouring days {how}: false alarms may be more likely than 5 %"
                )
            first = int(rows["day"][day == int(found.start)].iloc[0])
            began = began or str(np.datetime64(first, "D"))
        later = (
            rows["day"] >= np.datetime64(began or "NaT", "D").astype(np.int64)
        ).to_numpy()
        recent = seen.rows(later).score(self.metric, cut)
        if waiting := int((day == days).sum()):
            notes.append(
                f"{waiting:,} rows are not compared yet: a day needs {FEWEST_ROWS}"
            )
        shows = total >= ENOUGH and not better(self.metric, recent, self.score.estimate)
        below = shows or (last is not None and last.below)
        if below:
            how = f"run the experiment again, or experiment-pipeline refit {self.experiment}"
            notes.append(f"the champion stays until you replace it: {how}")
        known = (self.signature.task, len(self.signature.classes or ()))
        baseline = baseline_score(self.metric, reference.y, seen.y, *known)
        return WatchRow(
            *(self.version, now(), self.metric, len(rows), days),
            *(shown.estimate, shown.low, shown.high),
            *(self.score.estimate, self.score.low, self.score.high),
            *(baseline, total, below),
            since=began if below else None,
            recent=recent if below else None,
            notes=tuple(notes),
        )


def _promise(experiment: str, version: str | None) -> Promise:
    """Find a version (None: the champion), its promised score, and the rows it was
    evaluated on.
    """
    from experiment_pipeline.tracking import questions

    known = questions.versions(experiment)
    if known.empty:
        fix = "Run it, or name the database that holds it in EXPERIMENT_PIPELINE_DATABASE."
        raise UnknownRun(experiment, "no version of this experiment is recorded", fix)
    home = location(known["place"].iloc[-1]).parent.parent
    registry = versions.Registry(home.parent, home.name)
    version = version or registry.champion() or "the champion"
    source = f"{experiment} {version}"
    runs = dict(zip(known["version"], known["run_id"], strict=True))
    if version not in runs:
        rule = f"is no recorded version; {did_you_mean(version, runs)}"
        raise InvalidModel(source, rule, "Name one of these by --version.")
    judged = {"experiment": experiment, "run_id": runs[version]}
    place, exported = questions.report_of(judged, JUDGED_ROWS), registry.model(version)
    declared = yaml.safe_load(exported.read("experiment.yaml"))
    split = declared.get("split", {})
    first = json.loads(exported.read(versions.METRICS))["scores"][0]
    metric, weights = first["metric"], declared.get("sample_weight")
    if weights or metric_of(metric).is_own:
        rule = (
            f"its rows are weighted by {weights}"
            if weights
            else f"{metric} is your own metric"
        )
        raise InvalidModel(
            source, rule, "Only a built-in metric, without weights, can be watched."
        )
    return Promise(
        *(experiment, version, metric),
        Interval(*(first[name] for name in ("estimate", "low", "high"))),
        read_table(place, JudgedRows),
        delivered.Signature.from_bytes(exported.read(delivered.SIGNATURE), source),
        delivered.Reading.from_bytes(exported.read(delivered.PREPARATION), source),
        load_schema(exported.read(versions.SCHEMA).decode()),
        split.get("column") if split.get("by") == "time" else None,
    )


def _read(table: pd.DataFrame | str, texts: Collection[str]) -> pd.DataFrame:
    if isinstance(table, pd.DataFrame):
        return table
    data = Data.model_validate({"url": table})
    return raw_table.read(read_source(data), data, as_written=texts).frame


def _keyed(
    frame: pd.DataFrame,
    ids: Sequence[str],
    wanted: Sequence[str],
    words: str,
    notes: list[str],
) -> pd.DataFrame:
    """The rows indexed by a hash of their ids; of duplicate ids the first row
    is kept.
    """
    fix = "Name a column of both tables with --id; `predict --keep` copies it to the predictions."
    if not ids:
        raise UnusableTable(
            "--id", "no column is named, and the experiment has none", fix
        )
    for name in (*ids, *wanted):
        if name not in frame:
            rule = (
                f"the {words} have no such column; {did_you_mean(name, frame.columns)}"
            )
            given = fix if name in ids else "Deliver it under this name."
            raise UnusableTable(f"column {name}", rule, given)
    texts = pd.DataFrame({name: coercion.as_text(frame[name]) for name in ids})
    known = texts.notna().all(axis=1)
    keyed = frame[known].set_axis(
        pd.Index(row_hashes(texts[known], ids, "watch")), axis=0
    )
    twice = keyed.index.duplicated()
    for rows, what in ((~known, "no id"), (twice, "the id of an earlier row")):
        notes += (
            [f"{rows.sum():,} {words} have {what}, and are left out"]
            if rows.any()
            else []
        )
    return keyed[~twice]


def _by_day(rows: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray, int]:
    """Sort rows by call and day, number the days (n,), with small ones merged; count
    the complete ones.

    Rows that arrive later never change a complete day.
    """
    rows = rows.sort_values(["call", "day"], kind="stable", ignore_index=True)
    group = rows.groupby(["call", "day"]).ngroup().to_numpy()
    ends = np.cumsum(sizes := np.bincount(group))
    begun, codes = np.unique((ends - sizes) // FEWEST_ROWS, return_inverse=True)
    return rows, codes[group], len(begun) - int(ends[-1] // FEWEST_ROWS == begun[-1])
