"""Export the accepted model, step by step: package, publish, commit. Needs no database.

In: what earlier stages have made. Out: a version in the registry, and its commit. The
registry adds the manifest and the decision record, which need the version's number.
"""

import subprocess
import sys
import tempfile
from dataclasses import asdict
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from experiment_pipeline.errors import PredictionsChanged
from experiment_pipeline.prediction import rows as delivered
from experiment_pipeline.reporting import document, numbers
from experiment_pipeline.reporting.numbers import evaluated
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.spec.algorithms import ALGORITHMS, ENSEMBLE
from experiment_pipeline.spec.reading import to_yaml
from experiment_pipeline.stages.exported_model.page import EvaluatedModel, build_card
from experiment_pipeline.stages.validation_report.gates import best_after
from experiment_pipeline.storage import persistence, provenance
from experiment_pipeline.storage import registry as versions
from experiment_pipeline.storage.masking import masked_yaml
from experiment_pipeline.storage.records import to_json
from experiment_pipeline.storage.registry import (
    ModelPackage,
    PublishedVersion,
    Registry,
)
from experiment_pipeline.storage.run_code import RunCode
from experiment_pipeline.table.clusters import FITTED_ROWS
from experiment_pipeline.table.features import feature_columns
from experiment_pipeline.table.intervals import INTERVALS

