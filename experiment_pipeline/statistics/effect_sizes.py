"""How much two samples of one column differ, as an effect size and not as a p-value.

In: two columns. Out: the population stability index, corrected for the sampling noise that
small samples add to it. What a difference means for an experiment belongs to the callers.

Sources: the index and its thresholds, below 0.1 none, up to 0.25 moderate, above large:
Siddiqi, Credit Risk Scorecards (2006). Without any difference it is distributed as
chi2(B - 1) * (1/n + 1/m) over B bins: Yurdakul and Naranjo, Journal of Risk Model Validation
14(4) (2020).
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import chdtri

from experiment_pipeline.columns.kinds import microseconds

STATISTIC = "population stability index"
LARGE = 0.25
BINS = 10
LISTED_CATEGORIES = 20
# How rarely two samples of the same source are called different, per column.
FALSE_ALARM_RATE = 0.001


@dataclass(frozen=True)
class Difference:
    """How far a sample is from its reference.

    Attributes:
        effect_size: population stability index above its expectation without a difference,
            at least 0; 0.25 and more is large.
        noise: what the index passes by chance in one of 1,000 comparisons, less its
            expectation: on samples this small nothing below it means anything.
        alarming: the effect is large and more than noise.
    """

    effect_size: float
    noise: float
    alarming: bool


@dataclass(frozen=True)
class Bins:
    """How a reference column is cut, so that any sample of it can be counted.

    Attributes:
        edges: float64: inner edges of bins of a number or an instant; None for categories.
        known: the categories with a bin of their own; None for numbers.
    """

    edges: np.ndarray | None
    known: pd.Index | None

    @classmethod
    def of(cls, reference: pd.Series) -> "Bins":
        """Cut numbers and instants with many values at their deciles; else list categories."""
        if _is_scale(reference) and reference.nunique() > LISTED_CATEGORIES:
            deciles = np.linspace(0, 1, BINS + 1)[1:-1]
            return cls(
                np.unique(np.nanquantile(_numbers(reference), deciles, method="lower")), None
            )
        return cls(None, reference.value_counts().index[:LISTED_CATEGORIES])

    def counts(self, column: pd.Series) -> np.ndarray:
        """Count a sample per bin, the last one being missing values: int64 (B,)."""
        if self.edges is not None:
            values = _numbers(column)
            missing = np.isnan(values)
            inner = np.searchsorted(self.edges, values[~missing], side="right")
            return np.append(np.bincount(inner, minlength=len(self.edges) + 1), missing.sum())
        named = column.value_counts().reindex(self.known, fill_value=0).to_numpy(dtype=np.int64)
        missing = int(column.isna().sum())
        return np.append(named, [len(column) - missing - named.sum(), missing])


def differences(reference: pd.Series, *samples: pd.Series) -> list[Difference]:
    """Compare each sample with the reference, over bins that the reference defines."""
    bins = Bins.of(reference)
    counts = bins.counts(reference)
    return [difference(counts, bins.counts(sample)) for sample in samples]


def difference(reference: np.ndarray, sample: np.ndarray) -> Difference:
    """Compare two samples that were counted over the same bins: int64 (B,) each."""
    used = (reference + sample) > 0
    freedom = int(used.sum()) - 1
    if min(reference.sum(), sample.sum()) == 0 or freedom == 0:
        return Difference(0.0, 0.0, alarming=False)
    scale = 1 / reference.sum() + 1 / sample.sum()
    index = _stability_index(reference[used], sample[used])
    effect = max(0.0, index - freedom * scale)
    noise = float(chdtri(freedom, FALSE_ALARM_RATE) - freedom) * scale
    return Difference(effect, noise, alarming=effect >= LARGE and effect > noise)


def _stability_index(first: np.ndarray, second: np.ndarray) -> float:
    # Half a row more in every bin keeps an empty bin finite.
    p = (first + 0.5) / (first + 0.5).sum()
    q = (second + 0.5) / (second + 0.5).sum()
    return float(((q - p) * np.log(q / p)).sum())


def _is_scale(column: pd.Series) -> bool:
    dtype = column.dtype
    if pd.api.types.is_bool_dtype(dtype):
        return False
    return pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_datetime64_any_dtype(dtype)


def _numbers(column: pd.Series) -> np.ndarray:
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return np.where(column.isna(), np.nan, microseconds(column))
    return column.to_numpy("float64", na_value=np.nan)
