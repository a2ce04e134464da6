"""Classes that were set aside, as sentences that travel in the tables' `attrs`.

From `validated_data` over the sets to the leaderboard, the report and the model's card: whoever
reads a score is told of which classes it is not. Which classes these are is decided in
`rows/membership.py`.
"""

from collections.abc import Sequence

import pandas as pd

MARK = "set_aside"


def told(table: pd.DataFrame, sentences: Sequence[str]) -> pd.DataFrame:
    """Return the table with the sentences."""
    table = table.copy(deep=False)
    table.attrs[MARK] = list(sentences)
    return table


def of(table: pd.DataFrame) -> tuple[str, ...]:
    """Return the sentences that `told` noted; none for a table of an older version."""
    return tuple(table.attrs.get(MARK, ()))