HOLDS = {
    versions.MODEL: "the whole fitted pipeline: features and model (skops format)",
    versions.TRUSTED: (
        "the types that must be trusted to load it; read them before you do"
    ),
    delivered.SIGNATURE: "features with dtypes, classes, threshold",
    "hyperparameters.yaml": "the chosen configuration",
    versions.METRICS: "metrics with intervals, gates, looks",
    delivered.PREPARATION: "how a table as delivered is read and prepared",
    INTERVALS: (
        "calibration from which predict --interval makes intervals or sets of classes"
    ),
    versions.SCHEMA: "what a prepared row must satisfy (pandera)",
    versions.SETTINGS: "the experiment as declared, without credentials",
    "sets.json": "rows and digests of train, test and validation set",
    provenance.ENVIRONMENT: "pinned requirements, for pip install -r",
    FITTED_ROWS: "hashes of the rows that it was fitted and chosen on",
    versions.EXAMPLE: "example rows, with missing values and unseen categories",
    versions.EXPECTED: "what the model predicted for them at the export",
    versions.PROFILE: "counts of features and predictions, to detect drift",
    "verify.py": "checks that it predicts the same here",
    versions.RECORD: (
        "what was asked, tried and chosen, and why, for a reviewer to sign"
    ),
    provenance.CODE: "your own modules that it names, as they were when the run began",
    provenance.PATCH: "uncommitted changes at that time, for git apply",
    versions.MANIFEST: "sha256 of every file, version, code commit",
}
# Packages that every model needs, whatever types it holds.
NEEDED = ("scikit-learn", "skops", "numpy", "pandas", "scipy")
_LIBRARIES = frozenset(
    library for algorithm in ALGORITHMS.values() for library in algorithm.libraries
)
_NOT_OWN = _LIBRARIES | {
    "builtins",
    "collections",
    "functools",
    "operator",
    "numpy",
    "scipy",
    "sklearn",
    "pandas",
    "skops",
}
SECONDS = 300
# `python -I` ignores the environment and the working directory, so that only what is
# installed, and the folders of a user's own packages, can be imported. Where Dask and
# pytest are installed, skops loads them with every module of scikit-learn; no model
# needs them. Without both and garbage collection, the process takes a sixth less.
_LAUNCH = """
import gc, runpy, sys
gc.disable()
folder, *own = sys.argv[1:]
sys.path += own
if not own:
    sys.modules |= dict.fromkeys(["dask", "pytest"])
runpy.run_path(folder + "/verify.py", run_name="__main__")
loaded = {name.partition(".")[0] for name in sys.modules}
foreign = {"experiment_pipeline", "dagster"} & loaded
if foreign and not own:
    sys.exit(f"the model needs {', '.join(sorted(foreign))} to load")
"""
VERIFY = '''\
"""Check that the model in this folder predicts here what it predicted at its export.

Usage: python verify.py. Needs the packages of environment.txt. Exit code 1: it does
not.
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


def package_model(
    spec: ExperimentSpec, model: EvaluatedModel, created: datetime, code: RunCode
) -> ModelPackage:
    """Return the files of the version to publish.

    InvalidModel: skops cannot store a user's own estimator.
    """
    import skops.io

    pipeline = persistence.to_bytes(model.pipeline)
    trusted_types = sorted(skops.io.get_untrusted_types(data=pipeline))
    packages = {name.partition(".")[0] for name in trusted_types}
    own_packages = tuple(sorted(packages - _NOT_OWN))
    environment = provenance.environment(
        [*NEEDED, *sorted(packages & _LIBRARIES)], own_packages
    )
    rows = model.validation.rows
    examples = delivered.golden_rows(rows, feature_columns(rows, spec))
    signature = _signature(spec, model, examples)
    files = {
        versions.MODEL: pipeline,
        versions.TRUSTED: to_json(trusted_types),
        delivered.SIGNATURE: signature.to_bytes(),
        provenance.ENVIRONMENT: environment.requirements().encode(),
        versions.EXAMPLE: delivered.example_bytes(examples),
        versions.EXPECTED: to_json(
            delivered.expected_predictions(model.pipeline, examples)
        ),
        "verify.py": VERIFY.encode(),
        **_records(spec, model),
        **{name: text.encode() for name, text in code.files.items()},
    }
    if model.profile:
        files[versions.PROFILE] = model.profile(signature).to_bytes()
    exported = created.isoformat(timespec="seconds")
    origin = {
        "exported": exported,
        "code": "; ".join(filter(None, (code.provenance.in_words(), code.left_out))),
        "fingerprint": model.result.fingerprint,
        "software": environment.in_words(),
    }
    names = (*files, versions.RECORD, versions.MANIFEST)
    contents = {
        start: content
        for start, content in HOLDS.items()
        if any(name.startswith(start) for name in names)
    }
    card = build_card(spec, model, signature, origin, contents)
    files[versions.CARD] = document.render(card).encode()
    score = model.report.score(model.report.metric)
    return ModelPackage(
        experiment=spec.name,
        created=exported,
        fingerprint=model.result.fingerprint,
        configuration=model.configuration.key,
        headline=f"{score.metric} {numbers.interval(score.interval)} on validation",
        code=code.provenance,
        files=MappingProxyType(files),
        own_packages=own_packages,
        approval_required=spec.approval == "required",
        commit_due=spec.export.repository is not None,
        data=model.validation.origin.raw_digest,
        record=spec.record.model_dump(mode="json", exclude_none=True),
    )


def _signature(
    spec: ExperimentSpec, model: EvaluatedModel, examples: pd.DataFrame
) -> delivered.Signature:
    threshold = model.report.threshold
    aim = ""
    if threshold is not None:
        aim = f"{threshold.aim} {evaluated(spec.evaluation_name).where}"
    classes = None
    if spec.task != "regression":
        classes = tuple(np.asarray(model.pipeline.classes_).tolist())
    return delivered.Signature(
        task=spec.task,
        target=spec.target,
        features={str(name): str(dtype) for name, dtype in examples.dtypes.items()},
        id_columns=spec.split.id_columns,
        classes=classes,
        positive_class=model.report.positive_class,
        threshold=None if threshold is None else threshold.value,
        threshold_aim=aim,
    )


def _records(spec: ExperimentSpec, model: EvaluatedModel) -> dict[str, bytes]:
    """The files that say how the model came about and how rows are prepared for it."""
    reading = delivered.Reading.of(spec, model.validation.origin)
    declared = masked_yaml(to_yaml(spec.declared()))
    sets = {
        part.name: {"rows": part.rows, "sha256": part.digest} for part in model.sets
    }
    return {
        "hyperparameters.yaml": to_yaml(_hyperparameters(model)).encode(),
        versions.METRICS: to_json(_metrics(model)),
        delivered.PREPARATION: reading.to_bytes(),
        INTERVALS: to_json(model.report.coverage.calibrated),
        versions.SCHEMA: model.schema_text.encode(),
        versions.SETTINGS: declared.encode(),
        "sets.json": to_json(sets),
        FITTED_ROWS: model.fitted_rows.to_bytes(),
    }


def _hyperparameters(model: EvaluatedModel) -> dict[str, Any]:
    members: list[dict[str, Any]] = [
        {
            "key": member.configuration.key,
            "algorithm": member.configuration.algorithm,
            "features": member.configuration.features,
            "hyperparameters": dict(member.configuration.hyperparameters),
            "rounds": member.rounds,
            "fingerprint": member.fingerprint,
        }
        for member in model.members
    ]
    if model.board.chosen_ensemble is None:
        return members[0]
    for settings, member in zip(members, model.members, strict=True):
        settings["weight"] = member.weight
    return {
        "key": ENSEMBLE,
        "fingerprint": model.result.fingerprint,
        "members": members,
    }


def _metrics(model: EvaluatedModel) -> dict[str, Any]:
    report = model.report
    ensemble = model.board.chosen_ensemble
    members = () if ensemble is None else ensemble.members
    return {
        "scores": [
            {"set": name, "metric": metric, **asdict(interval), "baseline": baseline}
            for name, metric, interval, baseline in model.scores
        ],
        "gates": [vars(gate) for gate in report.gates],
        "threshold": None if report.threshold is None else report.threshold.value,
        "looks": report.looks,
        "overlap": report.overlap,
        "champions": [asdict(champion) for champion in report.champions],
        "best": best_after(report.champions),  # from now on; null: this version
        "reason": model.board.reason,
        "members": [member.fingerprint for member in members],
    }


def check_in_fresh_process(package: ModelPackage) -> None:
    """Load a package in a fresh process and predict its example rows.

    PredictionsChanged: it needs more than its libraries and the user's own packages, or
    a prediction differs in any bit.
    """
    with tempfile.TemporaryDirectory(prefix="experiment_pipeline_model_") as folder:
        for name, content in package.files.items():
            place = Path(folder, name)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        imported_from = [_folder_of(name) for name in package.own_packages]
        command = [sys.executable, "-I", "-c", _LAUNCH, folder, *imported_from]
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
        rule=f"a fresh process does not reproduce its predictions: {reason}",
        fix="Keep all that the estimator needs to predict in its fitted attributes, "
        "fix its random seed, and import nothing at prediction time that the model "
        "does not name.",
    )


def _folder_of(package: str) -> str:
    if package == "__main__":
        raise PredictionsChanged(
            "the chosen model",
            rule="it is defined in a notebook or script: no other process can import "
            "it",
            fix="Move it into a module, and name it from there.",
        )
    spec = find_spec(package)
    if spec is None:
        raise PredictionsChanged(
            f"package {package}",
            rule="cannot be imported",
            fix="Put it on PYTHONPATH, or install it.",
        )
    if spec.submodule_search_locations:
        return str(Path(next(iter(spec.submodule_search_locations))).parent)
    return str(Path(spec.origin or ".").parent)


def publish(registry: Registry, package: ModelPackage) -> PublishedVersion:
    """Make a package the next version, unless its predictions differ in a fresh
    process.
    """
    return registry.publish(package, check_in_fresh_process)


def commit_published(
    spec: ExperimentSpec, registry: Registry, published: PublishedVersion
) -> str:
    """Commit a version to the YAML's repository, after earlier ones that git did not
    get; return what was done. ExportError: git's message.
    """
    if spec.export.repository is None:
        return ""
    done = ""
    for version in dict.fromkeys([*registry.due_commits(), published.version]):
        model = registry.model(version)
        if version != published.version and model.damage():
            continue  # another version would be committed under its name
        commit = provenance.commit_version(
            spec.export.repository,
            experiment=spec.name,
            version=version,
            files=model.files(),
            created=model.manifest.created,
        )
        registry.committed(version)
        done = f", commit {commit.commit[:12]} tagged {commit.tag}"
    return done
