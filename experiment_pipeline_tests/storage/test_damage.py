"""Every file that a run stores, emptied, cut short and changed: what a later run makes
of it.
"""

import shutil
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import NoneType

import pytest
from upath import UPath

from experiment_pipeline.errors import EntryCorrupt, ExperimentPipelineError
from experiment_pipeline.prediction.files import load_model
from experiment_pipeline.reporting.header import STAGE_TABS
from experiment_pipeline.stages.search.results import TrainedModelStore
from experiment_pipeline.stages.validated_data.changes import (
    ACCEPTED,
    RUNS,
    DataProfiles,
)
from experiment_pipeline.stages.validation_report.ledger import Ledger
from experiment_pipeline.storage import persistence
from experiment_pipeline.storage.entries import Entries
from experiment_pipeline.storage.files import STORAGE_VARIABLE
from experiment_pipeline.storage.records import to_json
from experiment_pipeline.storage.registry import Registry
from experiment_pipeline.storage.tables import read_table
from experiment_pipeline_tests import runs, scenario

pytestmark = pytest.mark.slow


def changed(content: bytes) -> bytes:
    """Content with another bit in the byte after its first third."""
    place = len(content) // 3
    return content[:place] + bytes([content[place] ^ 2]) + content[place + 1 :]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut short": lambda content: content[: len(content) // 2],
    "changed": changed,
}
# Written last, so that what they name counts.
COMMITS = ("result.json", "manifest.json")
# Folder → the reader that believes a letter changed in a small JSON file, which has no
# digest.
UNGUARDED = {"history": "history", "v0001": "version", "validation_looks": "looks"}
QUICK = {"n_estimators": 5, "num_leaves": [3], "early_stopping_round": 0}
SEARCH = [
    {"algorithm": "linear"},
    {"algorithm": "lightgbm", "hyperparameters": QUICK},
]
# Folder, name → what a reader makes of it, as plain values.
Readers = dict[tuple[str, str], Callable[[], object]]


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> Path:
    """What one run stored, and the table beside it."""
    folder = tmp_path_factory.mktemp("run")
    scenario.write_csv(folder / "visits.csv")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(STORAGE_VARIABLE, str(folder / "artifacts"))
        experiment(folder)
    return folder


def experiment(folder: Path) -> runs.Run:
    """Run the experiment on the table of a folder."""
    spec = scenario.spec(url=str(folder / "visits.csv"), search=SEARCH)
    return runs.succeeded(spec, scenario.SCHEMA)


@pytest.fixture
def copy(stored: Path, tmp_path, monkeypatch) -> Path:
    """The storage root again, to be damaged."""
    root = tmp_path / "artifacts"
    shutil.copytree(stored / "artifacts", root)
    monkeypatch.setenv(STORAGE_VARIABLE, str(root))
    monkeypatch.chdir(tmp_path)
    return root


def files(root: Path) -> list[Path]:
    """All files of a storage root."""
    return sorted(path for path in root.rglob("*") if path.is_file())


def names(folder: Path) -> list[str]:
    """The names in a folder."""
    return sorted(path.name for path in folder.iterdir())


def readers(root: Path, table: Path) -> Readers:
    """Everything that reads what a run stores."""
    place, folder = UPath(root), root / "clinic"
    reads: Readers = {}
    for path in (folder / "tables").glob("*.parquet"):
        reads["tables", f"table {path.stem}"] = partial(table_text, path)
    for stage in (*STAGE_TABS.values(), "exported_model"):
        store = Entries(place, "clinic", stage, NoneType)
        (fingerprint,) = names(folder / stage)
        reads[stage, stage] = partial(entry_files, store, fingerprint)
    prints = names(folder / "trained_model")
    models, profiles = TrainedModelStore.of("clinic"), DataProfiles(place, "clinic")
    registry = Registry(place, "clinic")
    whole_folders: Readers = {
        ("trained_model", "results"): lambda: [
            to_json(result) for result in models.results(prints).values()
        ],
        ("trained_model", "models"): lambda: [
            models.require(fingerprint).model for fingerprint in prints
        ],
        ("trained_model", "predictions"): lambda: [
            predicted.tolist() for predicted in models.test_predictions(prints).values()
        ],
        ("data_profiles", "previous"): lambda: profiles.latest(RUNS, refuse),
        ("data_profiles", "accepted"): lambda: profiles.latest(ACCEPTED, refuse),
        ("validation_looks", "looks"): lambda: looks(place),
        ("registry", "history"): registry.history,
        ("registry", "version"): lambda: registry.model("v0001").files(),
        ("registry", "predict"): lambda: load_model("clinic").predict_table(
            str(table), "p.csv", "r.csv"
        ),
    }
    return reads | whole_folders


