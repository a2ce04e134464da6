"""Classes of which there are too few rows for three sets: which they are, and what is said of them.

One class of two rows among thousands stops nobody who can do without it: its rows are set aside,
which the validation carries out and the data analysis foresees. In: rows per class and set. Out:
which classes, and sentences.
"""

import numpy as np
import pandas as pd

# A class that a set lacks although so many rows were to be expected there is not rare: the split
# is at fault, or the class is new.
FEWEST_ROWS = 10
# More than this is no remainder to do without.
MOST_SHARE = 0.05


def too_rare(counts: np.ndarray) -> np.ndarray:
    """Tell which classes are set aside: fewer rows than one per set, or few and not in every set.

    None where fewer than two would be left, or where they hold more than a twentieth of the rows.

    Args:
        counts: rows (classes, sets) of each class in each set; may be expected ones.

    Returns:
        bool (classes,).
    """
    rows = counts.sum(axis=1)
    smallest = counts.sum(axis=0).min() / max(counts.sum(), 1)
    lacking = (counts < 1).any(axis=1) & (rows * smallest < FEWEST_ROWS)
    rare = (rows * smallest < 1) | lacking
    if (~rare).sum() < 2 or rows[rare].sum() > MOST_SHARE * rows.sum():
        return np.zeros(len(rows), dtype=bool)
    return np.asarray(rare)


def may_be_rare(target: pd.Series) -> bool:
    """Tell whether there can be such a class at all, without knowing the sets.

    Args:
        target: known classes (n,).
    """
    counts = target.value_counts()
    return len(counts) > 2 and bool(counts.iloc[-1] <= MOST_SHARE * len(target))


def rare_in(target: pd.Series, sets: pd.Series) -> list[object]:
    """Return the classes to set aside, the rarest last.

    Args:
        target: known classes (n,).
        sets: train, test, validation or gap, on an index that holds the target's; a row of the
            gap counts for none.
    """
    own = sets.reindex(target.index)
    counts = pd.crosstab(target, own).reindex(columns=["train", "test", "validation"], fill_value=0)
    counts = counts.reindex(target.value_counts().index)
    return counts.index[too_rare(counts.to_numpy())].tolist()


def in_words(classes: pd.Series) -> list[str]:
    """Say what became of each class.

    Args:
        classes: the class of each row that was set aside.
    """
    return [
        f"class {name} ({rows} row{'s' if rows > 1 else ''}) cannot be predicted: its rows are set "
        "aside, and every score is of the other classes alone"
        for name, rows in classes.astype("str").value_counts().items()
    ]
