"""Watch what a version promised: join its predictions with labels that come later, and compare.

In: predictions as `predict` writes them, labels, the validation rows of the version's run. Out: a
`WatchRow`. What has come is kept in the storage by id (`Watches`) and never changed: the same rows given
again count once, and days that were compared stay as they were.
"""

import json
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property

import numpy as np
import pandas as pd
import yaml
from pandera.pandas import DataFrameSchema

from experiment_pipeline.errors import (
    EntryCorrupt,
    InvalidModel,
    StorageError,
    UnknownRun,
    UnusableTable,
    did_you_mean,
    listed,
)
from experiment_pipeline.prediction.rows import (
    PREDICTION,
    PREPARATION,
    SIGNATURE,
    TEXT,
    Reading,
    Signature,
)
from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.run_record import JUDGED_ROWS, JudgedRows, WatchRow
from experiment_pipeline.spec import Data, Scalar
from experiment_pipeline.stages.raw_data import table as raw_data
from experiment_pipeline.stages.raw_data.sources import read_source
from experiment_pipeline.statistics.interval import ConsecutiveClusters, Interval
from experiment_pipeline.statistics.metrics import better, metric_of, names_of
from experiment_pipeline.statistics.promise import ENOUGH, Evidence, by_day, evidence
from experiment_pipeline.statistics.scores import SetPrediction, best_constant, repeated, score
from experiment_pipeline.storage import registry as versions
from experiment_pipeline.storage.files import location, storage_root
from experiment_pipeline.storage.records import now
from experiment_pipeline.storage.registry import Registry
from experiment_pipeline.storage.tables import from_parquet, read_table, to_parquet
from experiment_pipeline.table.coercion import as_text, coerce, read_datetimes
from experiment_pipeline.table.digests import row_hashes
from experiment_pipeline.table.features import encode_target
from experiment_pipeline.table.kinds import NUMERIC, TEXTS, kind_of, microseconds, numbers_of
from experiment_pipeline.table.preparation import declared_columns, prepare
from experiment_pipeline.table.schema import column_schemas, load_schema

# Fewer labels of a day are joined with those of the next one before they are compared.
FEWEST_ROWS = 30
# With fewer days the interval that is shown resamples rows.
_FEWEST_DAYS = 10
_DAY = 24 * 3600 * 1_000_000  # in microseconds
_RUN_AGAIN = "Run the experiment again: it publishes a version that can be watched."


def watch(
    experiment: str,
    predictions: pd.DataFrame | str,
    labels: pd.DataFrame | str,
    *,
    ids: str | Collection[str] = (),
    time: str | None = None,
    version: str | None = None,
) -> WatchRow:
    """Compare what a version promised with labels that came later than its predictions.

    >>> found = watch("flight_delay", "predictions.csv", "labels.csv", ids="flight")
    >>> found.rows, found.below
    (60, False)

    `predictions` are as `predict` writes them, `labels` hold the target; both a table or its URL. They are
    joined by `ids` (the experiment's), and their `time` (that of a split by time) says of which day a row
    is; without it, the rows of a call are one day. `version`: the one that predicted (the champion). Labels
    that were given before change nothing. Raises UnusableTable: a column is missing or unusable, no label
    has the id of a prediction; InvalidModel, UnknownRun: the version is not known here.
    """
    # SQLAlchemy is slow to load, and predicting does not need it.
    from experiment_pipeline.tracking.database.archive import Watches, WatchNote
    from experiment_pipeline.tracking.database.recording import record_rows
    from experiment_pipeline.tracking.outcomes import write_pages

    promise, notes = _promise(experiment, version), list[str]()
    watches = Watches.of(experiment)
    journal, earlier = watches.of_version(promise.version), list[WatchNote]()
    for note in journal.notes().values():
        if isinstance(note, EntryCorrupt):
            raise note
        earlier.append(note)
    given = promise.joined(predictions, labels, [ids] if isinstance(ids, str) else ids, time, notes)
    calls = [from_parquet(watches.rows.read(note.rows)) for note in earlier]
    known = pd.concat([one.assign(call=number) for number, one in enumerate(calls)] or [given[:0]])
    known = known.drop_duplicates("id")
    new, again = given[~given["id"].isin(known["id"])], given[given["id"].isin(known["id"])]
    if len(again):
        before = known.set_index("id").loc[again["id"], again.columns[1:]].to_numpy()
        differing = (before != again.iloc[:, 1:].to_numpy()) & ~np.isnan(before)
        changed = int(differing.any(axis=1).sum())
        notes.append(
            f"{len(again):,} rows were given before, {changed:,} of them otherwise: the first counts"
        )
    last = earlier[-1].found if earlier else None
    if last is not None and new.empty:
        return replace(last, new_rows=0, notes=tuple(notes))
    rows = pd.concat([known, new.assign(call=len(calls))], ignore_index=True)
    at, moments = now(), [*(note.at for note in earlier)]
    found = promise.compared(rows, [*moments, at], len(new), notes, last)
    digest = watches.rows.put(to_parquet(new.reset_index(drop=True)))
    journal.append(WatchNote(at, digest, found), digest)
    record_rows([found], experiment)
    with suppress(StorageError, UnknownRun):
        write_pages(experiment, storage_root())
    return found


