"""Settings in a notebook: what completes, and what `help` lists."""

import inspect
import pydoc

import pytest

import experiment_pipeline as ep
from experiment_pipeline.experiment.settings import UNSET
from experiment_pipeline.spec.experiment import ExperimentSpec
from experiment_pipeline_tests.experiment import keys_stub


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """IPython, in which the package is imported."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    module = pytest.importorskip("IPython.core.interactiveshell")
    shell = module.InteractiveShell()
    shell.run_cell("import experiment_pipeline as ep")
    return shell


@pytest.mark.parametrize("function", [ep.run, ep.explore])
def test_each_key_is_an_argument_with_a_line_of_help(function):
    """The spec is the only list: type and meaning come from it, and short forms of a
    call are among the types.
    """
    taken = inspect.signature(function).parameters
    assert ExperimentSpec.model_fields.keys() <= taken.keys()
    assert "settings" not in taken
    assert taken["exclude"].annotation == dict | list
    assert "'off'" in str(taken["ensemble"])
    lines = pydoc.render_doc(function, renderer=pydoc.plaintext).splitlines()
    for key in [key for key in taken if taken[key].default is UNSET]:
        [line] = [line for line in lines if line.startswith(f"        {key}: ")]
        assert len(line.strip()) > len(f"{key}: ")


@pytest.mark.parametrize("function", [ep.run, ep.explore])
def test_an_editor_completes_the_same_keys(function):
    """It reads them in a stub, which is as it is made from the spec."""
    assert keys_stub.PATH.read_text() == keys_stub.stub()
    assert function.__annotations__["settings"] == "Unpack[Keys]"


def test_a_notebook_completes_keys(shell):
    """As IPython does by jedi, which JupyterLab asks, on a name that nobody used yet."""
    completer = pytest.importorskip("IPython.core.completer")
    assert shell.Completer.use_jedi
    text = 'ep.run(table, "y", exc'
    with completer.provisionalcompleter():
        found = [one.text for one in shell.Completer.completions(text, len(text))]
    assert "exclude=" in found


def test_a_notebook_shows_an_error_with_the_line_of_the_cell(shell, capsys):
    """The message and its fix, and no frame of this package or of a library."""
    shell.run_cell("table = {'y': [1, 2]}\nep.run(table, 'y', name='no good')")
    shown = capsys.readouterr().out
    assert shown.startswith("InvalidExperiment: name 'no good': ")
    assert "fix: Give another name." in shown
    assert "in line 2: ep.run(table, 'y', name='no good')" in shown
    assert len(shown.splitlines()) <= 4
