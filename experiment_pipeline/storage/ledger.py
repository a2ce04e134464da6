"""The ledger of looks at the validation set: `<root>/<experiment>/validation_looks/`.

Each look is a small file of its own, never changed: nothing is read before it is written, so
two runs at once lose none. In: a digest and a fingerprint. Out: the looks, oldest first. What
a number of looks means is said by `core/validation_report.py`.
"""

import json
import secrets
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Self

from upath import UPath

from experiment_pipeline.core.errors import EntryCorrupt
from experiment_pipeline.storage.files import list_names, read_many, write_bytes

_SHORT = 12  # characters of a digest in a file name; what is inside counts


@dataclass(frozen=True)
class Look:
    """One look at the validation set.

    Attributes:
        at: when, ISO 8601 in UTC, with microseconds.
        validation_digest: sha256 in hex of the validation rows.
        fingerprint: of the trained model that was judged on them.
    """

    at: str
    validation_digest: str
    fingerprint: str

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

    def record_look(self, validation_digest: str, fingerprint: str) -> Look:
        """Note a look, now; call it before the rows are looked at, so that none goes uncounted."""
        at = datetime.now(UTC)
        look = Look(at.isoformat(timespec="microseconds"), validation_digest, fingerprint)
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

    def looks(self, validation_digest: str) -> list[Look]:
        """Return the looks at these validation rows, oldest first.

        Raises:
            EntryCorrupt: a file of the ledger is damaged.
        """
        mark = f"-{validation_digest[:_SHORT]}-"
        paths = [self.folder / name for name in list_names(self.folder) if mark in name]
        looks = [Look.from_bytes(content, path) for path, content in read_many(paths).items()]
        return sorted(
            (look for look in looks if look.validation_digest == validation_digest),
            key=lambda look: look.at,
        )
