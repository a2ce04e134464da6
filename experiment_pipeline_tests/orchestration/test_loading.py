"""A broken experiment among others: the others are there, and its error stands in its place."""

from pathlib import Path

import dagster as dg
import pytest
from click import ClickException

from experiment_pipeline.orchestration.component import VALIDATION
from experiment_pipeline.spec.reading import MOST_REPEATED
from experiment_pipeline_tests.orchestration.folder import YAML, ExperimentsFolder
from experiment_pipeline_tests.spec.test_reading import bomb

# Dagster reads component files through pydantic's old interface.
pytestmark = pytest.mark.filterwarnings("ignore:`parse_obj_as` is deprecated")

BROKEN = {
    "a wrong key": (YAML.replace("target", "targt"), "defs.yaml:5: targt: unknown key"),
    "no YAML": (YAML.replace("late", "[late"), "defs.yaml:6: is not YAML"),
    "a wrong type": (YAML.replace(".Experiment", ".Experimnt"), "defs.yaml:1: type: there is no"),
    "another encoding": (YAML.encode("utf-16"), "is not UTF-8 text"),
    "a key outside": (YAML.replace("attributes", "atributes"), "did you mean 'attributes'"),
    "aliases": (f"type: a.B\nattributes:\n{bomb(10)}", f"repeat more than {MOST_REPEATED:,}"),
    "a control character": (YAML.replace("late", "la\x01te"), "defs.yaml:5: is not YAML"),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ExperimentsFolder:
    """A sound experiment, in the folder where the command runs."""
    monkeypatch.chdir(tmp_path)
    folder = ExperimentsFolder(tmp_path)
    folder.write(YAML, "sound")
    return folder


def stages(definitions: dg.Definitions, name: str) -> int:
    keys = definitions.resolve_asset_graph().get_all_asset_keys()
    return sum(key.path[0] == name for key in keys)


@pytest.mark.parametrize("what", BROKEN)
def test_one_broken_experiment_takes_no_other_along(folder, what: str) -> None:
    """The sound one has its job and its assets; the broken one's job says what is wrong."""
    text, message = BROKEN[what]
    folder.write(text, "broken")
    definitions = folder.definitions()
    assert stages(definitions, "sound") > 10
    assert stages(definitions, "broken") == 1
    assert definitions.resolve_job_def("sound")
    assert message in definitions.resolve_job_def("broken").description


def test_the_run_of_a_broken_experiment_fails_with_its_error(folder) -> None:
    """Who starts its job is told what to correct."""
    folder.write(YAML.replace("target", "targt"), "broken")
    job = folder.definitions().resolve_job_def("broken")
    with dg.instance_for_test() as instance:
        result = job.execute_in_process(instance=instance, raise_on_error=False)
    (event,) = [event for event in result.all_events if event.is_step_failure]
    said = event.step_failure_data.user_failure_data.description
    assert said.startswith("InvalidExperiment: ")
    assert "broken/defs.yaml:5: targt: unknown key" in said


def test_sound_experiments_leave_no_trace(folder) -> None:
    """Where nothing is wrong, nothing stands in anybody's place."""
    folder.write(YAML, "deeper/other")
    assert sorted(job.name for job in folder.definitions().jobs) == ["other", "sound"]


def test_the_errors_are_said_when_they_are_loaded_and_only_once(folder, capsys) -> None:
    """The log names the experiment, its file and line; Dagster loads more than once."""
    folder.write(YAML.replace("target", "targt"), "broken")
    for _ in range(2):
        folder.definitions()
    said = capsys.readouterr().err
    assert said.count("broken is left out: ") == 1
    assert "broken/defs.yaml:5: targt: unknown key" in said


def test_a_check_fails_with_every_error(folder, monkeypatch) -> None:
    """`dg check defs` may not pass over an experiment that is left out."""
    folder.write(YAML.replace("target", "targt"), "broken")
    folder.write(YAML.replace("late", "[late"), "unreadable")
    monkeypatch.setenv(VALIDATION, "1")
    with pytest.raises(ClickException) as caught:
        folder.definitions()
    assert "broken/defs.yaml:5: targt" in caught.value.message
    assert "unreadable/defs.yaml:6: is not YAML" in caught.value.message


def test_a_broken_experiment_deep_in_a_folder_leaves_its_neighbours(folder) -> None:
    """Only the folder that cannot be read is left out, not those around it."""
    folder.write(YAML.replace("late", "[late"), "team/clinic/broken")
    folder.write(YAML, "team/clinic/neighbour")
    names = {job.name for job in folder.definitions().jobs}
    assert names == {"sound", "neighbour", "broken"}


def test_experiments_of_one_name_are_both_left_out(folder) -> None:
    """The name would not say which of them is meant; the third one runs."""
    folder.write(YAML, "visits")
    folder.write(YAML, "clinic/visits")
    definitions = folder.definitions()
    assert "visits is also the one of" in definitions.resolve_job_def("visits").description
    assert {job.name for job in definitions.jobs} == {"sound", "visits"}


def test_a_folder_whose_name_no_job_can_have_is_told_all_the_same(folder) -> None:
    """The job in its place has a name like it."""
    folder.write(YAML, "my-visits")
    job = folder.definitions().resolve_job_def("experiment_my_visits")
    assert "letters, digits and _" in job.description


def test_the_file_of_all_experiments_cannot_be_left_out(folder) -> None:
    """Where `defs/` itself has a file that cannot be read, there is nothing to load."""
    (folder.defs / "defs.yaml").write_text("type: [")
    with pytest.raises(ClickException, match=r"defs\.yaml:\d: is not YAML"):
        folder.definitions()


CSV = "visit,late\n1,0\n2,1\n"
EXCLUDING = YAML + "  exclude:\n    vist: names the visit\n"


def test_a_column_that_is_not_there_is_told_when_it_is_loaded(folder, tmp_path, capsys) -> None:
    """With its line and the likely name; tables change, so the experiment stays."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/visits.csv").write_text(CSV)
    folder.write(EXCLUDING, "wrong")
    definitions = folder.definitions()
    assert stages(definitions, "wrong") > 10
    said = capsys.readouterr().err
    assert "wrong does not fit its table: " in said
    assert "wrong/defs.yaml:13: exclude.vist: the table has no column 'vist'; did you mean" in said
    assert "sound" not in said


def test_a_check_fails_for_a_column_that_is_not_there(folder, tmp_path, monkeypatch) -> None:
    """The same line, and what the schema requires of the table, with its own."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/visits.csv").write_text(CSV)
    folder.write(EXCLUDING, "wrong")
    folder.write(YAML, "another", schema="columns:\n  late: {}\n  lote: {}\n")
    monkeypatch.setenv(VALIDATION, "1")
    with pytest.raises(ClickException) as caught:
        folder.definitions()
    assert "wrong/defs.yaml:13: exclude.vist" in caught.value.message
    assert "another/schema.yaml:3: columns.lote: the table lacks" in caught.value.message


def test_a_table_that_is_not_there_is_for_the_run_to_say(folder, monkeypatch) -> None:
    """Definitions load, and a check passes, where the data has not come yet."""
    folder.write(EXCLUDING, "early")
    monkeypatch.setenv(VALIDATION, "1")
    assert stages(folder.definitions(), "early") > 10
