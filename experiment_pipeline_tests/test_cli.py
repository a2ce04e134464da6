"""The command line: rows as delivered in, predictions and rejected rows out, errors in
words.
"""

import importlib
import io
import json
import signal
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
from lightgbm import LGBMClassifier
from upath import UPath

from experiment_pipeline import load_model
from experiment_pipeline.cli import main
from experiment_pipeline.stages.validation_report.effects import CoverageCheck
from experiment_pipeline.storage import persistence
from experiment_pipeline.storage.processes import FreeMemory
from experiment_pipeline.storage.registry import ModelPackage, Registry
from experiment_pipeline.table.intervals import Calibrated
from experiment_pipeline_tests import exported
from experiment_pipeline_tests.command_line import command
from experiment_pipeline_tests.fresh_process import printed_by
from experiment_pipeline_tests.storage.test_registry import accept


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A storage root with one exported model."""
    folder = tmp_path_factory.mktemp("artifacts")
    Registry(UPath(folder), "flights").publish(exported.package(), accept)
    return folder


@pytest.fixture(autouse=True)
def here(root: Path, tmp_path, monkeypatch) -> Path:
    """A working directory of its own, and the storage root in the environment."""
    monkeypatch.setenv("EXPERIMENT_PIPELINE_STORAGE", str(root))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(rows: pd.DataFrame, name: str = "rows.csv") -> Path:
    """A CSV file of rows, with the delimiter of the experiment."""
    rows.to_csv(name, index=False, sep=";")
    return Path(name)


def test_rows_as_delivered_get_predictions(here: Path):
    """Each follows from probability and exported threshold; rejected rows of an earlier
    run do not stay.
    """
    (here / "predictions.rejected.csv").write_text("old")
    result = command("predict", "flights", written(exported.delivered(60)))
    assert result.exit_code == 0, result.output
    assert "predicted        60 rows  predictions.csv" in result.output
    predictions = pd.read_csv("predictions.csv")
    assert list(predictions.columns) == [
        *("row_number", "flight", "day", "prediction", "probability_yes")
    ]
    assert predictions["row_number"].tolist() == list(range(60))
    said, probability = (
        predictions["prediction"] == "yes",
        predictions["probability_yes"],
    )
    assert ((probability >= 0.4) == said).all()
    assert (said & (probability < 0.5)).any()
    assert pd.read_csv("predictions.rejected.csv").empty


def test_a_program_reads_what_was_predicted_as_json():
    """How many rows, by which model, and where they are."""
    table = written(exported.delivered(4).assign(carrier="ZZ"))
    seen = "carrier: 4 rows with a category that training did not see: 'ZZ' (4)"
    assert f"allowed   {seen}" in command("predict", "flights", table).output
    told = json.loads(command("predict", "flights", table, "--json").output)
    assert told.pop("notes") == [seen]
    assert told == {
        "model": "flights v0001",
        "predicted": 4,
        "rejected": 0,
        "reasons": [],
        "drift": [],
        "output": "predictions.csv",
        "rejected_output": "predictions.rejected.csv",
    }


def test_rejected_rows_come_with_their_reasons():
    """A row that breaks the schema gets no prediction, and is kept as it was
    delivered.
    """
    raw = exported.delivered(10)
    raw.loc[3, "distance"] = -5.0
    raw["day"] = raw["day"].astype(object)
    raw.loc[7, "day"] = "tomorrow"
    result = command("predict", "flights", written(raw))
    assert "rejected          2 rows  predictions.rejected.csv" in result.output
    why = (
        "because   day: is not a date in a declared format (1 row, most often "
        "'tomorrow' (1))"
    )
    assert why in result.output
    rejected = pd.read_csv("predictions.rejected.csv")
    assert rejected["row_number"].tolist() == [3, 7]
    assert rejected["distance"].iloc[0] == -5.0
    assert rejected["rejection_reasons"].str.contains(r"distance|tomorrow").all()
    assert set(pd.read_csv("predictions.csv")["row_number"]) == set(range(10)) - {3, 7}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            "distance\n1\n",
            "lacks 2 of the 3 columns that the model reads: 'carrier', 'day'",
        ),
        ("day;distance;carrier\n", "no rows"),
        ("day;distance;carrier\n2013-05-01 10:00;-1;AA\n", "all 1 rows break it"),
        ("<html></html>", "HTML"),
    ],
)
def test_what_cannot_be_predicted_is_said_on_one_screen(table: str, message: str):
    """Exit code 1, culprit, rule and fix, no stack, and no output file."""
    Path("rows.csv").write_text(table)
    result = command("predict", "flights", "rows.csv")
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert message in result.output
    assert "Traceback" not in result.output
    assert len(result.output.splitlines()) < 10
    assert not Path("predictions.csv").exists()


def forged_text(content: bytes) -> bytes:
    """The skops file with one number of a LightGBM text changed."""
    with (
        zipfile.ZipFile(io.BytesIO(content)) as old,
        zipfile.ZipFile(made := io.BytesIO(), "w") as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name).replace(b"left_child=", b"left_child=9"))
    return made.getvalue()


FORGED: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "text of LightGBM": ("model.skops", forged_text),
    "no archive": ("model.skops", lambda _: b"PK"),
    "other estimator": (
        "model.skops",
        lambda _: persistence.to_bytes(exported.prepared),
    ),
    "types": ("trusted_types.json", lambda _: b"{"),
    "signature": ("signature.json", lambda old: old.replace(b"distance", b"distanse")),
    "predictions": ("expected_predictions.json", lambda _: b"[]"),
    "another answer": (
        "expected_predictions.json",
        lambda old: old.replace(b"0.", b"0.9"),
    ),
    "example": ("input_example.json", lambda _: b"{}"),
    "schema": ("schema.yaml", lambda _: b"columns: [1]"),
    "preparation": ("preparation.yaml", lambda _: b"\xff"),
}


@pytest.mark.parametrize("kind", FORGED)
def test_a_forged_file_is_an_error_in_words(kind: str, boosted: ModelPackage, tmp_path):
    """Whatever stands in a version's files, also under a new manifest, ends the command
    as an error does.
    """
    name, change = FORGED[kind]
    files = {**boosted.files, name: change(boosted.files[name])}
    forged = ModelPackage(**{**vars(boosted), "files": files})
    published = Registry(UPath(tmp_path), "flights").publish(forged, accept)
    result = command("predict", published.path, written(exported.delivered(5)))
    assert (result.exit_code, type(result.exception)) == (1, SystemExit), result.output
    assert result.output.startswith("Error: ")


@pytest.fixture(scope="module")
def boosted() -> ModelPackage:
    """A model of LightGBM."""
    model = LGBMClassifier(n_estimators=2, num_leaves=4, verbose=-1, n_jobs=1)
    return exported.package(exported.fitted(model=model))


def test_a_model_larger_than_memory_is_not_loaded(monkeypatch):
    """What its files unpack to is known before they are."""
    free = FreeMemory(1_000, "ulimit -v")
    monkeypatch.setattr(persistence, "free_memory", lambda: free)
    result = command("predict", "flights", written(exported.delivered(5)))
    assert result.exit_code == 1
    assert "beyond ulimit -v (1,000 are free)" in result.output


@pytest.fixture
def own_code(here: Path, monkeypatch) -> Iterator[ModuleType]:
    """A module of a user's own: an estimator and a preparation function."""
    (here / "own_code_of_a_user.py").write_text(
        "from sklearn.linear_model import LogisticRegression\n\n\n"
        "class Own(LogisticRegression):\n    '''Its own.'''\n\n\n"
        "def same(table):\n    return table\n"
    )
    monkeypatch.syspath_prepend(here)
    yield importlib.import_module("own_code_of_a_user")
    del sys.modules["own_code_of_a_user"]


