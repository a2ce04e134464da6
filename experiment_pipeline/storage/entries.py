"""What stored entries have in common: when they exist, and where damaged ones go.

    <root>/<experiment>/<stage>/<fingerprint>/result.json            written last, once
                        damaged/<stage>/<fingerprint>/<time>-…/      an entry in quarantine

An entry is never changed, and a damaged one is none: quarantine takes it whole out of the way
of every run, where it is kept for whoever looks into the cause, and what it held is made again.
In: an entry's folder. Out: a sentence for the log. What is in an entry: `stages/search/store.py`, `results.py`.
"""

import secrets
from datetime import UTC, datetime

from upath import UPath

from experiment_pipeline.errors import EntryCorrupt
from experiment_pipeline.storage.files import list_names, read_many, remove, write_bytes

RESULT = "result.json"
DAMAGED = "damaged"


def quarantine(folder: UPath, damage: EntryCorrupt) -> str:
    """Move an entry to the damaged ones, and return what to say about it.

    A bucket cannot rename: the files are copied, `result.json` is removed, then the others. Who
    dies in between leaves a damaged entry, or none.
    """
    time = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
    place = folder.parent.parent / DAMAGED / folder.parent.name / folder.name / time
    for path, content in read_many(folder / name for name in list_names(folder)).items():
        write_bytes(place / path.name, content)
    remove(folder / RESULT)
    remove(folder)
    return f"{damage.culprit} {damage.rule}: the entry was moved to {place}, and is made again"
