"""How a sum over units varies: its variance, how well that is known, and its skewness.

What the units are and what is done with the moments lives in `intervals.py`. In: what each unit
adds to a score. Out: `Moments`.

Independent units give the usual variance. Consecutive ones may resemble their neighbours; theirs
is the long-run variance by equal-weighted cosines (Müller 2007; recommended by Lazarus, Lewis,
Stock and Watson 2018): the projections of a series on slow cosines are nearly independent, each
with the long-run variance, so that their mean square serves Student's t. How many cosines are
slow enough depends on how long the series remembers; without memory it is all of them, and the
variance is the usual one.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.fft import dct

# By which share the long-run variance may come out too small for the memory that was found.
_BIAS = 0.02
# With fewer, Student's t is so wide that little would be said (4: ±2.8, 2: ±4.3).
_FEWEST_COSINES = 4
_LONGEST_MEMORY = 0.95
# In shorter series the correlations are noise.
_FEWEST_UNITS = 6


@dataclass(frozen=True)
class Moments:
    """Of the sum of what G units add, when they are drawn anew.

    Attributes:
        variance: of the sum.
        degrees_of_freedom: how well the variance is known, 1 … G-1.
        skewness: of the sum; 0 = as often above as below.
        autocorrelation: of what consecutive units add; 0 for independent ones.
    """

    variance: float
    degrees_of_freedom: float
    skewness: float
    autocorrelation: float


def moments(sums: np.ndarray, *, consecutive: bool) -> Moments:
    """Return the moments of a sum.

    Args:
        sums: (G,) what each unit adds, of mean zero; at least two, in the order of time where
            they are consecutive.
        consecutive: whether neighbours may resemble one another.
    """
    strangers = as_strangers(sums) if consecutive else sums
    n_strangers = len(strangers)
    variance = n_strangers / (n_strangers - 1) * float(strangers @ strangers)
    freedom = min(n_strangers - 1.0, _freedom_by_tails(sums))
    autocorrelation = _autocorrelation(sums, 1) if consecutive else 0.0
    return Moments(variance, freedom, _skewness(sums), autocorrelation)


def as_strangers(sums: np.ndarray, differing: np.ndarray | None = None) -> np.ndarray:
    """Return what fewer units, independent of one another, would add to the same sums.

    The slow projections of the series are nearly independent; with the first, which is zero, they
    are K + 1 units whose sum varies as that of the G consecutive ones does. Without memory
    K + 1 is G.

    Args:
        sums: (G,) or (G, C) what each unit adds to one sum or several, of mean zero, in the
            order of time.
        differing: (G, …) series whose memory counts, where it is not that of the sums: what
            all of them share does not matter where they are compared.

    Returns:
        (K + 1,) or (K + 1, C).
    """
    n_units = len(sums)
    series = sums if differing is None else differing
    memory = _memory(_autocorrelation(series, 1), _autocorrelation(series, 2), n_units)
    n_strangers = _slow_cosines(n_units, memory) + 1
    slow = dct(sums, type=2, norm="ortho", axis=0)[:n_strangers]
    return np.asarray(math.sqrt(n_units / n_strangers) * slow)


def _freedom_by_tails(sums: np.ndarray) -> float:
    """Satterthwaite's degrees of freedom 2·V²/Var(V) of a variance V, by the sample's kurtosis κ.

    Var(V)/V² = (κ - (n-3)/(n-1)) / n: n - 1 for a normal sample, about 2k where k units of many
    add nearly all.
    """
    n, squares = len(sums), sums * sums
    total = float(squares.sum())
    if total == 0:
        return n - 1.0
    kurtosis = n * float(squares @ squares) / total**2
    return float(max(2 * n / (kurtosis - (n - 3) / (n - 1)), 1.0))


def _skewness(sums: np.ndarray) -> float:
    """That of a unit, adjusted for few of them (Joanes and Gill 1998), by the root of n."""
    n, total = len(sums), float(sums @ sums)
    if n < 3 or total == 0:
        return 0.0
    adjusted = math.sqrt(n * (n - 1)) / (n - 2)
    return float((sums * sums) @ sums / total**1.5) * adjusted


def _autocorrelation(sums: np.ndarray, lag: int) -> float:
    """The correlation at a lag, freed of its bias in short series (Kendall 1954).

    Of several series, (G, C), the mean one, each weighted by its variance.
    """
    n_units, total = len(sums), float(np.vdot(sums, sums))
    if n_units < _FEWEST_UNITS or total == 0:
        return 0.0
    raw = float(np.vdot(sums[lag:], sums[:-lag])) / total
    return raw + (1 + 3 * raw) / n_units


def _memory(first: float, second: float, n_units: int) -> float:
    """What persists from one unit to the next, by the correlations at lags 1 and 2.

    A day's score is what persists and the luck of its rows, an autoregressive series plus
    noise: ARMA(1, 1), whose correlations fall by the memory from lag to lag (Box and Jenkins
    1970). Where the first is no more than chance, the quotient is noise.
    """
    persists = second / first if first > 1 / math.sqrt(n_units) else 0.0
    return float(np.clip(max(first, persists), 0.0, _LONGEST_MEMORY))


def _slow_cosines(n_units: int, memory: float) -> int:
    """How many cosines see a spectrum as high as at frequency 0, but for _BIAS.

    The spectrum of an autoregressive series with memory m falls as 1 - ω²·m/(1-m)²; the mean
    over the first k cosines, whose ω are πj/G, as 1 - (πk/G)²/3 · m/(1-m)².
    """
    if memory == 0:
        return n_units - 1
    flat = n_units / math.pi * (1 - memory) * math.sqrt(3 * _BIAS / memory)
    return int(np.clip(flat, min(_FEWEST_COSINES, n_units - 1), n_units - 1))
