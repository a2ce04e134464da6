"""Every file that a run stores, emptied, cut short and changed: what a later run makes
of it.
"""

import contextlib
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from types import NoneType

import pytest
from upath import UPath

from experiment_pipeline.errors import EntryCorrupt, ExperimentPipelineError
from experiment_pipeline.prediction.files import load_model
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
DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "emptied": lambda content: b"",
    "cut short": lambda content: content[: len(content) // 2],
    "changed": lambda content: (
        content[: len(content) // 3]
        + bytes([content[len(content) // 3] ^ 2])
        + content[len(content) // 3 + 1 :]
    ),
}
# Written last, so that what they name counts.
COMMITS = ("result.json", "manifest.json")
# Folder → the reader that believes a letter changed in a small JSON file, which has no
# digest.
UNGUARDED = {"history": "history", "v0001": "version", "validation_looks": "looks"}
SEARCH = [
    {"algorithm": "linear"},
    {
        "algorithm": "lightgbm",
        "hyperparameters": {
            "n_estimators": 5,
            "num_leaves": [3],
            "early_stopping_round": 0,
        },
    },
]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
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
def copy(stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The storage root again, to be damaged."""
    root = tmp_path / "artifacts"
    shutil.copytree(stored / "artifacts", root)
    monkeypatch.setenv(STORAGE_VARIABLE, str(root))
    monkeypatch.chdir(tmp_path)
    return root


def files(root: Path) -> list[Path]:
    """Every file of a storage root, without those in quarantine."""
    found = (path for path in root.rglob("*") if path.is_file())
    return sorted(path for path in found if "damaged" not in path.parts)


def readers(root: Path, table: Path) -> Iterable[tuple[str, str, Callable[[], object]]]:
    """Everything that reads what is stored: its folder, a name, and what it makes of
    it, as plain values.
    """
    place, folder = UPath(root), root / "clinic"
    for path in sorted((folder / "tables").glob("*.parquet")):
        yield (
            "tables",
            f"table {path.stem}",
            lambda path=path: read_table(UPath(path)).to_csv(),
        )
    for stage in (
        "data_analysis",
        "leaderboard",
        "validation_report",
        "exported_model",
    ):
        for print_ in names(folder / stage):
            store = Entries(place, "clinic", stage, NoneType)
            yield (
                stage,
                stage,
                lambda store=store, print_=print_: dict(store.require(print_).files),
            )
    prints, models = names(folder / "trained_model"), TrainedModelStore.of("clinic")
    trained, profiles = "trained_model", DataProfiles(place, "clinic")
    yield (
        trained,
        "results",
        lambda: list(map(to_json, models.results(prints).values())),
    )
    yield trained, "models", lambda: [models.require(one).model for one in prints]
    predictions = models.test_predictions
    yield (
        trained,
        "predictions",
        lambda: [p.tolist() for p in predictions(prints).values()],
    )
    yield "data_profiles", "previous", lambda: profiles.latest(RUNS, refuse)
    yield "data_profiles", "accepted", lambda: profiles.latest(ACCEPTED, refuse)
    yield "validation_looks", "looks", lambda: looks(place)
    registry, predict = Registry(place, "clinic"), (str(table), "p.csv", "r.csv")
    yield "registry", "history", registry.history
    yield "registry", "version", lambda: registry.model("v0001").files()
    yield "registry", "predict", lambda: load_model("clinic").predict_table(*predict)


def looks(place: UPath) -> list[object]:
    """What the ledger holds; the error that it tells of a damaged look."""
    found = list(Ledger(place, "clinic").looks.notes().values())
    for look in found:
        if isinstance(look, EntryCorrupt):
            raise look
    return found


def refuse(damage: str) -> None:
    """Make of what is told an error of the family."""
    raise ExperimentPipelineError(damage, "", "")


def names(folder: Path) -> list[str]:
    """The names in a folder."""
    return sorted(path.name for path in folder.iterdir())


def answers(root: Path, table: Path, damaged: Path | None = None) -> dict[str, object]:
    """What the readers (of the damaged file's folder) make of a storage root: a value,
    or the error told.
    """
    found: dict[str, object] = {}
    for folder, name, read in readers(root, table):
        if damaged is not None and folder not in damaged.relative_to(root).parts:
            continue
        try:
            found[name] = read()
        except ExperimentPipelineError as error:
            found[name] = error
    return found


@pytest.mark.parametrize("damage", ["cut short", "changed"])
def test_every_reader_gives_the_right_answer_or_names_the_file(
    stored, copy, damage
) -> None:
    """Each file in turn: what reads it answers as before, or with an error that names
    the file.
    """
    table = stored / "visits.csv"
    right = answers(copy, table)
    assert not [one for one in right.values() if isinstance(one, Exception)]
    unnoticed = []
    for path in files(copy):
        whole = path.read_bytes()
        path.write_bytes(DAMAGE[damage](whole))
        found = answers(copy, table, path)
        path.write_bytes(whole)
        errors = [
            one for one in found.values() if isinstance(one, ExperimentPipelineError)
        ]
        # A name or a digest that was changed in a list of files shows at the file that
        # it is of.
        culprit = path.parent if path.name in COMMITS else path
        assert all(str(culprit) in str(one) for one in errors), (path, errors)
        wrong = {
            name
            for name in found
            if found[name] != right[name] and found[name] not in errors
        }
        assert wrong <= {UNGUARDED.get(path.parent.name)}, (path, wrong)
        if not errors:
            unnoticed.append(path.relative_to(copy).parts[:2][-1])
    # A page that every run writes anew, a claim that only takes its number, the time of
    # a note, the description of a table: no answer depends on them.
    assert {"trained_model", "data_analysis", "validation_report"}.isdisjoint(unnoticed)


@pytest.mark.parametrize(("damage", "commits"), [("emptied", True), ("changed", False)])
def test_a_run_over_damaged_files_ends_with_a_whole_model(
    stored, copy, damage, commits
) -> None:
    """All that name others, or all that are named: moved away, said, made again,
    published again.
    """
    for path in files(copy):
        if (path.name in COMMITS) is commits and path.parent.name != "validation_looks":
            path.write_bytes(DAMAGE[damage](path.read_bytes()))
    done = experiment(stored)
    assert done.metadata("exported_model")["version"] == "v0002"
    assert done.metadata("search_results")["reused"] == 0
    assert Registry(UPath(copy), "clinic").model("v0002").damage() is None
    quarantine = {path.name for path in (copy / "clinic" / "damaged").iterdir()}
    # What rests on models that were trained again has another fingerprint: they cost
    # otherwise.
    assert quarantine == {"data_analysis", "trained_model", "leaderboard"}


def test_a_changed_model_is_an_error_of_the_family(stored: Path) -> None:
    """Bytes that no digest guards: skops, handed a damaged file, ends in an error or a
    model.
    """
    (path,) = (stored / "artifacts" / "clinic" / "registry" / "v0001").glob("*.skops")
    whole, refused = path.read_bytes(), 0
    for place in range(0, len(whole), len(whole) // 200):
        content = bytearray(whole)
        content[place] ^= 1 << place % 8
        with contextlib.suppress(ExperimentPipelineError):
            persistence.from_bytes(bytes(content))
            refused -= 1
        refused += 1
    assert refused > 150
