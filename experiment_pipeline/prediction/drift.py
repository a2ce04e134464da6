"""Measure how far new rows drifted from those of training and validation, before labels
arrive.

In: the profile that a version holds; prepared rows and predictions, batch by batch.
Out: sentences.
"""

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from experiment_pipeline.intake.profile import DataProfile, profile
from experiment_pipeline.prediction.rows import PREDICTION, Signature
from experiment_pipeline.reporting import numbers
from experiment_pipeline.statistics.distances import LARGE, STATISTIC, difference
from experiment_pipeline.table.kinds import numbers_of


def model_profile(
    trained: DataProfile,
    predicted: np.ndarray,
    days: Collection[str],
    signature: Signature,
) -> DataProfile:
    """Return the profile of the features in the validated rows, except those in `days`,
    and of the predictions (n,) or (n, k) of the validation rows: a probability, a
    number or a class.
    """
    binary = signature.task == "binary"
    classes = np.array(signature.classes, dtype=object)
    values = predicted if predicted.ndim == 1 else classes[predicted.argmax(axis=1)]
    name = f"probability_{signature.positive_class}" if binary else PREDICTION
    outputs = profile(
        pd.DataFrame({name: pd.Series(values).infer_objects()}), 0.0
    ).columns
    named = [
        name
        for name in signature.features
        if name in trained.columns and name not in days
    ]
    features = {name: trained.columns[name] for name in named}
    return DataProfile(trained.rows, trained.rejection_rate, {**features, **outputs})


@dataclass
class DriftCounts:
    """Counts rows in the bins of a profile; None: the version has no profile, so drift
    is not reported.
    """

    profile: DataProfile | None
    counts: dict[str, np.ndarray] = field(default_factory=dict)
    outside: list[np.ndarray] = field(
        default_factory=list
    )  # (n,): any number out of range

    def add(self, features: pd.DataFrame, predicted: pd.DataFrame) -> None:
        """Count some prepared rows and their predictions."""
        out = np.zeros(len(features), dtype=bool)
        for name, trained in self.profile.columns.items() if self.profile else ():
            column = features[name] if name in features else predicted[name]
            if trained.kind != "nested":
                self.counts[name] = self.counts.get(name, 0) + trained.bins.counts(
                    column
                )
            if trained.kind == "number" and name in features:
                values = numbers_of(column)
                lowest, *_, highest = trained.deciles
                out |= (values < lowest) | (values > highest)
        self.outside.append(out)

    def in_words(self) -> tuple[str, ...]:
        """Return the largest differences, and the share of rows outside the training
        range.
        """
        if self.profile is None or not self.counts:
            return ()
        trained = self.profile.columns
        drifts = {
            name: difference(np.array(trained[name].counts), counts)
            for name, counts in self.counts.items()
        }
        ranked = sorted(
            drifts,
            key=lambda name: (drifts[name].alarming, drifts[name].effect_size),
            reverse=True,
        )
        sizes = [
            f"{numbers.shown(name)} {drifts[name].effect_size:.2f}" for name in ranked
        ]
        alarming = sum(column.alarming for column in drifts.values())
        out = numbers.share(float(np.concatenate(self.outside).mean()))
        drifted = (
            f"{alarming} of {len(drifts)} columns with a large drift since training; "
            f"most: {numbers.some_of(sizes)} ({STATISTIC}, large from {LARGE:g} on "
            "and beyond noise)"
        )
        return drifted, f"{out} of the rows hold a number outside the training range"
