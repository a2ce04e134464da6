"""A version's folder, loaded: what somebody changed in it is an error of the family, and
a process that has loaded it may fork.
"""

import json
import os
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from upath import UPath

from experiment_pipeline.errors import ExperimentPipelineError, InvalidModel
from experiment_pipeline.prediction.files import load_model
from experiment_pipeline.storage import persistence
from experiment_pipeline.storage.registry import MANIFEST, MODEL, Registry
from experiment_pipeline_tests import exported
from experiment_pipeline_tests.fresh_process import printed_by

Content = dict[str, Any]
# Loads each model, forks, and predicts in the child as in the parent.
FORKED = """
import os, signal, sys
import numpy as np
from experiment_pipeline.prediction.files import load_model
for version in sys.argv[1:]:
    model = load_model(version)
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status))
    else:
        signal.alarm(240)  # a hanging child is killed
        model.pipeline.predict(model.examples.loc[np.repeat(0, 5_000)])
        os._exit(0)
"""


def published(folder: Path, algorithm: str) -> Path:
    """The folder of a version."""
    package = exported.trained_package(algorithm, "binary")
    return Path(
        Registry(UPath(folder), "flights").publish(package, lambda _: None).path
    )


def changed(version: Path, name: str, change: Callable[[Content], object]) -> None:
    """Change a JSON file of a version, and its digest in the manifest."""
    manifest = json.loads((version / MANIFEST).read_bytes())
    content = json.loads((version / name).read_bytes())
    change(content)
    written = json.dumps(content).encode()
    manifest["files"][name] = sha256(written).hexdigest()
    (version / name).write_bytes(written)
    (version / MANIFEST).write_text(json.dumps(manifest))


@pytest.fixture(scope="module")
def intact(tmp_path_factory) -> Path:
    """A version, published once."""
    return published(tmp_path_factory.mktemp("intact"), "linear")


@pytest.fixture
def version(intact: Path, tmp_path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(intact, tmp_path / "flights" / intact.name))


@pytest.mark.parametrize(
    "change",
    [
        lambda signature: signature["classes"].append("maybe"),
        lambda signature: signature.update(classes=None),
        lambda signature: signature.update(positive_class="maybe"),
    ],
)
def test_a_signature_with_other_classes_is_refused(
    version: Path, change: Callable[[Content], object]
):
    """It would only fail at a prediction, with an error that names no file."""
    changed(version, "signature.json", change)
    with pytest.raises(InvalidModel):
        load_model(str(version))


def test_intervals_of_other_classes_are_refused(version: Path):
    """So are those with too few bounds."""
    known = {"classes": ["no", "yes"], "bounds": {"90": [0.5, 0.5]}}
    changed(version, "intervals.json", lambda content: content.update(known))
    load_model(str(version))
    for other in ({"classes": ["a", "b"]}, {**known, "bounds": {"90": [0.5]}}):
        changed(version, "intervals.json", lambda content, o=other: content.update(o))
        with pytest.raises(InvalidModel):
            load_model(str(version))


def test_no_library_reads_a_file_that_differs_from_its_digest(
    version: Path, monkeypatch
):
    """Their readers crash or hang on some changed files."""
    reads: list[str] = []
    for reader in ("from_bytes", "check_foreign"):
        monkeypatch.setattr(persistence, reader, lambda *_, r=reader: reads.append(r))
    content = bytearray((version / MODEL).read_bytes())
    content[len(content) // 2] ^= 1
    (version / MODEL).write_bytes(content)
    with pytest.raises(InvalidModel, match="is not what was written"):
        load_model(str(version))
    assert not reads


@pytest.mark.parametrize("name", [MODEL, MANIFEST])
def test_a_pipe_in_a_version_is_an_error(version: Path, name: str):
    """Nothing waits for somebody who writes into it."""
    (version / name).unlink()
    os.mkfifo(version / name)
    with pytest.raises(ExperimentPipelineError):
        load_model(str(version))


@pytest.mark.slow
def test_a_process_that_has_loaded_models_may_fork(tmp_path):
    """As servers with workers do: a child does not wait for threads of its parent."""
    algorithms = ("lightgbm", "random_forest", "xgboost", "catboost")
    versions = [str(published(tmp_path / name, name)) for name in algorithms]
    codes = printed_by(FORKED, *versions, OMP_NUM_THREADS="2").split()
    assert dict(zip(algorithms, codes, strict=True)) == dict.fromkeys(algorithms, "0")
