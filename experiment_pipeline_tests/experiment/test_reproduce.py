"""An exported version trained again: the same, byte by byte, or the input
that differs.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.naive_bayes import GaussianNB
from upath import UPath

from experiment_pipeline.errors import InvalidModel
from experiment_pipeline.experiment import reproduce as module
from experiment_pipeline.experiment.declared import described
from experiment_pipeline.experiment.in_memory import ExperimentRun
from experiment_pipeline.storage.provenance import commit_version
from experiment_pipeline.storage.registry import MODEL, ExportedModel, Registry
from experiment_pipeline.table.digests import sha256
from experiment_pipeline_tests import runs, scenario
from experiment_pipeline_tests.command_line import command
from experiment_pipeline_tests.experiment.test_flow import run_clinic

pytestmark = pytest.mark.usefixtures("quick")
BOTH = [{"algorithm": "linear"}, described(CalibratedClassifierCV(GaussianNB(), cv=3))]
OTHER = "0" * 64
Forge = Callable[..., ExportedModel]
ask = partial(command, "reproduce")
AS_EXPORTED: Any = (None, (), print)


@dataclass(frozen=True)
class Exported:
    """A run, its version in a registry, and the clone of its commit."""

    run: ExperimentRun
    version: ExportedModel
    clone: Path


def export(folder: Path, **changes: Any) -> tuple[ExperimentRun, ExportedModel]:
    """A version of the clinic's table, in a registry below `folder`."""
    url = scenario.write_csv(folder / "visits.csv")
    run = run_clinic(table=url, name="clinic", **changes)
    assert run.package is not None
    registry = Registry(UPath(folder / "models"), "clinic")
    return run, registry.model(registry.publish(run.package, lambda _: None).version)


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Exported:
    """An ensemble, one of whose members holds others, exported and committed."""
    folder = tmp_path_factory.mktemp("exported")
    with runs.quickly():
        run, version = export(folder, search=BOTH)
    assert run.leaderboard is not None
    assert run.leaderboard.chosen == "ensemble"
    bare, clone = str(folder / "company.git"), folder / "clone"
    subprocess.run(["git", "init", "--quiet", "--bare", bare], check=True)
    commit = commit_version(
        bare, "clinic", "v0001", version.files(), version.manifest.created
    )
    tagged = ("git", "clone", "--quiet", "--branch", commit.tag, bare, str(clone))
    subprocess.run(tagged, check=True, capture_output=True)
    return Exported(run, version, clone / "models" / "clinic")


@pytest.fixture
def forge(exported: Exported, tmp_path, monkeypatch) -> Forge:
    """Makes a version of changed files whose manifest agrees; its training gives what
    the real one gave.
    """
    monkeypatch.setattr(module, "run_experiment", lambda *_, **__: exported.run)

    def forged(edits: dict[str, tuple[str, str]], **manifest: Any) -> ExportedModel:
        folder = tmp_path / "forged"
        shutil.copytree(exported.version.folder, folder)
        stated = json.loads((folder / "manifest.json").read_text())
        digests = manifest.pop("digests", {})
        for name, (old, new) in edits.items():
            text = (folder / name).read_text()
            assert old in text
            (folder / name).write_text(text.replace(old, new))
            digests[name] = sha256((folder / name).read_bytes())
        stated |= manifest | {"files": stated["files"] | digests}
        (folder / "manifest.json").write_text(json.dumps(stated))
        return ExportedModel(UPath(folder))

    return forged


def test_an_ensemble_is_reproduced_from_the_clone_of_its_commit(exported: Exported):
    """The committed files and the table suffice: its members and weights give the same
    bytes.
    """
    assert not (exported.clone / "model.skops").exists()
    answer = ask(exported.clone, "--json")
    assert answer.exit_code == 0, answer.output
    assert "verdict: " in answer.stderr
    assert "report: " not in answer.stderr, "it writes no page"
    found = json.loads(answer.stdout)
    assert (
        found["verdict"]
        == "reproduced: model and predictions are the same, byte by byte"
    )
    assert {one["here"] for one in found["compared"]} == {"same"}
    *_, kernel, model, predictions = (one["what"] for one in found["compared"])
    assert (kernel, model) == ("CPU kernel", "model.skops")
    assert predictions == "expected_predictions.json"


def test_a_changed_row_is_named(exported: Exported, tmp_path):
    """First the table, then the set that the row is in; exit code 1, on one screen."""
    table = scenario.table()
    table.loc[7, scenario.STRANGE] += 0.5
    other = scenario.write_csv(tmp_path / "other.csv", table)
    answer = ask(
        "clinic", "v0001", "--root", exported.version.folder.parents[2], "--data", other
    )
    assert answer.exit_code == 1
    assert (
        "not reproduced: the first input that differs: table as delivered"
        in answer.stdout
    )
    assert len(lines := answer.stdout.splitlines()) < 24
    assert sorted("same" in line for line in lines if "rows, " in line) == [
        False,
        True,
        True,
    ]