def table_text(path: Path) -> str:
    """A table as text."""
    return read_table(UPath(path)).to_csv()


def entry_files(store: Entries[None], fingerprint: str) -> dict[str, bytes]:
    """The files of an entry."""
    return dict(store.require(fingerprint).files)


def looks(place: UPath) -> list[object]:
    """What the ledger holds; a damaged look is an error."""
    notes = list(Ledger(place, "clinic").looks.notes().values())
    for note in notes:
        if isinstance(note, EntryCorrupt):
            raise note
    return notes


def refuse(damage: str) -> None:
    """Make of a warning an error of the family."""
    raise ExperimentPipelineError(damage, "", "")


def all_answers(root: Path, table: Path, path: Path | None = None) -> dict[str, object]:
    """What the readers (of a file's folder) answer, or their errors."""
    answers: dict[str, object] = {}
    for (folder, name), read in readers(root, table).items():
        if path is None or folder in path.relative_to(root).parts:
            try:
                answers[name] = read()
            except ExperimentPipelineError as error:
                answers[name] = error
    return answers


def test_every_reader_gives_the_right_answer_or_names_the_file(
    stored: Path, copy: Path
):
    """Each file in turn is changed, or cut short where it has no digest: what reads it
    answers as before, or with an error that names the file.
    """
    table = stored / "visits.csv"
    right = all_answers(copy, table)
    assert not any(isinstance(answer, Exception) for answer in right.values())
    unnoticed = set()
    for path in files(copy):
        has_digest = path.parent.name not in UNGUARDED or path.suffix != ".json"
        for damage in ["changed"] if has_digest else ["changed", "cut short"]:
            whole = path.read_bytes()
            path.write_bytes(DAMAGE[damage](whole))
            after = all_answers(copy, table, path)
            path.write_bytes(whole)
            wrong = {name for name in after if after[name] != right[name]}
            errors = {name for name in wrong if isinstance(after[name], Exception)}
            assert wrong - errors <= {UNGUARDED.get(path.parent.name)}, (path, wrong)
            # A name or a digest that was changed in a list of files shows at the file
            # that it is of.
            culprit = path.parent if path.name in COMMITS else path
            for name in errors:
                assert str(culprit) in str(after[name])
            if not errors:
                unnoticed.add(path.relative_to(copy).parts[:2][-1])
    # A page that each run writes anew, a claim that only takes its number, the time of
    # a note, the description of a table: no answer depends on them.
    assert unnoticed.isdisjoint({"trained_model", "data_analysis", "validation_report"})


def test_a_run_over_damaged_files_ends_with_a_whole_model(stored: Path, copy: Path):
    """Of one folder what names the others is emptied, of the next all others are
    changed: both are moved away, made and published again.
    """
    entries = {path.parent for path in files(copy) if path.name in COMMITS}
    emptied = sorted(entries)[::2]
    for path in files(copy):
        is_commit = path.name in COMMITS
        if path.parent in emptied and is_commit:
            path.write_bytes(b"")
        elif (
            path.parent not in [*emptied, copy / "clinic" / "validation_looks"]
            and not is_commit
        ):
            path.write_bytes(changed(path.read_bytes()))
    done = experiment(stored)
    assert done.metadata("exported_model")["version"] == "v0002"
    assert done.metadata("search_results")["reused"] == 0
    assert Registry(UPath(copy), "clinic").model("v0002").damage() is None
    # What rests on models that were trained again has another fingerprint: they cost
    # otherwise.
    quarantine = {*names(copy / "clinic" / "damaged")}
    assert quarantine >= {
        *("data_analysis", "data_issues", "leaderboard", "search", "trained_model")
    }
    assert quarantine.isdisjoint({"validation_report", "exported_model"})


def test_a_changed_model_is_an_error_of_the_family(stored: Path):
    """Bytes that no digest guards: skops, handed a damaged file, ends in an error or a
    model.
    """
    (path,) = (stored / "artifacts" / "clinic" / "registry" / "v0001").glob("*.skops")
    whole, loaded = path.read_bytes(), 0
    places = range(0, len(whole), len(whole) // 80)
    for place in places:
        content = bytearray(whole)
        content[place] ^= 1 << place % 8
        with suppress(ExperimentPipelineError):
            persistence.from_bytes(bytes(content))
            loaded += 1
    assert loaded < len(places) - 60
