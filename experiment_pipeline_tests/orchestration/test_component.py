"""The YAML door: what it lets through, the line it says to everything else, and who
stays out of it.
"""

import re
from pathlib import Path

import dagster as dg
import pytest
from click import ClickException

from experiment_pipeline.experiment import files
from experiment_pipeline.orchestration.component import VALIDATION, Experiment
from experiment_pipeline.spec.experiment import defs_yaml_schema
from experiment_pipeline_tests.end_to_end.project import Project
from experiment_pipeline_tests.orchestration.folder import (
    SCHEMA,
    YAML,
    ExperimentsFolder,
)

# Dagster reads component files through pydantic's old interface.
pytestmark = pytest.mark.filterwarnings("ignore:`parse_obj_as` is deprecated")


@pytest.fixture
def folder(tmp_path, monkeypatch) -> ExperimentsFolder:
    """An empty folder of experiments, which is also where the command runs."""
    monkeypatch.chdir(tmp_path)
    return ExperimentsFolder(tmp_path)


def told(folder: ExperimentsFolder) -> str:
    """What a command that checks says before it exits, without the way to the
    folder.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VALIDATION, "1")
        with pytest.raises(ClickException) as caught:
            folder.load()
    return caught.value.message.replace(f"{folder.package}/defs/", "")


def test_a_folder_becomes_an_experiment(folder: ExperimentsFolder):
    """The folder's name, its YAML and its schema make the experiment."""
    folder.write(YAML)
    experiment = folder.load().named
    assert experiment.spec.name == "visits"
    assert experiment.spec.data.url == "data/visits.csv"
    assert experiment.schema_text == SCHEMA


def also(setting: str) -> str:
    """The experiment with another setting, which stands on line 12."""
    return f"{YAML}  {setting}\n"


def instead(right: str, wrong: str) -> str:
    """The experiment with other words at one place."""
    return YAML.replace(right, wrong, 1)


DATA = "data/visits.csv"
GUIDE = (Path(__file__).parents[2] / "docs/guides/own_project.md").read_text()
IMPUTER = "sklearn.impute:SimpleImputer"
WRONG = [
    (
        instead("target", "targt"),
        "3: target: is missing",
        "defs.yaml:5: targt: unknown key",
    ),
    (instead("binary", "binry"), "6: task: 'binry' should", "did you mean 'binary'?"),
    (instead("num_leaves", "num_leavs"), "11: configuration lightgbm", "'num_leaves'"),
    # Whichever value it is, by the library's own limits.
    (instead("31", "-7"), "11: configuration light", "fix: write a number from 2 to"),
    (instead("lightgbm", "sklearn.svm.SVX"), "9: algorithm sklearn.svm.SVX", "no SVX"),
    (instead(".Experiment", ".Experimnt"), "1: type: there is no", "experiment is"),
    (
        instead("experiment_p", "experimnt_p"),
        "1: type: there is no",
        "install the package",
    ),
    (
        also(f"features: {{transformer: {IMPUTER}, arguments: {{f: 1}}}}"),
        "12: ",
        "'strategy'",
    ),
    # What would stop the whole code location, in Dagster's words.
    (also("schedule: daily"), "12: schedule: Found invalid cron schedule", ""),
    (also("owners: [ml]"), "12: owners: ", ""),
    (also("tags: {tier: a b}"), "12: tags: ", ""),
    (also("freshness: {fail_after: 5 s}"), "12: freshness: ", ""),
    # Only names of variables that are set are filled in.
    (
        instead(DATA, "'{{ env.NO }}'"),
        "4: data: ",
        "the environment variable NO is not set",
    ),
    # Dagster would fill these in; as texts they would be used in silence.
    (instead(DATA, "'{{ my_table }}'"), "4: data: '{{ my_table }}", "{{ env.NAME }}"),
    (
        "template_vars_module: .vars\n" + instead("late", "'{{ label }}'"),
        "6: target: '{{ label }}",
        "is not a template",
    ),
]


@pytest.mark.parametrize(
    ("text", "begins", "holds"), WRONG, ids=[one[1] for one in WRONG]
)
def test_an_error_begins_with_file_and_line(folder, text, begins, holds):
    """Whatever is wrong, the first words are where to look, and there is no stack."""
    folder.write(text)
    message = told(folder)
    assert message.startswith(f"visits/defs.yaml:{begins}")
    assert holds in " ".join(message.split())
    assert len(message.splitlines()) <= 4


def test_a_schema_is_judged_when_it_is_loaded(folder):
    """What a run would stumble over is said before one starts, with file and line."""
    folder.write(YAML, schema="columns:\n  late: {dtype: int46}\n")
    assert told(folder).startswith("visits/schema.yaml:2: columns.late.dtype: 'int46'")


