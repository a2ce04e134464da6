"""How often rows have been looked at: by how many models, and how many of the rows.

A look is a model judged on the validation set. The same model again has nothing new to tell, so
models are counted. In: who looked, and the overlap of the rows. Out: `EarlierLooks`. Rows are
recognised in `rows/identity.py`; looks are kept in the storage's `ledger.py`.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from experiment_pipeline.reporting import numbers

# Fewer shared rows may be chance, and flatter nobody.
LEAST_OVERLAP = 0.1


@dataclass(frozen=True)
class EarlierLooks:
    """The looks of other models at some of these rows.

    Attributes:
        models: how many models have looked.
        overlap: share of these rows that the look with the most of them had, 0 … 1.
    """

    models: int = 0
    overlap: float = 0.0

    def in_words(self) -> str:
        """`looked at 3 times before (overlap 100 %)`."""
        times = "once" if self.models == 1 else f"{self.models} times"
        return f"looked at {times} before (overlap {numbers.share(self.overlap)})"


NO_LOOKS = EarlierLooks()


def count(looks: Iterable[tuple[str, float]], model: str) -> EarlierLooks:
    """Count the looks at some rows.

    Args:
        looks: (fingerprint of the model that looked, overlap of what it saw with these rows).
        model: fingerprint of the one that looks now; its own looks are no earlier ones.
    """
    others: dict[str, float] = {}
    for fingerprint, overlap in looks:
        if fingerprint != model and overlap >= LEAST_OVERLAP:
            others[fingerprint] = max(overlap, others.get(fingerprint, 0.0))
    return EarlierLooks(len(others), max(others.values(), default=0.0))


def looked_at(looks: int, overlap: float) -> str:
    """Say how often rows have been looked at.

    Args:
        looks: models that have looked, the present one included.
        overlap: as of `EarlierLooks`.
    """
    times = "once" if looks == 1 else f"{looks} times"
    among = "" if looks == 1 else f" (overlap {numbers.share(overlap)})"
    return f"These validation rows have been looked at {times}{among}, this look included."