@dataclass(frozen=True, eq=False)
class Promise:
    """What a version promised, on which rows, and how its labels are read."""

    experiment: str
    version: str
    metric: str
    score: Interval  # on the validation set
    judged: JudgedRows  # the validation rows
    signature: Signature
    reading: Reading
    schema: DataFrameSchema
    times: str | None  # the column of a split by time
    weights: str | None  # the column of weights

    @cached_property
    def classes(self) -> tuple[Scalar, ...] | None:
        """The classes in the order of their codes; None for regression."""
        found, positive = self.signature.classes, self.signature.positive_class
        if found is None or self.signature.task != "binary":
            return found
        return tuple(sorted(found, key=lambda one: one == positive))

    def joined(
        self,
        predictions: pd.DataFrame | str,
        labels: pd.DataFrame | str,
        ids: Collection[str],
        time: str | None,
        notes: list[str],
    ) -> pd.DataFrame:
        """Return `id` (a hash), `y`, `prediction_0` and so on, `weight`, `day` of labelled predictions."""
        target, ids = self.signature.target, list(ids) or list(self.signature.id_columns)
        if not ids:
            rule = "names no column, and the experiment has no id_columns"
            raise UnusableTable("--id", rule, "Write --id COLUMN, and predict with --keep COLUMN.")
        texts = [*ids, *filter(None, [time or self.times])]
        as_trained = [target] if self.reading.raw_types.get(target) == TEXT else []
        outputs = (
            [PREDICTION] if self.classes is None else [f"probability_{c}" for c in self.classes]
        )
        outputs = outputs[1:] if self.signature.task == "binary" else outputs
        predicted = _keyed(_read(predictions, texts), ids, outputs, "predictions", notes)
        labelled = _keyed(_read(labels, [*texts, *as_trained]), ids, [target], "labels", notes)
        both = predicted.index.intersection(labelled.index)
        if both.empty:
            first = [listed(one[ids[0]].head(3)) for one in (predicted, labelled)]
            rule = f"no label has the id of a prediction: {first[0]}, but {first[1]}"
            raise UnusableTable(f"column {', '.join(ids)}", rule, "Write ids alike in both tables.")
        for one, what in (
            (predicted, "predictions have no label yet"),
            (labelled, "labels have no prediction"),
        ):
            if more := len(one) - len(both):
                notes.append(f"{more:,} {what}")
        y = self._labels(labelled.loc[both, [target]])
        if len(y) < len(both):
            notes.append(f"{len(both) - len(y):,} labels are missing, or not of the target's type")
        if y.empty:
            rule = f"is missing in all {len(both):,} rows that have a prediction"
            raise UnusableTable(
                f"column {target}", rule, "Deliver it as the model was trained on it."
            )
        known = {"id": y.index, "y": encode_target(y, self.classes), "day": np.nan}
        rows = pd.DataFrame(known, index=y.index)
        tables = (predicted.loc[y.index], labelled.loc[y.index])
        named = {f"prediction_{k}": name for k, name in enumerate(outputs)}
        named |= {} if self.weights is None else {"weight": self.weights}
        for new, name in named.items():
            cells = _from_either(name, tables)
            rows[new] = numbers_of(cells) if kind_of(cells) in NUMERIC else np.nan
            if not np.isfinite(rows[new]).all() or (new == "weight" and (rows[new] <= 0).any()):
                fix = "Deliver it as `predict` wrote it; a weight is positive."
                raise UnusableTable(f"column {name}", "holds what is not a finite number", fix)
        if time or any(self.times in one for one in tables):
            column = time or str(self.times)
            rows["day"] = self._days(_from_either(column, tables), column)
        return rows.reset_index(drop=True)

    def _labels(self, labels: pd.DataFrame) -> pd.Series:
        """The labels as they were prepared in training, without the missing ones."""
        alone = self.reading.preparation.model_copy(update={"function": None, "calendar": {}})
        others = {name for _, name in declared_columns(alone)}
        target = self.signature.target
        made = prepare(labels, alone, may_be_absent=others).frame[target]
        cells, _ = coerce(made, column_schemas([target], self.schema)[target])
        return cells.dropna()

    def _days(self, cells: pd.Series, column: str) -> np.ndarray:
        if kind_of(cells) in TEXTS:
            formats = self.reading.preparation.datetime_formats.get(column, ())
            cells = read_datetimes(as_text(cells), formats)
        if kind_of(cells) != "datetime" or cells.isna().any():
            bad = (
                f"{cells.isna().sum():,} of {len(cells):,} labelled rows have none that can be read"
            )
            rule = bad if kind_of(cells) == "datetime" else f"holds {cells.dtype}, no dates"
            raise UnusableTable(f"column {column}", rule, "Write ISO 8601, such as 2026-02-03.")
        return np.floor(microseconds(cells) / _DAY)

    def compared(
        self,
        rows: pd.DataFrame,
        moments: Sequence[str],
        new: int,
        notes: list[str],
        last: WatchRow | None,
    ) -> WatchRow:
        """Compare all rows, `new` of them of this call, with the promise; `moments` are those of the calls."""
        rows, day, days = _by_day(rows)
        drawn = day.view(ConsecutiveClusters) if days >= _FEWEST_DAYS else np.arange(len(rows))
        judged = JudgedRows(rows.assign(unit=0), self.judged.threshold).as_prediction
        seen, cut = replace(judged, clusters=drawn), self.judged.threshold
        total, since, recent = 0.0, "", np.nan
        if days:
            found = self._evidence(seen.rows(day < days), day[day < days], notes)
            total = min(float(found.total), 1e9)
            first = rows[day == int(found.start)].iloc[0]
            since = moments[int(first["call"])][:10]
            if not np.isnan(first["day"]):
                since = str(np.datetime64(int(first["day"]), "D"))
            recent = seen.rows(day >= int(found.start)).score(self.metric, cut)
        if waiting := int((day == days).sum()):
            notes.append(
                f"{waiting:,} rows are not compared before {FEWEST_ROWS} of their day are there"
            )
        below = total >= ENOUGH and not better(self.metric, float(recent), self.score.estimate)
        if last is not None and last.below:
            below, since = True, last.since or since
        if below:
            notes.append(
                "nothing is replaced: run the experiment again, or fit its champion on today's data by "
                f"experiment-pipeline refit {self.experiment}"
            )
        reference, task = self.judged.as_prediction, self.signature.task
        known = (self.metric, reference.y, task, len(self.classes or ()), reference.weights)
        constant, shown = best_constant(*known), seen.interval(self.metric, cut)
        return WatchRow(
            version=self.version,
            at=datetime.fromisoformat(moments[-1]),
            metric=self.metric,
            rows=len(rows),
            new_rows=new,
            days=days,
            score=shown.estimate,
            low=shown.low,
            high=shown.high,
            promise=self.score.estimate,
            promise_low=self.score.low,
            promise_high=self.score.high,
            baseline=score(self.metric, seen.y, repeated(constant, len(seen.y)), 0.5, seen.weights),
            evidence=total,
            below=below,
            since=since if below else None,
            recent=recent if below else None,
            notes=tuple(notes),
        )

    def _evidence(self, seen: SetPrediction, day: np.ndarray, notes: list[str]) -> Evidence:
        metric, promised, reference = self.metric, self.score, self.judged.as_prediction
        if metric_of(metric).is_own:
            metric = names_of(self.signature.task)[0]
            promised = reference.interval(metric, self.judged.threshold)
            notes.append(
                f"the evidence is that of {metric}: rows have no influence on a metric of your own"
            )
        days = by_day(
            metric, promised, reference, replace(seen, clusters=day), self.judged.threshold
        )
        found = evidence(days.levels, days.sizes, days.reference)
        if found.memory > 0:
            notes.append(
                f"neighbouring days resemble each other (correlation {float(found.memory):.2f}): the "
                "evidence is reduced, but a false alarm is likelier than 5 %"
            )
        return found


