"""What texts that hardly repeat may still say: by their order, by a number, by their words.

In: a column of texts. Out: numbers of its rows, or a matrix of words. Nothing here looks at the
target; how well each reading predicts it is measured in `one_feature.py`.
"""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

MOST_CHARACTERS = 500
MOST_WORDS = 2_000
_FEWEST_ROWS = 3
_DIGITS = 20
_RUN = re.compile(r"\d+")
_NUMBER = r"(\d+(?:\.\d+)?)"


def numbers_of_texts(texts: pd.Series) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (the way of reading, numbers (n,)): nan where a text is missing or holds none.

    Ids are given out in some order, C9 before C10; a note may hold an amount.
    """
    codes, distinct = pd.factorize(texts)
    padded = [_RUN.sub(lambda run: run.group().zfill(_DIGITS), text) for text in distinct]
    places = np.append(np.unique(np.array(padded, dtype=str), return_inverse=True)[1], -1)
    yield "in the order of its texts", np.where(codes < 0, np.nan, places[codes])
    short = pd.Series(distinct, dtype="str").str.slice(0, MOST_CHARACTERS)
    first = short.str.extract(_NUMBER, expand=False)
    numbers = np.append(pd.to_numeric(first, errors="coerce").to_numpy(np.float64), np.nan)
    if np.isfinite(numbers).mean() >= 0.5:
        yield "by the first number in its texts", numbers[codes]


def words_of_texts(texts: pd.Series) -> Any:
    """Which frequent words each text holds: csr (n, words) of 0 and 1; None without words.

    A word is frequent in three texts or more; case is no matter.
    """
    from scipy.sparse import csr_matrix

    found = texts.str.slice(0, MOST_CHARACTERS).str.lower().str.findall(r"\w+")
    each = found.reset_index(drop=True).explode().dropna()
    words = pd.DataFrame({"row": each.index, "word": each.to_numpy()}).drop_duplicates()
    frequent = words["word"].value_counts()
    frequent = frequent[frequent >= _FEWEST_ROWS].iloc[:MOST_WORDS]
    if frequent.empty:
        return None
    column = frequent.index.get_indexer(pd.Index(words["word"]))
    kept = column >= 0
    places = (words["row"].to_numpy()[kept], column[kept])
    return csr_matrix((np.ones(kept.sum()), places), shape=(len(texts), len(frequent)))
