"""The ledger of looks at the validation set.

    <root>/<experiment>/
      validation_looks/<time>-<rows>-<model>-<random>.json   one look each
      validation_rows/<digest>.parquet                       a sample of the rows

A look is a model scored on the validation set; a second look of the same model is not
counted. Looks of all experiments below the storage root count, so another name of an
experiment does not restart the count: there those of the same target, which other
targets share no luck with. A target with the same values in the same rows is the same,
whatever its name. Looks are notes of a journal, so parallel runs lose none.
`table/clusters.py` recognises rows and values.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pandas as pd

from experiment_pipeline.errors import EntryCorrupt
from experiment_pipeline.reporting import numbers
from experiment_pipeline.statistics.interval import LEVEL
from experiment_pipeline.storage.records import Journal, Journals, NamedByDigest, now
from experiment_pipeline.storage.tables import from_parquet, to_parquet
from experiment_pipeline.table.clusters import KnownRows, RowSample, sample_rows

# A smaller share of common rows may be chance and hardly biases a score.
LEAST_OVERLAP = 0.1


@dataclass(frozen=True)
class EarlierLooks:
    """The number of other models scored on some of these rows, and their overlaps, 0 …
    1.
    """

    models: int = 0
    overlap: float = 0.0  # the largest
    total: float = 0.0  # the sum: looks at other rows cost nothing

    @property
    def level(self) -> float:
        """The level of the gates' intervals: look k may err with probability 5 %/k²,
        both sides together.

        So all looks, however many, err with at most 8.2 %. A look at a share of these
        rows counts that share.
        """
        return 1 - (1 - LEVEL) / (1 + self.total) ** 2 if self.total else LEVEL


NO_LOOKS = EarlierLooks()


def looked_at(looks: int, overlap: float, level: float) -> str:
    """Return a sentence on the number of looks, the present one included, and what they
    cost.
    """
    if looks == 1:
        return "These validation rows have been looked at once, this look included."
    return (
        f"These validation rows have been looked at {looks} times (overlap "
        f"{numbers.share(overlap)}), this look included. So that no model passes just "
        f"by repeated attempts, the gates use {numbers.confidence(level)} intervals "
        f"instead of {numbers.confidence(LEVEL)}; the larger the share of new rows, "
        "the closer the level returns to that."
    )


@dataclass(frozen=True)
class Look:
    """One look at the validation set."""

    at: str  # when, ISO 8601 in UTC, with microseconds
    validation_digest: str  # sha256 in hex of the validation rows
    fingerprint: str  # of the trained model that was judged on them
    sample: str  # sha256 in hex of the sample of these rows
    target: str = ""  # the column that was predicted; empty: an earlier release


class Ledger(Journals):
    """The looks of one experiment, and what they cost together with those of others."""

    FOLDER = "validation_looks"

    def record_look(
        self,
        validation_digest: str,
        fingerprint: str,
        rows: pd.DataFrame,
        id_columns: Sequence[str] = (),
        target: str = "",
    ) -> Look:
        """Record a model's look at rows as delivered, before they are scored: an
        interrupted one counts.
        """
        at = now()
        # Looks at the same rows share their sample. The target is among its columns.
        sampled = sample_rows(rows, [*id_columns, target])
        sample = self.samples.put(to_parquet(sampled))
        look = Look(at, validation_digest, fingerprint, sample, target)
        self.looks.append(look, validation_digest, fingerprint)
        return look

    def earlier_looks(
        self,
        validation_digest: str,
        fingerprint: str,
        rows: pd.DataFrame,
        id_columns: Sequence[str] = (),
        target: str = "",
        *,
        tell: Callable[[str], object],
    ) -> EarlierLooks:
        """Return the looks of other models at these rows, under any name of the
        experiment or the target. A damaged one of this experiment counts, and `tell`
        gets a warning.
        """
        # The share of these rows is 1, without a sample.
        delivered = _DeliveredRows(
            rows, id_columns, target, shares={(validation_digest, target): 1.0}
        )
        # Another model → the largest share it was scored on.
        models: dict[str, float] = {}
        looks = [
            (ledger, name, look)
            for ledger in self.of_all()
            for name, look in ledger.looks.notes().items()
        ]
        for ledger, name, look in looks:
            try:
                model, share = delivered.seen_by(look, ledger, is_own=ledger is self)
            except EntryCorrupt as damage:
                if ledger is not self:
                    continue
                model, share = name, 1.0
                tell(
                    f"{damage.culprit} {damage.rule}: it counts as a look at these rows"
                )
            # A model's own looks do not count.
            if model != fingerprint and share >= LEAST_OVERLAP:
                models[model] = max(share, models.get(model, 0.0))
        total = sum(models.values())
        return EarlierLooks(len(models), max(models.values(), default=0.0), total)

    @property
    def looks(self) -> Journal[Look]:
        """One note for each look."""
        return Journal(
            self.folder,
            Look,
            rule="is not a look at the validation set",
            fix="Delete the file: it counts for one.",
        )

    @property
    def samples(self) -> NamedByDigest:
        """The samples of rows that looks refer to."""
        return NamedByDigest(
            self.root / self.experiment / "validation_rows",
            "parquet",
            rule="is not the sample of rows that was written",
            fix="Nothing: it is passed over.",
        )


@dataclass(frozen=True, eq=False)
class _DeliveredRows:
    """The rows of a look, to be compared with those of earlier looks."""

    rows: pd.DataFrame
    id_columns: Sequence[str]
    target: str
    # Share of these rows by digest and target of the rows seen: a sample is read once.
    shares: dict[tuple[str, str], float]
    hashes: KnownRows = field(default_factory=dict)

    def seen_by(
        self, look: Look | EntryCorrupt, ledger: Ledger, *, is_own: bool
    ) -> tuple[str, float]:
        """Return the model of a look, and the share of these rows that it was scored
        on; EntryCorrupt: the look or its sample is damaged.
        """
        if isinstance(look, EntryCorrupt):
            raise look
        # In an experiment of one name every look counts.
        is_target = is_own or look.target in ("", self.target)
        seen = look.validation_digest, self.target if is_target else look.target
        if seen not in self.shares:
            sample = from_parquet(ledger.samples.read(look.sample), RowSample)
            share = sample.overlap(self.rows, self.id_columns, self.hashes)
            # Only in the same rows: values are hashed again for each sample.
            if share >= LEAST_OVERLAP and not is_target:
                share *= sample.has_values_of(
                    self.rows, self.target, look.target, self.id_columns
                )
            self.shares[seen] = share
        return look.fingerprint, self.shares[seen]
