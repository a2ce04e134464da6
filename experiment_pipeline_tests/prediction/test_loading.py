"""A version's folder, loaded: what somebody changed in it is an error of the family, and
a process that has loaded it may fork.
"""

import json
import os
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


def published(folder: Path, algorithm: str, task: str = "binary") -> Path:
    """The folder of a version."""
    package = exported.trained_package(algorithm, task)
    return Path(
        Registry(UPath(folder), "flights").publish(package, lambda _: None).path
    )


def changed(version: Path, name: str, change: Callable[[Content], object]) -> None:
    """Change a JSON file of a version, and its digest in the manifest."""
    content = json.loads((version / name).read_bytes())
    change(content)
    replaced(version, name, json.dumps(content).encode())


def replaced(version: Path, name: str, content: bytes) -> None:
    """Replace a file of a version, and its digest in the manifest."""
    (version / name).write_bytes(content)
    manifest = json.loads((version / MANIFEST).read_bytes())
    manifest["files"][name] = sha256(content).hexdigest()
    (version / MANIFEST).write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    "change",
    [
        lambda signature: signature["classes"].append("maybe"),
        lambda signature: signature["classes"].pop(),
        lambda signature: signature.update(classes=None),
        lambda signature: signature.update(positive_class="maybe"),
        lambda signature: signature.update(task="multiclass", classes=["a", "b", "c"]),
    ],
)
def test_a_signature_with_other_classes_is_refused(
    tmp_path, change: Callable[[Content], object]
):
    """It would only fail at a prediction, with an error that names no file."""
    version = published(tmp_path, "linear")
    changed(version, "signature.json", change)
    with pytest.raises(InvalidModel):
        load_model(str(version))


@pytest.mark.parametrize(
    "change",
    [
        lambda intervals: intervals.update(classes=["a", "b"]),
        lambda intervals: intervals.update(bounds={"90": [0.5]}),
    ],
)
def test_intervals_of_other_classes_are_refused(
    tmp_path, change: Callable[[Content], object]
):
    """So are those with too few bounds."""
    version = published(tmp_path, "linear")
    changed(
        version,
        "intervals.json",
        lambda content: content.update(
            classes=["no", "yes"], bounds={"90": [0.5, 0.5]}
        ),
    )
    load_model(str(version))
    changed(version, "intervals.json", change)
    with pytest.raises(InvalidModel):
        load_model(str(version))


@pytest.mark.parametrize("algorithm", ["xgboost", "catboost"])
def test_no_library_reads_a_file_that_differs_from_its_digest(
    tmp_path, monkeypatch, algorithm: str
):
    """Their readers crash or hang on some changed files."""
    version = published(tmp_path, algorithm)
    reads: list[str] = []
    for reader in ("from_bytes", "check_foreign"):
        monkeypatch.setattr(persistence, reader, lambda *_, r=reader: reads.append(r))
    content = (version / MODEL).read_bytes()
    for place in range(0, len(content), len(content) // 20):
        changed = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        (version / MODEL).write_bytes(changed)
        with pytest.raises(InvalidModel, match="is not what was written"):
            load_model(str(version))
    assert not reads


@pytest.mark.parametrize("name", ["model.skops", "signature.json", MANIFEST])
def test_a_pipe_in_a_version_is_an_error(tmp_path, name: str):
    """Nothing waits for somebody who writes into it."""
    version = published(tmp_path, "linear")
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