@pytest.mark.parametrize(
    ("key", "setting", "extra"),
    [
        (
            "mlflow",
            'mlflow: {tracking_uri: "{{ env.TRACKER }}", experiment: flights}',
            "mlflow",
        ),
        ("engine", "engine: {dask: local}", "dask"),
    ],
)
def test_an_extra_is_asked_for_at_its_key(folder, monkeypatch, key, setting, extra):
    """With what to install, before a run has read the table; an address keeps its
    secret.
    """
    monkeypatch.setenv("TRACKER", "http://me:hunter2@127.0.0.1:5000")
    folder.write(f"{YAML}  {setting}\n")
    spec = folder.load().named.spec
    assert getattr(spec, key) is not None
    assert (
        "hunter2"
        not in f"{spec} {spec.model_dump()} {spec.mlflow and spec.mlflow.shown_uri}"
    )
    monkeypatch.setattr(files, "find_spec", lambda _: None)
    message = told(folder)
    assert (
        f"{key}: needs a package; pip install 'experiment-pipeline[{extra}]'" in message
    )


def test_yaml_means_what_people_write(folder: ExperimentsFolder, monkeypatch):
    """Quoted texts stay texts, also '1' and {{x}}; yes may be a text, off a switch;
    variables are filled in.
    """
    monkeypatch.setenv("BUCKET", "clinic")
    monkeypatch.setenv("WORKERS", "3")
    text = YAML.replace(DATA, '"s3://{{ env.BUCKET }}/visits.csv"').replace(
        "late", '"{{x}}"'
    )
    settings = [
        "record: {purpose: '1'}",
        "positive_class: yes",
        "halving: off",
        "calibrate: off",
    ]
    settings += ['workers: "{{ env.WORKERS }}"']
    settings += ["""schedule: "{{ env('NOBODY_SETS_IT', '0 7 * * *') }}\""""]
    folder.write(text + "".join(f"  {one}\n" for one in settings))
    spec = folder.load().named.spec
    assert (spec.target, spec.record.purpose, spec.positive_class) == (
        "{{x}}",
        "1",
        "yes",
    )
    assert (spec.halving, spec.calibrate) == (None, "off")
    assert (spec.data.url, spec.workers) == ("s3://clinic/visits.csv", 3)
    assert spec.schedule == "0 7 * * *"
    assert spec.shown_source == "s3://{{ env.BUCKET }}/visits.csv"


def test_types_of_the_two_files_must_agree(folder: ExperimentsFolder):
    """Read as a number, a column that the schema makes a text would be a text for the
    models.
    """
    types = "{late: integer, when: datetime, paid: number, code: text, size: integer}"
    fitting = (
        "paid: {dtype: int64}\n  code: {dtype: category}\n  size: {dtype: category}\n"
    )
    folder.write(
        f"{YAML}  preparation:\n    types: {types}\n", schema=f"{SCHEMA}  {fitting}"
    )
    assert folder.load().named.spec.preparation.types["paid"] == "number"
    (folder.defs / "visits" / "schema.yaml").write_text(
        f"{SCHEMA}  {fitting}  when: {{dtype: str}}\n".replace(
            "paid: {dtype: int64", "paid: {dtype: str"
        )
    )
    paid, when = (
        line.partition("types.")[2] for line in sorted(told(folder).splitlines()[:2])
    )
    assert (
        paid
        == "paid: it is read as number, but visits/schema.yaml:3 makes it text; write one type in both"
    )
    assert when.startswith(
        "when: it is read as datetime, but visits/schema.yaml:6 makes it text"
    )


def test_a_bug_keeps_its_stack(folder: ExperimentsFolder, monkeypatch):
    """Only the project's own errors are told in one line."""
    folder.write(YAML)

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("experiment_pipeline.experiment.files._check_search", broken)
    with pytest.raises(Exception, match="Error while loading component") as caught:
        folder.load()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_every_key_is_published_and_the_spec_judges():
    """Editors and Dagster see the schema of all keys; the model behind it takes every
    key.
    """
    model = Experiment.get_model_cls()
    assert model.model_json_schema() == defs_yaml_schema()
    assert model.model_validate({"anything": [1, {"a": None}]}).model_extra


BROKEN = {
    "a wrong key": (YAML.replace("target", "targt"), "defs.yaml:5: targt: unknown key"),
    "another encoding": (YAML.encode("utf-16"), "defs.yaml:1: is not YAML in UTF-8"),
}


@pytest.fixture
def sound(folder: ExperimentsFolder) -> ExperimentsFolder:
    """The folder with a sound experiment in it."""
    folder.write(YAML, "sound")
    return folder


def stages(definitions: dg.Definitions, name: str) -> int:
    keys = definitions.resolve_asset_graph().materializable_asset_keys
    return sum(key.path[0] == name for key in keys)


