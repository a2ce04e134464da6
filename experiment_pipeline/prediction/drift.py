"""How far rows are from those that a model was made and judged on, before their labels come.

In: the profile that a version holds; prepared rows and predictions, batch by batch. Out: sentences.
"""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from experiment_pipeline.prediction.rows import PREDICTION, Signature
from experiment_pipeline.reporting import numbers
from experiment_pipeline.stages.validated_data.profile import DataProfile, profile
from experiment_pipeline.statistics.distances import LARGE, STATISTIC, difference
from experiment_pipeline.table.kinds import numbers_of


def output_of(signature: Signature) -> str:
    """Return the column of a prediction table that is compared: a probability, a value or a class."""
    binary = signature.task == "binary"
    return f"probability_{signature.positive_class}" if binary else PREDICTION


def model_profile(known: DataProfile, predicted: np.ndarray, signature: Signature) -> DataProfile:
    """Return the profile of the features in the validated rows, and of the predictions (n,) or (n, k)
    of the validation rows.
    """
    if predicted.ndim == 2:
        predicted = np.array(signature.classes, dtype=object)[predicted.argmax(axis=1)]
    outputs = profile(
        pd.DataFrame({output_of(signature): pd.Series(predicted).infer_objects()}), 0.0
    )
    features = {name: known.columns[name] for name in signature.features if name in known.columns}
    return DataProfile(known.rows, known.rejection_rate, {**features, **outputs.columns})


@dataclass
class Drift:
    """Counts rows over the bins of a profile; None: the version has none, and nothing is said."""

    profile: DataProfile | None
    counts: dict[str, np.ndarray] = field(default_factory=dict)
    outside: Counter[str] = field(default_factory=Counter)  # column → rows out of its range
    rows: int = 0
    rows_outside: int = 0  # out of the range of any column

    def add(self, features: pd.DataFrame, predicted: pd.DataFrame) -> None:
        """Count some prepared rows and their predictions."""
        beyond = np.zeros(len(features), dtype=bool)
        for name, known in {} if self.profile is None else self.profile.columns.items():
            column = features[name] if name in features else predicted[name]
            if known.kind == "nested":
                continue
            self.counts[name] = self.counts.get(name, 0) + known.bins.counts(column)
            if known.kind == "number" and name in features:
                values = numbers_of(column)
                out = (values < known.deciles[0]) | (values > known.deciles[-1])
                self.outside[name] += int(out.sum())
                beyond |= out
        self.rows, self.rows_outside = self.rows + len(features), self.rows_outside + beyond.sum()

    def in_words(self) -> tuple[str, ...]:
        """Return the largest differences, and the share of rows outside the training range."""
        if self.profile is None or not self.rows:
            return ()
        found = {
            name: difference(np.array(self.profile.columns[name].counts), counts)
            for name, counts in self.counts.items()
        }
        ranked = sorted(
            found, key=lambda name: (found[name].alarming, found[name].effect_size), reverse=True
        )
        sizes = [f"{numbers.shown(name)} {found[name].effect_size:.2f}" for name in ranked]
        large = numbers.counted(sum(one.alarming for one in found.values()), "column")
        rule = f"{STATISTIC}, large from {LARGE:g} on and beyond noise"
        lines = [f"{large} with a large drift since training: {numbers.some_of(sizes)} ({rule})"]
        if self.rows_outside:
            most, rows = self.outside.most_common(1)[0]
            lines.append(
                f"{numbers.share(self.rows_outside / self.rows)} of the rows are outside the training "
                f"range, most often in {numbers.shown(most)} ({numbers.share(rows / self.rows)})"
            )
        return tuple(lines)
