"""The YAML door: what it lets through, and the one line it says to everything else."""

import importlib.util
from pathlib import Path

import pytest
from click import ClickException
from pydantic import BaseModel

from experiment_pipeline.orchestration import component
from experiment_pipeline.orchestration.component import VALIDATION, Experiment
from experiment_pipeline.spec.json_schema import defs_yaml_schema
from experiment_pipeline_tests.end_to_end.project import Project
from experiment_pipeline_tests.orchestration.folder import SCHEMA, YAML, ExperimentsFolder

# Dagster reads component files through pydantic's old interface.
pytestmark = pytest.mark.filterwarnings("ignore:`parse_obj_as` is deprecated")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ExperimentsFolder:
    """An empty folder of experiments, which is also where the command runs."""
    monkeypatch.chdir(tmp_path)
    return ExperimentsFolder(tmp_path)


def told(folder: ExperimentsFolder) -> str:
    """What a command that checks says before it exits, without the way to the folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VALIDATION, "1")
        with pytest.raises(ClickException) as caught:
            folder.load()
    return caught.value.message.replace(f"{folder.package}/defs/", "")


def test_a_folder_becomes_an_experiment(folder: ExperimentsFolder) -> None:
    """The folder's name, its YAML and its schema make the experiment."""
    folder.write(YAML)
    experiment = folder.load().named
    assert experiment.spec.name == "visits"
    assert experiment.spec.data.url == "data/visits.csv"
    assert experiment.schema_text == SCHEMA


@pytest.mark.parametrize(
    ("right", "wrong", "begins", "holds"),
    [
        ("target", "targt", "visits/defs.yaml:3: target: is missing", "defs.yaml:5: targt: unknow"),
        ("binary", "binry", "visits/defs.yaml:6: task: 'binry' is not", "did you mean 'binary'?"),
        ("num_leaves", "num_leavs", "visits/defs.yaml:11: configuration lightgbm", "'num_leaves'"),
        ("lightgbm", "sklearn.svm.SVX", "visits/defs.yaml:9: algorithm sklearn.svm.SVX", "no SVX"),
        ("roc_auc", "auc", "visits/defs.yaml:7: metric: 'auc' is not a metric", "allowed: roc_auc"),
        (".Experiment", ".Experimnt", "visits/defs.yaml:1: type: there is no", "experiment's is"),
        ("experiment_p", "experimnt_p", "visits/defs.yaml:1: type: there is no", "install the pac"),
        (
            "attributes",
            "atributes",
            "visits/defs.yaml:3: atributes: unknown",
            "did you mean 'attributes'",
        ),
        ("late", "[late", "visits/defs.yaml:6: is not YAML", "while parsing a flow sequence"),
        ("task: binary", "target: x", "visits/defs.yaml:6: target stands on line 5", "keep one"),
    ],
)
def test_an_error_begins_with_file_and_line(
    folder: ExperimentsFolder, right: str, wrong: str, begins: str, holds: str
) -> None:
    """Whatever is wrong, the first words are where to look, and there is no stack."""
    folder.write(YAML.replace(right, wrong, 1))
    message = told(folder)
    assert message.startswith(begins)
    assert holds in message
    assert len(message.splitlines()) <= 4