@pytest.mark.parametrize(
    ("edits", "manifest", "named"),
    [
        (
            {"environment.txt": ("pipeline 0.1.0", "pipeline 0.0.9")},
            {},
            "experiment-pipeline",
        ),
        (
            {"hyperparameters.yaml": ("fingerprint: ", "fingerprint: 0")},
            {},
            "hyperparameters, ",
        ),
        ({}, {"data": OTHER}, "table as delivered"),
        ({}, {}, None),
    ],
)
def test_the_first_input_that_differs_is_named(
    forge: Forge,
    edits: dict[str, tuple[str, str]],
    manifest: dict[str, str],
    named: str | None,
):
    """Of data, versions and fingerprint; where nothing differs that is recorded, that
    is said.
    """
    model = forge(edits, digests={"model.skops": OTHER}, **manifest)
    found = module.reproduce(model, *AS_EXPORTED)
    assert not found.reproduced
    said = f"the first input that differs: {named}" if named else "no input differs"
    assert said in found.verdict
    assert found.verdict.endswith("; predictions are the same")


@pytest.mark.parametrize(("shift", "reproduced"), [(1e-9, True), (1e-3, False)])
def test_on_another_kernel_predictions_are_compared_within_a_tolerance(
    forge: Forge, exported: Exported, shift: float, reproduced: bool
):
    """The verdict gives the largest difference, and the tolerance where it suffices."""
    expected = json.loads(exported.version.read("expected_predictions.json"))
    first = str(expected["predict_proba"][0][0])
    edits = {"expected_predictions.json": (first, str(float(first) + shift))}
    forged = forge(edits, digests={"model.skops": OTHER}, cpu="Haswell")
    found = module.reproduce(forged, *AS_EXPORTED)
    assert found.reproduced == reproduced
    assert f"predictions differ by up to {shift:.1e}" in found.verdict
    assert ("on another CPU kernel" in found.verdict) == reproduced
    assert ("the first input that differs: CPU kernel" in found.verdict) != reproduced


def test_own_code_runs_as_it_was_saved_and_only_if_it_is_trusted(tmp_path, monkeypatch):
    """The version's module is imported before the one that is there now, which would be
    named.
    """
    source = (
        "from sklearn.naive_bayes import GaussianNB\n\n\nclass Mine(GaussianNB):\n    "
        "pass\n"
    )
    own, name = tmp_path / "mine_of_then.py", "mine_of_then.Mine"
    own.write_text(source)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    run, version = export(tmp_path, search=[{"algorithm": name}])
    own.write_text(f"{source}\n\nraise ValueError('the one of today')\n")
    assert f"add --trust {name}" in ask(version.folder).output
    monkeypatch.delitem(sys.modules, "mine_of_then")
    assert ask(version.folder, "--trust", name).exit_code == 0
    assert run.package is not None
    files = {**run.package.files, "code/mine_of_then.py": b"", MODEL: b""}
    other = replace(run.package, files=files)
    monkeypatch.setattr(
        module, "run_experiment", lambda *_, **__: replace(run, package=other)
    )
    assert (
        "differs: code/mine_of_then.py" in ask(version.folder, "--trust", name).output
    )


@pytest.mark.parametrize(
    "function", ["os.system", "sklearn.utils._testing.check_output"]
)
def test_code_within_a_hyperparameter_is_to_be_trusted(forge: Forge, function: str):
    """A forged version runs none, however deep it is named, nor by the name that a
    module of scikit-learn has for it.
    """
    part = f'{{a: "[sklearn.svm.SVC(kernel={function})]"}}'
    forged = forge(
        {"hyperparameters.yaml": ("hyperparameters: {}", f"hyperparameters: {part}")}
    )
    with pytest.raises(InvalidModel, match=f"not part of .*: {function}\n"):
        module.reproduce(forged, *AS_EXPORTED)


def test_without_an_accepted_model_nothing_is_reproduced(
    exported: Exported, monkeypatch
):
    """The verdict says so after the first input that differs, if any does."""
    refused = replace(exported.run, package=None)
    monkeypatch.setattr(module, "run_experiment", lambda *_, **__: refused)
    found = module.reproduce(exported.version, *AS_EXPORTED)
    assert not found.reproduced
    assert found.verdict.endswith("; here no model is accepted")
