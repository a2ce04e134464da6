"""Check that a model, loaded in a fresh process without this package, predicts the
same.

The check is verify.py, a script that is part of every exported model and can be run
again anywhere.
"""

import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from experiment_pipeline.errors import PredictionsChanged
from experiment_pipeline.storage.registry import ModelPackage

SECONDS = 300
# `python -I` ignores the environment and the working directory, so that only what is
# installed, and the folders of a user's own packages, can be imported.
_LAUNCH = """
import runpy, sys
folder, *own = sys.argv[1:]
sys.path += own
runpy.run_path(folder + "/verify.py", run_name="__main__")
foreign = {"experiment_pipeline", "dagster"} & {name.partition(".")[0] for name in sys.modules}
if foreign and not own:
    sys.exit(f"the model needs {', '.join(sorted(foreign))} to load")
"""
VERIFY = '''\
"""Check that the model in this folder predicts here what it predicted at its export.

Usage: python verify.py. Needs the packages of environment.txt. Exit code 1 = it does not.
"""

import json
from pathlib import Path

import pandas as pd
import skops.io

HERE = Path(__file__).parent


def read(name):
    return json.loads((HERE / name).read_text(encoding="utf-8"))


def differences():
    model = skops.io.load(HERE / "model.skops", trusted=read("trusted_types.json"))
    example = pd.DataFrame(read("input_example.json"), dtype=object)
    rows = example.astype(read("signature.json")["features"])
    expected = read("expected_predictions.json")
    for method, before in expected.items():
        now = getattr(model, method)(rows).tolist()
        for number, (was, is_now) in enumerate(zip(before, now, strict=True)):
            if json.dumps(was) != json.dumps(is_now):
                yield f"{method}, example row {number}: was {was}, is {is_now}"


if __name__ == "__main__":
    found = list(differences())
    if found:
        raise SystemExit("\\n".join(found))
    print("the model predicts what it predicted at its export")
'''


def check_in_fresh_process(package: ModelPackage) -> None:
    """Load a package in a fresh process and predict its example rows;
    PredictionsChanged: it needs more than its libraries and the user's own packages, or
    a prediction differs in any bit.
    """
    with tempfile.TemporaryDirectory(prefix="experiment_pipeline_model_") as folder:
        for name, content in package.files.items():
            (place := Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        own = [_folder_of(name) for name in package.own_packages]
        command = [sys.executable, "-I", "-c", _LAUNCH, folder, *own]
        try:
            subprocess.run(command, capture_output=True, check=True, timeout=SECONDS)  # noqa: S603
        except subprocess.TimeoutExpired:
            raise _changed(package, f"gave no answer within {SECONDS} s") from None
        except subprocess.CalledProcessError as error:
            lines = error.stderr.decode(errors="replace").strip().splitlines()
            raise _changed(package, "; ".join(lines[-3:])) from None


def _changed(package: ModelPackage, reason: str) -> PredictionsChanged:
    return PredictionsChanged(
        f"the exported model of {package.experiment}",
        f"a fresh process does not reproduce its predictions: {reason}",
        "Keep all that the estimator needs to predict in its fitted attributes, fix its random "
        "seed, and import nothing at prediction time that the model does not name.",
    )


def _folder_of(package: str) -> str:
    if package == "__main__":
        rule = "it is defined in a notebook or script: no other process can import it"
        fix = "Move it into a module, and name it from there."
        raise PredictionsChanged("the chosen model", rule, fix)
    spec = find_spec(package)
    if spec is None:
        rule, fix = "cannot be imported", "Put it on PYTHONPATH, or install it."
        raise PredictionsChanged(f"package {package}", rule, fix)
    if spec.submodule_search_locations:
        return str(Path(next(iter(spec.submodule_search_locations))).parent)
    return str(Path(spec.origin or ".").parent)