@pytest.mark.parametrize("what", BROKEN)
def test_one_broken_experiment_takes_no_other_along(sound, what: str):
    """The sound one has its job and its assets; the broken one's job says what is
    wrong.
    """
    text, message = BROKEN[what]
    sound.write(text, "broken")
    definitions = sound.definitions()
    assert stages(definitions, "sound") > 10
    assert stages(definitions, "broken") == 1
    assert definitions.resolve_job_def("sound")
    assert message in definitions.resolve_job_def("broken").description


def test_the_run_of_a_broken_experiment_fails_with_its_error(sound):
    """Who starts its job is told what to correct."""
    sound.write(YAML.replace("target", "targt"), "broken")
    job = sound.definitions().resolve_job_def("broken")
    with dg.instance_for_test() as instance:
        result = job.execute_in_process(instance=instance, raise_on_error=False)
    (event,) = [event for event in result.all_events if event.is_step_failure]
    said = event.step_failure_data.user_failure_data.description
    assert said.startswith("InvalidExperiment: ")
    assert "broken/defs.yaml:5: targt: unknown key" in said


def test_the_errors_are_said_when_they_are_loaded_and_only_once(sound, capsys):
    """The log names experiment, file and line; `dg check defs` fails with each that is
    left out.
    """
    sound.write(YAML.replace("target", "targt"), "broken")
    for _ in range(2):
        sound.definitions()
    said = capsys.readouterr().err
    assert said.count("broken is left out: ") == 1
    assert "broken/defs.yaml:5: targt: unknown key" in said
    sound.write(YAML.replace("late", "[late"), "unreadable")
    message = told(sound)
    assert "broken/defs.yaml:5: targt" in message
    assert "unreadable/defs.yaml:5: is not YAML: this [ is not closed" in message


def test_experiments_of_one_name_are_both_left_out(sound):
    """The name would not say which of them is meant; the third one runs."""
    sound.write(YAML, "visits")
    sound.write(YAML, "clinic/visits")
    definitions = sound.definitions()
    assert (
        "has the same name: visits" in definitions.resolve_job_def("visits").description
    )
    assert {job.name for job in definitions.jobs} == {"sound", "visits"}


def test_a_folder_whose_name_no_job_can_have_is_told_all_the_same(sound):
    """The job in its place has a name like it."""
    sound.write(YAML, "my-visits")
    job = sound.definitions().resolve_job_def("experiment_my_visits")
    assert "letters, digits and _" in job.description


def test_the_file_of_all_experiments_cannot_be_left_out(sound):
    """Where `defs/` itself has a file that cannot be read, there is nothing to load."""
    (sound.defs / "defs.yaml").write_text("type: [")
    with pytest.raises(ClickException, match=r"defs\.yaml:\d: is not YAML"):
        sound.definitions()


EXCLUDING = YAML + "  exclude:\n    vist: names the visit\n"


def test_a_missing_column_is_told_when_it_is_loaded(sound, tmp_path, capsys):
    """With its line and the likely name, and the experiment stays; a check fails, also
    for the schema.
    """
    (tmp_path / "data").mkdir()
    (tmp_path / "data/visits.csv").write_text("visit,late\n1,0\n2,1\n")
    sound.write(EXCLUDING, "wrong")
    assert stages(sound.definitions(), "wrong") > 10
    said = capsys.readouterr().err
    assert "wrong does not fit its table: " in said
    assert (
        "wrong/defs.yaml:13: exclude.vist: the table has no column 'vist'; did you mean"
        in said
    )
    assert "sound" not in said
    sound.write(YAML, "another", schema="columns:\n  late: {}\n  lote: {}\n")
    message = told(sound)
    assert "wrong/defs.yaml:13: exclude.vist" in message
    assert "another/schema.yaml:3: columns.lote: the table lacks" in message


def test_a_table_that_is_not_there_is_for_the_run_to_say(sound, monkeypatch):
    """Definitions load, and a check passes, where the data has not come yet."""
    sound.write(EXCLUDING, "early")
    monkeypatch.setenv(VALIDATION, "1")
    assert stages(sound.definitions(), "early") > 10


@pytest.mark.slow
def test_the_command_of_the_guide_says_the_line(tmp_path):
    """It ends with 1, and with file and line in place of a stack."""
    project = Project(tmp_path)
    path = project.add_experiment("visits", {"target": "late"}, SCHEMA)
    with path.open("a") as file:
        file.write("  metric: [rmse\n  gates: {}\n")
    command = next(
        line.split() for line in GUIDE.splitlines() if "dg check defs -" in line
    )
    checked = project.run(*command)
    assert checked.returncode == 1
    said = checked.stdout.splitlines()
    (first,) = [line for line in said if "is not YAML" in line]
    assert re.search(rf"{path.name}:4: is not YAML: this \[ is not", first)
    assert len(said) < 40
    assert not any("yaml/parser.py" in line for line in said)
