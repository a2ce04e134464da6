"""What changes over time: features, or the target, early and late."""

import numpy as np
import pandas as pd

from experiment_pipeline.reporting import numbers
from experiment_pipeline.stages.data_analysis.finding import Finding, Rule, Threshold
from experiment_pipeline.stages.data_analysis.subject import Subject
from experiment_pipeline.statistics.distances import number_distance, share_distance
from experiment_pipeline.table.kinds import NUMERIC, TEXTS, kind_of
from experiment_pipeline.table.samples import distance

MOST_ROWS = 20_000
MOST_COLUMNS = 500


class DriftOverTime(Rule):
    """Columns, or the target, that change over time.

    Compares the first third of the moments with the last: Kolmogorov-Smirnov distance for numbers,
    total variation for texts. Under a random split the sets share each moment, so the test score
    is higher than a score on future rows would be.
    """

    code = "drift_over_time"
    title = "Columns that change over time"
    advice = (
        "If the model will predict the future, split by time, and judge the gap between test and "
        "validation with this in mind."
    )
    threshold = Threshold(0.3, 0, 1, "distance of early and late, found from it")

    def check(self, subject: Subject) -> Finding:
        time = self._time_column(subject)
        if time is None:
            return self.not_applicable("There is no datetime column.")
        early, late = self._thirds(subject, time, np.arange(len(subject.frame)))
        if not early.size or not late.size:
            return self.not_applicable(f"{numbers.shown(time)} has too few different moments.")
        limit = self.limit(subject)
        frame, compared = subject.frame, subject.features[:MOST_COLUMNS]
        measured = {
            column: distance(frame[column].iloc[early], frame[column].iloc[late])
            for column in compared
            if kind_of(frame[column]) in NUMERIC | TEXTS
        }
        drifts = dict(sorted(measured.items(), key=lambda item: -item[1]))
        columns = [column for column, value in drifts.items() if value >= limit]
        target = self._target_drift(subject, time)
        number = max([target, *drifts.values()])
        each = numbers.some_of([f"{numbers.shown(c)} {value:.2f}" for c, value in drifts.items()])
        left_out = len(subject.features) - len(compared)
        unread = f" The last {left_out:,} features were not compared." if left_out > 0 else ""
        evidence = (
            f"Distance of the first and last third by {numbers.shown(time)} (0 alike, 1 disjoint): "
            f"target {target:.2f}; features {each or 'none'}.{unread}"
        )
        random = subject.spec.split.by == "random"
        if target >= limit:
            columns.insert(0, subject.spec.target)
        return self.judged(
            None if not columns else "condition" if random else "note",
            evidence,
            columns=columns,
            number=number,
            threshold=limit,
            fix={"split": {"by": "time", "column": time}} if random else None,
        )

    @staticmethod
    def _time_column(subject: Subject) -> str | None:
        if subject.spec.split.by == "time":
            return subject.spec.split.column
        frame = subject.frame
        return next((str(c) for c in frame.columns if kind_of(frame[c]) == "datetime"), None)

    @staticmethod
    def _thirds(subject: Subject, time: str, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """At most 20,000 positions each of the first and last third, cut between moments."""
        moments = pd.factorize(subject.frame[time].iloc[rows], sort=True)[0]
        known, moments = rows[moments >= 0], moments[moments >= 0]
        if not known.size:
            return known, known
        ordered = np.sort(moments)
        first, last = ordered[len(ordered) // 3], ordered[-(len(ordered) // 3) - 1]
        early, late = known[moments < first], known[moments > last]
        return subject.sample(early, MOST_ROWS), subject.sample(late, MOST_ROWS)

    def _target_drift(self, subject: Subject, time: str) -> float:
        if subject.target.problem:
            return 0.0
        early, late = self._thirds(subject, time, subject.target.rows)
        if not early.size or not late.size:
            return 0.0
        first, last = subject.target.of(early), subject.target.of(late)
        if subject.spec.task == "regression":
            return number_distance(first, last)
        classes = subject.target.n_classes
        counts = (np.bincount(part.astype(int), minlength=classes) for part in (first, last))
        return share_distance(*counts)


RULES = (DriftOverTime(),)