def test_own_code_runs_only_when_it_is_named(own_code: ModuleType, here: Path):
    """A model with a user's estimator and function loads with --trust, by
    name, only.
    """
    preparation = {"types": {"day": "datetime"}, "calendar": {"day": ["hour"]}}
    experiment = exported.make_spec(
        preparation={**preparation, "function": "own_code_of_a_user:same"}
    )
    package = exported.package(exported.fitted(model=own_code.Own()), spec=experiment)
    model = Registry(UPath(here / "registry"), "flights").publish(package, accept).path
    table = written(exported.delivered(5))
    refused = command("predict", model, table)
    assert refused.exit_code == 1
    options = "--trust own_code_of_a_user.Own --trust own_code_of_a_user:same"
    assert f"add {options}" in refused.output
    trusted = command("predict", model, table, *options.split())
    assert trusted.exit_code == 0, trusted.output


@pytest.mark.parametrize(
    ("table", "options"),
    [
        ("rows.csv", "--output predictions.xlsx"),
        ("rows.csv", "--output in/../rows.csv"),
        ("rows.csv", "--rejected in/../rows.csv"),
        ("rows.csv", "--output predictions.csv --rejected in/../predictions.csv"),
        ("link.csv", "--output rows.csv"),
        ("rows.csv", "--output link.csv"),
        ("file://{here}/rows.csv", "--output rows.csv"),
        ("r*.csv", "--output results.csv"),
        ("in", "--output linked/predictions.csv"),
    ],
)
def test_an_output_that_cannot_be_is_refused(table: str, options: str, here: Path):
    """Another format, the table by any of its names, and a place from which it is read
    are none.
    """
    (here / "in").mkdir()
    before = written(exported.delivered(5)).read_bytes()
    written(exported.delivered(5), "in/part.csv")
    (here / "link.csv").symlink_to("rows.csv")
    (here / "linked").symlink_to("in")
    left = sorted(here.rglob("*"))
    result = command("predict", "flights", table.format(here=here), *options.split())
    assert (result.exit_code, sorted(here.rglob("*"))) == (1, left), result.output
    assert result.output.startswith("Error: ")
    assert (
        (here / "rows.csv").read_bytes()
        == before
        == (here / "in/part.csv").read_bytes()
    )