def _promise(experiment: str, version: str | None) -> Promise:
    """Find a version (None: the champion), what it promised, and the rows that it was judged on."""
    from experiment_pipeline.tracking import questions

    known = questions.versions(experiment)
    if known.empty:
        fix = "Run it, or name the database that holds it in EXPERIMENT_PIPELINE_DATABASE."
        raise UnknownRun(experiment, "no version of this experiment is recorded", fix)
    home = location(known["place"].iloc[-1]).parent.parent
    registry = Registry(home.parent, home.name)
    runs = dict(zip(known["version"], known["run_id"], strict=True))
    version = version or registry.champion() or ""
    if version not in runs:
        rule = f"is no recorded version; {did_you_mean(version, runs)}"
        raise InvalidModel(f"{experiment} {version}", rule, "Name one of these by --version.")
    reports = questions.rows_of("reports", {"experiment": experiment, "run_id": runs[version]})
    places = reports.loc[reports["name"] == JUDGED_ROWS, "place"]
    if places.empty:
        rule = "its run has kept no validation rows"
        raise InvalidModel(f"{experiment} {version}", rule, _RUN_AGAIN)
    exported, source = registry.model(version), f"{experiment} {version}"
    declared = yaml.safe_load(exported.read("experiment.yaml"))
    first, split = (
        json.loads(exported.read(versions.METRICS))["scores"][0],
        declared.get("split", {}),
    )
    promised = numbers.known_interval(*(first[name] for name in ("estimate", "low", "high")))
    return Promise(
        *(experiment, version, first["metric"], promised),
        read_table(location(places.iloc[0]), JudgedRows),
        Signature.from_bytes(exported.read(SIGNATURE), source),
        Reading.from_bytes(exported.read(PREPARATION), source),
        load_schema(exported.read(versions.SCHEMA).decode()),
        split.get("column") if split.get("by") == "time" else None,
        declared.get("sample_weight"),
    )


