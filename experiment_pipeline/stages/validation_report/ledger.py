"""The ledger of looks at the validation set.

    <root>/<experiment>/validation_looks/<time>-<rows>-<model>-<random>.json   one look each
                        validation_rows/<digest>.parquet    a sample of the rows that were seen

Each look is a small file of its own, never changed: nothing is read before it is written, so
two runs at once lose none. In: rows and a fingerprint. Out: how often such rows have been looked
at. What that means is said by `stages/validation_report/report.py`.
"""

import hashlib
import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Self

import pandas as pd
from upath import UPath

from experiment_pipeline.errors import EntryCorrupt
from experiment_pipeline.rows.identity import HashedRows, RowSample, sample_rows
from experiment_pipeline.stages.validation_report.looks import EarlierLooks, count
from experiment_pipeline.storage.files import list_names, read_bytes, read_many, write_bytes
from experiment_pipeline.storage.tables import from_parquet, to_parquet

_SHORT = 12  # characters of a digest in a file name; what is inside counts
_ROWS = "rows"


@dataclass(frozen=True)
class Look:
    """One look at the validation set.

    Attributes:
        at: when, ISO 8601 in UTC, with microseconds.
        validation_digest: sha256 in hex of the validation rows.
        fingerprint: of the trained model that was judged on them.
        sample: sha256 in hex of the sample of these rows; None: kept before there were samples,
            so that only the same digest tells that rows are the same.
    """

    at: str
    validation_digest: str
    fingerprint: str
    sample: str | None = None

    @classmethod
    def from_bytes(cls, content: bytes, path: UPath) -> Self:
        """Return the look in a file; EntryCorrupt when there is none."""
        try:
            return cls(**json.loads(content))
        except (ValueError, TypeError) as error:
            raise EntryCorrupt(
                str(path), "is no look at the validation set", "Delete the file: it counts for one."
            ) from error


@dataclass(frozen=True)
class Ledger:
    """The looks of one experiment.

    Attributes:
        root: the storage root.
        experiment: the experiment's name.
    """

    root: UPath
    experiment: str

    @property
    def folder(self) -> UPath:
        """Where the looks are."""
        return self.root / self.experiment / "validation_looks"

    def record_look(
        self,
        validation_digest: str,
        fingerprint: str,
        rows: pd.DataFrame,
        id_columns: Sequence[str] = (),
    ) -> Look:
        """Note a look, now; call it before the rows are looked at, so that none goes uncounted.

        Args:
            validation_digest: of the validation set, prepared.
            fingerprint: of the model.
            rows: the same rows as delivered.
            id_columns: those that name a row.
        """
        at = datetime.now(UTC)
        sample = self._keep(sample_rows(rows, id_columns))
        look = Look(at.isoformat(timespec="microseconds"), validation_digest, fingerprint, sample)
        name = "-".join(
            [
                at.strftime("%Y%m%dT%H%M%S.%fZ"),
                validation_digest[:_SHORT],
                fingerprint[:_SHORT],
                secrets.token_hex(4),
            ]
        )
        write_bytes(self.folder / f"{name}.json", json.dumps(asdict(look), indent=2).encode())
        return look

    def looks(self) -> list[Look]:
        """Return all looks, oldest first.

        Raises:
            EntryCorrupt: a file of the ledger is damaged.
        """
        paths = self._paths()
        looks = [Look.from_bytes(content, path) for path, content in read_many(paths).items()]
        return sorted(looks, key=lambda look: look.at)

    def earlier_looks(
        self,
        validation_digest: str,
        fingerprint: str,
        rows: pd.DataFrame,
        id_columns: Sequence[str] = (),
        *,
        tell: Callable[[str], object],
    ) -> EarlierLooks:
        """Return how often other models have looked at these rows; arguments as of `record_look`.

        A look whose file, or whose sample of rows, is damaged counts as one at these very rows: it
        is told, and no look is forgotten.
        """
        here = HashedRows.of(rows)
        shares: dict[str, float] = {}

        def overlap(look: Look) -> float:
            if look.validation_digest == validation_digest:
                return 1.0
            if look.sample is None:
                return 0.0
            if look.sample not in shares:
                shares[look.sample] = self._sample(look.sample).overlap(here, id_columns)
            return shares[look.sample]

        seen = []
        for path in self._paths():
            try:
                look = Look.from_bytes(read_bytes(path), path)
                seen.append((look.fingerprint, overlap(look)))
            except EntryCorrupt as damage:
                tell(f"{damage.culprit} {damage.rule}: it counts as a look at these rows")
                seen.append((path.name, 1.0))
        return count(seen, fingerprint)

    def _paths(self) -> list[UPath]:
        return [self.folder / name for name in list_names(self.folder)]

    def _keep(self, sample: RowSample) -> str:
        """Store a sample under its digest: looks at the same rows share it."""
        table = sample.hashes.copy()
        table.attrs = {_ROWS: sample.rows}
        content = to_parquet(table)
        digest = hashlib.sha256(content).hexdigest()
        write_bytes(self._sample_path(digest), content)
        return digest

    def _sample(self, digest: str) -> RowSample:
        path = self._sample_path(digest)
        for content in read_many([path]).values():
            if hashlib.sha256(content).hexdigest() == digest:
                table = from_parquet(content)
                return RowSample(table.attrs[_ROWS], table)
        raise EntryCorrupt(
            str(path), "is not the sample of rows that was written", "Nothing: it is passed over."
        )

    def _sample_path(self, digest: str) -> UPath:
        return self.root / self.experiment / "validation_rows" / f"{digest}.parquet"