def test_an_output_beside_the_table_is_allowed(here: Path):
    """A name that the pattern does not match, and a folder beside the table's, are no
    part of it.
    """
    (here / "in").mkdir()
    written(exported.delivered(5), "in/part.csv")
    for table, to in (
        ("in", "in.csv"),
        ("in/p*.csv", "in/out.csv"),
        ("in/part.csv", "in/p.csv"),
    ):
        done = command("predict", "flights", table, "--output", to)
        assert done.exit_code == 0, done.output


def test_a_terminated_command_ends_as_an_interrupted_one(monkeypatch):
    """SIGTERM, as of a scheduler, is an exception: what has begun is cleared away on
    its way.
    """
    set_by = dict[int, Callable[..., object]]()
    monkeypatch.setattr(signal, "signal", set_by.__setitem__)
    command("predict", "flights", written(exported.delivered(2)))
    with pytest.raises(SystemExit) as ended:
        set_by[signal.SIGTERM](signal.SIGTERM, None)
    assert ended.value.code == 128 + signal.SIGTERM


def test_the_command_loads_nothing_before_it_needs_it():
    """`--version` answers without pandas, scikit-learn or Dagster."""
    code = (
        "import sys\nfrom experiment_pipeline.cli import main\n"
        "try:\n    main(['--version'])\nexcept SystemExit as end:\n    assert not "
        "end.code\n"
        "assert not {'pandas', 'sklearn', 'dagster'} & set(sys.modules)\n"
    )
    assert "experiment-pipeline, version" in printed_by(code)


def test_contributions_and_kept_columns_stand_beside_the_predictions():
    """Kept are also columns that are excluded, or that training did not have: these as
    they are written.
    """
    raw = exported.delivered(12).assign(customer="007", prediction="old")
    keep = ("--explain", 2, "--keep", "customer, delay,flight,prediction")
    result = command("predict", "flights", written(raw), *keep)
    assert result.exit_code == 0, result.output
    found = pd.read_csv("predictions.csv", dtype="str")
    parts = [
        f"{what}_{k}" for k in (1, 2) for what in ("feature", "value", "contribution")
    ]
    before = ["row_number", "flight", "day", "customer", "delay", "original_prediction"]
    assert list(found.columns) == [*before, "prediction", "probability_yes", *parts]
    assert found["customer"].tolist() == ["007"] * 12
    wrong = command("predict", "flights", "rows.csv", "--keep", "custmer")
    assert "column custmer: is in `keep`, but not in the table" in wrong.output


def test_sets_that_hold_a_share_of_rows_stand_beside_the_predictions(here: Path):
    """By the bounds of the version; a coverage that it does not know, or a version
    without, is an error.
    """
    rows = written(exported.delivered(12))
    known = CoverageCheck(0.9, Calibrated(100, {90: (0.6, 0.3)}, None, ("yes", "no")))
    published = Registry(UPath(here), "sets").publish(
        exported.package(coverage=known), accept
    )
    result = command("predict", published.path, rows, "--interval", 0.9, "--explain", 1)
    assert result.exit_code == 0, result.output
    found = pd.read_csv("predictions.csv")
    assert list(found.columns)[4:6] == ["probability_yes", "prediction_set"]
    sets, p = found["prediction_set"].map(json.loads), found["probability_yes"]
    assert sets.map(lambda one: "yes" in one).tolist() == (p >= 0.6).tolist()
    assert sets.map(lambda one: "no" in one).tolist() == (1 - p >= 0.3).tolist()
    for name, asked, most in ((published.path, 1, 90), ("flights", 0.9, 0)):
        refused = command("predict", name, rows, "--interval", asked)
        assert f"for 50 to {most} % of rows" in refused.output
    again = load_model(published.path).predict_interval(exported.delivered(12))
    assert (
        again.predictions["prediction_set"].tolist() == found["prediction_set"].tolist()
    )


def test_every_command_answers_programs():
    """With --json; but for those that print JSON anyway, or serve pages or agents."""
    without = {
        name
        for name, command in main.commands.items()
        if "--json" not in {option for param in command.params for option in param.opts}
    }
    assert without == {"json-schema", "lab", "reports"}


def test_the_json_schemas_describe_both_files():
    """Each as JSON, with the key that its file must have."""
    for name, key in (("defs.yaml", "attributes"), ("schema.yaml", "columns")):
        result = command("json-schema", name)
        assert result.exit_code == 0
        assert key in json.loads(result.output)["required"]


def test_the_list_of_commands_has_whole_sentences():
    """None is cut at the width of a console."""
    output = command("--help", terminal_width=80).output
    assert "..." not in output.partition("Commands:")[2]
    assert "the oldest first, and who approved them." in " ".join(output.split())


@pytest.mark.usefixtures("storage")
def test_an_empty_id_names_no_run():
    """A variable of a script that is not set must not show just any run."""
    for arguments in (("show", ""), ("compare", " ", "x")):
        refused = command(*arguments)
        assert refused.exit_code == 1
        assert "is no run id" in refused.output
