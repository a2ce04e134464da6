"""Why rows are rejected: broken rules as arrays, and the words made of them.

In: per rule, the positions of the rows that break it and the offending values. Out: one text
per rejected row with all of its reasons, and a count per reason. Python-level work is done
for rejected cells only.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from experiment_pipeline.reporting import numbers

LONGEST_VALUE = 80
SHOWN_VALUES = 5
LONGEST_RULE = 200


@dataclass(frozen=True)
class Broken:
    """One rule, and the rows that break it.

    Attributes:
        column: the column it is about; None for rules about the whole row.
        rule: what is wrong, to be read after the value: "is missing".
        positions: int (k,): positions of the rows in the table, ascending.
        values: (k,) what stands there; None where the rule says it all.
    """

    column: str | None
    rule: str
    positions: np.ndarray
    values: Sequence[object] | None = None

    @property
    def reason(self) -> str:
        """The rule without a value, such as "age: is missing"."""
        return self.rule if self.column is None else f"{self.column}: {self.rule}"

    def texts(self) -> np.ndarray:
        """Return one reason per row, with the offending value: object (k,)."""
        if self.values is None:
            return np.full(len(self.positions), self.reason, dtype=object)
        start = "" if self.column is None else f"{self.column}: "
        return np.array([f"{start}{_shown(v)} {self.rule}" for v in self.values], dtype=object)


def rejection_reasons(broken: Sequence[Broken], rejected: np.ndarray) -> np.ndarray:
    """Write all reasons of every rejected row, one per line.

    Args:
        broken: the rules that rows break.
        rejected: bool (n,): which rows of the table are rejected.

    Returns:
        object (rejected.sum(),), in the order of the table.
    """
    place = np.cumsum(rejected) - 1
    reasons = np.full(int(rejected.sum()), "", dtype=object)
    for rule in broken:
        at = place[rule.positions]
        before = reasons[at]
        reasons[at] = before + np.where(before == "", "", "\n").astype(object) + rule.texts()
    return reasons


def count_reasons(broken: Sequence[Broken]) -> pd.DataFrame:
    """Count the rows per reason, most frequent first: columns `reason`, `rows`."""
    counts = [(rule.reason, len(rule.positions)) for rule in broken]
    table = pd.DataFrame(counts, columns=["reason", "rows"])
    return table.sort_values("rows", ascending=False, kind="stable", ignore_index=True)


def most_frequent(values: pd.Series) -> str:
    """Return the most frequent values with their counts: `'ZZ' (2), 'QQ' (1) and 3 others`."""
    counts = values.value_counts()
    shown = [f"{_shown(value)} ({rows:,})" for value, rows in counts.head(SHOWN_VALUES).items()]
    more = len(counts) - len(shown)
    return ", ".join(shown) + (f" and {numbers.counted(more, 'other')}" if more else "")


def _shown(value: object) -> str:
    text = repr(value.item() if isinstance(value, np.generic) else value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"


def shortened(rule: str) -> str:
    """Cut a rule that lists too much to be read."""
    return rule if len(rule) <= LONGEST_RULE else f"{rule[:LONGEST_RULE]}…"