def test_an_extra_that_is_not_installed_is_told_with_its_line(
    folder: ExperimentsFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is read; the fix is the line that installs it."""
    find = importlib.util.find_spec
    lacking = {"catboost": None}
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *at: lacking.get(name, find(name, *at))
    )
    folder.write(YAML.replace("lightgbm", "catboost", 1))
    message = told(folder)
    assert message.startswith("visits/defs.yaml:9: algorithm catboost: the package catboost is not")
    assert 'pip install "experiment-pipeline[catboost]"' in message


@pytest.mark.parametrize(
    ("setting", "line", "holds"),
    [
        ("accept: {outlier: rare but true}", 14, "did you mean 'outliers'?"),
        ("thresholds: {outliers: 0}", 14, "write a number from 1.5 to 1e+06"),
        ("findings: ['no_such_package:late']", 14, "no_such_package cannot be imported"),
        ("findings: ['math:pi']", 14, "math:pi has no code and no thresholds and no check"),
        ("findings: [late_payments]", 14, "findings"),
    ],
)
def test_what_the_analysis_does_not_know_is_told_with_its_line(
    folder: ExperimentsFolder, setting: str, line: int, holds: str
) -> None:
    """Codes, thresholds and rules are judged when the experiment is loaded."""
    folder.write(f"{YAML}\n  analysis:\n    {setting}\n")
    message = told(folder)
    assert message.startswith(f"visits/defs.yaml:{line}: analysis.")
    assert holds in message


def test_an_empty_file_is_told_what_it_needs(folder: ExperimentsFolder) -> None:
    """A file with nothing below `attributes` is asked for every key."""
    folder.write("type: experiment_pipeline.Experiment\nattributes:\n")
    message = told(folder)
    assert message.startswith("visits/defs.yaml:2: data: is missing")
    assert message.count(": is missing") == 5


def test_another_encoding_is_named(folder: ExperimentsFolder) -> None:
    """A file that an editor saved as UTF-16 is said to be no UTF-8."""
    folder.write(YAML.encode("utf-16"))
    assert told(folder).startswith("visits/defs.yaml: is not UTF-8 text")


def test_a_second_experiment_needs_a_folder_of_its_own(folder: ExperimentsFolder) -> None:
    """Two documents in one file would share the folder's name."""
    folder.write(f"{YAML}---\n{YAML}")
    assert told(folder).startswith("visits/defs.yaml:13: holds a second document")


def test_two_folders_of_one_name_are_refused(folder: ExperimentsFolder) -> None:
    """Experiments in different folders may not share a name: their assets would collide."""
    folder.write(YAML)
    folder.write(YAML, "clinic/visits")
    assert "visits is also the one of" in told(folder)


def test_a_missing_schema_is_asked_for(folder: ExperimentsFolder) -> None:
    """An experiment without a schema does not load."""
    folder.write(YAML, schema=None)
    assert told(folder).startswith("visits/schema.yaml: is missing")


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ("columns:\n  late: {dtype: int46}\n", "visits/schema.yaml:2: columns.late.dtype: 'int46'"),
        ("columns:\n  late: {dtpe: int64}\n", "visits/schema.yaml:2: columns.late.dtpe: unknown"),
        ("columns: [\n", "visits/schema.yaml:2: is not YAML"),
    ],
)
def test_a_schema_is_judged_when_it_is_loaded(
    folder: ExperimentsFolder, schema: str, message: str
) -> None:
    """What a run would stumble over is said before one starts, with file and line."""
    folder.write(YAML, schema=schema)
    assert told(folder).startswith(message)