def _read(table: pd.DataFrame | str, texts: Collection[str]) -> pd.DataFrame:
    if isinstance(table, pd.DataFrame):
        return table
    data = Data.model_validate({"url": table})
    return raw_data.read(read_source(data), data, as_written=texts).frame


def _keyed(
    frame: pd.DataFrame, ids: Sequence[str], wanted: Sequence[str], words: str, notes: list[str]
) -> pd.DataFrame:
    """The rows by a hash of their ids, each once."""
    for name in (*ids, *wanted):
        if name not in frame:
            rule = f"the {words} have no such column; {did_you_mean(name, frame.columns)}"
            fix = "Name the column of both tables by --id, and carry it there by predict --keep."
            raise UnusableTable(f"column {name}", rule, fix)
    texts = pd.DataFrame({name: as_text(frame[name]) for name in ids})
    known = texts.notna().all(axis=1)
    keyed = frame[known].set_axis(pd.Index(row_hashes(texts[known], ids, "watch")), axis=0)
    twice = keyed.index.duplicated()
    for rows, what in (
        (len(frame) - len(keyed), "no id"),
        (twice.sum(), "an id that was there before"),
    ):
        if rows:
            notes.append(f"{rows:,} {words} have {what}, and are left out")
    return keyed[~twice]


def _from_either(name: str, tables: tuple[pd.DataFrame, pd.DataFrame]) -> pd.Series:
    for table in tables:
        if name in table:
            return table[name]
    rule = f"neither predictions nor labels have it; {did_you_mean(name, tables[1].columns)}"
    raise UnusableTable(f"column {name}", rule, "Deliver it beside the labels.")


def _by_day(rows: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray, int]:
    """Order rows by call and day, number the days (n,), and count those that are complete.

    What was complete stays as it is, whatever comes later.
    """
    rows = rows.sort_values(["call", "day"], kind="stable", ignore_index=True)
    group = rows.groupby(["call", "day"], dropna=False, sort=True).ngroup().to_numpy()
    codes, complete, waiting = list[int](), 0, 0
    for size in np.bincount(group):
        codes.append(complete)
        waiting += size
        if waiting >= FEWEST_ROWS:
            complete, waiting = complete + 1, 0
    return rows, np.array(codes)[group], complete