@pytest.mark.parametrize("there", [True, False])
def test_mlflow_needs_its_package(
    folder: ExperimentsFolder, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    """Without it the key is refused at its line, with what to install; a template names the server."""
    monkeypatch.setenv("TRACKER", "http://me:hunter2@127.0.0.1:5000")
    folder.write(YAML + '  mlflow: {tracking_uri: "{{ env.TRACKER }}", experiment: flights}\n')
    if not there:
        monkeypatch.setattr(component, "find_spec", lambda _: None)
        assert "pip install 'experiment-pipeline[mlflow]'" in told(folder)
        return
    spec = folder.load().named.spec
    assert spec.mlflow is not None
    assert spec.mlflow.tracking_uri == "http://me:hunter2@127.0.0.1:5000"
    assert "hunter2" not in f"{spec} {spec.model_dump()} {spec.mlflow.shown_uri}"


def test_a_cluster_needs_its_package(
    folder: ExperimentsFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it lacks, that is said at the key, before a run has analysed and split the table."""
    folder.write(YAML + "  engine: {dask: local}\n")
    assert folder.load().named.spec.engine is not None
    monkeypatch.setattr(component, "find_spec", lambda _: None)
    message = told(folder)
    assert "engine: needs a package" in message
    assert "pip install 'experiment-pipeline[dask]'" in message


def test_an_environment_variable_is_filled_in(
    folder: ExperimentsFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`{{ env.NAME }}` works, alone and inside a text, and a number stays one."""
    monkeypatch.setenv("BUCKET", "clinic")
    monkeypatch.setenv("WORKERS", "3")
    text = YAML.replace("data/visits.csv", '"s3://{{ env.BUCKET }}/visits.csv"')
    folder.write(f'{text}  workers: "{{{{ env.WORKERS }}}}"\n')
    spec = folder.load().named.spec
    assert (spec.data.url, spec.workers) == ("s3://clinic/visits.csv", 3)


@pytest.mark.parametrize("template", ["{{ env.NOT_SET }}", "{{ env('NOT_SET') }}"])
def test_a_variable_that_is_not_set_is_named(folder: ExperimentsFolder, template: str) -> None:
    """An unset variable is an error at its line, not an empty value."""
    folder.write(YAML.replace("data/visits.csv", f'"{template}"'))
    assert told(folder).startswith(
        "visits/defs.yaml:4: data: the environment variable NOT_SET is not set"
    )


def test_a_broken_template_is_told_its_line(folder: ExperimentsFolder) -> None:
    """A template that cannot be read is an error of the file."""
    folder.write(YAML.replace("data/visits.csv", '"{{ env.HOME | nonsense }}"'))
    assert told(folder).startswith("visits/defs.yaml:4: data: '{{ env.HOME | nonsense }}' is no")


def test_quoted_texts_stay_texts(folder: ExperimentsFolder) -> None:
    """Dagster's templates would turn '1' into a number, and fail on a column called {{x}}."""
    text = YAML.replace("late", '"{{x}}"')
    folder.write(f"{text}  positive_class: '1'\n")
    spec = folder.load().named.spec
    assert (spec.target, spec.positive_class) == ("{{x}}", "1")


@pytest.mark.parametrize(
    ("setting", "path", "fix"),
    [
        ("positive_class: yes", "positive_class", "write 'yes' for the text, or true"),
        ("positive_class: NO", "positive_class", "write 'NO' for the text, or false"),
        (
            "preparation: {missing_values: {a: [-1, off]}}",
            "preparation.missing_values.a.1",
            "'off'",
        ),
        ("split: {by: column, column: a, test: [on]}", "split.test.0", "write 'on' for the text"),
    ],
)
def test_a_word_that_yaml_takes_for_a_switch_is_no_value_of_the_table(
    folder: ExperimentsFolder, setting: str, path: str, fix: str
) -> None:
    """Who writes `positive_class: yes` means the text, and YAML reads true."""
    folder.write(f"{YAML}  {setting}\n")
    message = told(folder)
    assert message.startswith(f"visits/defs.yaml:12: {path}: unquoted, ")
    assert fix in message


@pytest.mark.parametrize(
    "setting", ["positive_class: 'yes'", "positive_class: true", "halving: off", "ensemble: on"]
)
def test_quoted_words_and_switches_are_left_alone(folder: ExperimentsFolder, setting: str) -> None:
    """Where a switch is meant, every word of YAML's for it will do."""
    folder.write(f"{YAML}  {setting}\n")
    assert folder.load().named.spec.task == "binary"


@pytest.mark.parametrize("values", ["[7, seven]", "[seven, 7]", "0,1"])
def test_a_text_for_a_number_is_told_with_its_line(folder: ExperimentsFolder, values: str) -> None:
    """Whichever of its values it is: it would fail when it is fitted."""
    folder.write(YAML.replace("[15, 31]", values))
    message = told(folder)
    assert message.startswith("visits/defs.yaml:11: configuration lightgbm")
    assert "is a text, and 'num_leaves' takes none" in message


def test_a_bug_keeps_its_stack(folder: ExperimentsFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the project's own errors are told in one line."""
    folder.write(YAML)

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("experiment_pipeline.orchestration.component._check_search", broken)
    with pytest.raises(Exception, match="Error while loading component") as caught:
        folder.load()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_every_key_is_published_and_the_spec_judges() -> None:
    """Editors and Dagster see the schema of all keys; the model behind it takes every key."""
    model = Experiment.get_model_cls()
    assert issubclass(model, BaseModel)
    assert model.model_json_schema() == defs_yaml_schema()
    assert model.model_validate({"anything": [1, {"a": None}]}).model_extra


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ("dagster", "job", "execute", "-m", "experiment_pipeline.definitions", "-j", "visits"),
        ("dg", "check", "defs", "--no-check-yaml"),
    ],
    ids=" ".join,
)
def test_every_command_says_the_same_line(tmp_path: Path, command: tuple[str, ...]) -> None:
    """Both CLIs end with 1 and the same line; in place of a stack there is file and line."""
    project = Project(tmp_path)
    path = project.add_experiment("visits", {"target": "late", "taks": "binary"}, SCHEMA)
    done = project.run(*command)
    assert done.returncode == 1
    assert f"{path.relative_to(tmp_path)}:4: taks: unknown key 'taks'; did you mean" in done.stdout
    assert "pydantic" not in done.stdout
    assert "Traceback" not in done.stdout
    assert len(done.stdout.splitlines()) < 25


@pytest.mark.slow
def test_dagsters_own_check_tells_a_wrong_key_with_its_line(tmp_path: Path) -> None:
    """`dg check defs` begins with it, in Dagster's words: file, line, and the key."""
    project = Project(tmp_path)
    path = project.add_experiment("visits", {"target": "late", "taks": "binary"}, SCHEMA)
    done = project.run("dg", "check", "defs")
    assert done.returncode == 1
    assert f"{path}:4 - " in done.stdout
    assert "('taks' was unexpected)" in done.stdout
    assert "Traceback" not in done.stdout
