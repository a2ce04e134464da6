"""Export the accepted model, step by step: package, publish, commit. Needs no database.

In: what earlier stages have made. Out: a version in the registry, and its commit. The
registry adds the manifest and the decision record, which need the version's number.
"""

from dataclasses import asdict
from datetime import datetime
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from experiment_pipeline.prediction import rows as delivered
from experiment_pipeline.prediction.intervals import INTERVALS
from experiment_pipeline.reporting import document, numbers
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.spec.algorithms import ALGORITHMS, ENSEMBLE
from experiment_pipeline.spec.reading import to_yaml
from experiment_pipeline.stages.exported_model.page import AcceptedModel, build_card
from experiment_pipeline.stages.exported_model.reload_check import (
    VERIFY,
    check_in_fresh_process,
)
from experiment_pipeline.stages.validation_report.gates import best_after
from experiment_pipeline.storage import persistence, provenance
from experiment_pipeline.storage import registry as versions
from experiment_pipeline.storage.files import redacted
from experiment_pipeline.storage.records import to_json
from experiment_pipeline.storage.registry import PublishedVersion, Registry
from experiment_pipeline.storage.run_code import RunCode
from experiment_pipeline.table.clusters import FITTED_ROWS
from experiment_pipeline.table.features import feature_columns

HOLDS = {
    versions.MODEL: "the whole fitted pipeline: features and model (skops format)",
    versions.TRUSTED: "the types that must be trusted to load it; read them before you do",
    delivered.SIGNATURE: "features with dtypes, classes, threshold",
    "hyperparameters.yaml": "the chosen configuration",
    versions.METRICS: "metrics with intervals, gates, looks",
    delivered.PREPARATION: "how a table as delivered is read and prepared",
    INTERVALS: "calibration from which predict --interval makes intervals or sets of classes",
    versions.SCHEMA: "what a prepared row must satisfy (pandera)",
    "experiment.yaml": "the experiment as run, without credentials",
    "sets.json": "rows and digests of train, test and validation set",
    provenance.ENVIRONMENT: "pinned requirements, for pip install -r",
    FITTED_ROWS: "hashes of the rows that it was fitted and chosen on",
    versions.EXAMPLE: "example rows, with missing values and unseen categories",
    versions.EXPECTED: "what the model predicted for them at the export",
    versions.PROFILE: "counts of features and predictions, to detect drift",
    "verify.py": "checks that it predicts the same here",
    versions.RECORD: "what was asked, tried and chosen, and why, for a reviewer to sign",
    provenance.CODE: "your own modules that it names, as they were when the run began",
    provenance.PATCH: "uncommitted changes at that time, for git apply",
    versions.MANIFEST: "sha256 of every file, version, code commit",
}
# Packages that every model needs, whatever types it holds.
NEEDED = ("scikit-learn", "skops", "numpy", "pandas", "scipy")
_LIBRARIES = frozenset(name for one in ALGORITHMS.values() for name in one.libraries)
_NOT_OWN = _LIBRARIES | {
    "builtins",
    "collections",
    "functools",
    "operator",
    "numpy",
    "scipy",
}
_NOT_OWN |= {"sklearn", "pandas", "skops"}


def package_model(
    spec: ExperimentSpec, model: AcceptedModel, created: datetime, code: RunCode
) -> versions.ModelPackage:
    """Return the files of the version to publish; InvalidModel: skops cannot store a
    user's own estimator.
    """
    import skops.io

    report, result = model.report, model.result
    data, at = (
        persistence.to_bytes(model.pipeline),
        created.isoformat(timespec="seconds"),
    )
    trusted = sorted(skops.io.get_untrusted_types(data=data))
    packages = {name.partition(".")[0] for name in trusted}
    own = tuple(sorted(packages - _NOT_OWN))
    environment = provenance.environment((*NEEDED, *sorted(packages & _LIBRARIES)), own)
    rows = model.validation.rows
    golden = delivered.golden_rows(rows, feature_columns(rows, spec))
    signature = _signature(spec, model, golden)
    origin = {
        "exported": at,
        "code": "; ".join(filter(None, (code.provenance.in_words(), code.left_out))),
        "fingerprint": result.fingerprint,
        "software": environment.in_words(),
    }
    declared = spec.model_dump(mode="json", exclude_unset=True)
    files = {
        versions.MODEL: data,
        versions.TRUSTED: to_json(trusted),
        delivered.SIGNATURE: signature.to_bytes(),
        "hyperparameters.yaml": to_yaml(_hyperparameters(model)).encode(),
        versions.METRICS: to_json(_metrics(model)),
        delivered.PREPARATION: delivered.Reading.of(
            spec, model.validation.origin
        ).to_bytes(),
        INTERVALS: to_json(report.coverage.calibrated),
        versions.SCHEMA: model.schema_text.encode(),
        "experiment.yaml": to_yaml(redacted(declared)).encode(),
        "sets.json": to_json(
            {s.name: {"rows": s.rows, "sha256": s.digest} for s in model.sets}
        ),
        provenance.ENVIRONMENT: environment.requirements().encode(),
        FITTED_ROWS: model.fitted_rows.to_bytes(),
        versions.EXAMPLE: delivered.example_bytes(golden),
        versions.EXPECTED: to_json(
            delivered.expected_predictions(model.pipeline, golden)
        ),
        "verify.py": VERIFY.encode(),
        **{name: text.encode() for name, text in code.files.items()},
    }
    if model.profile:
        files[versions.PROFILE] = model.profile(signature).to_bytes()
    there = (*files, versions.RECORD, versions.MANIFEST)
    holds = {
        one: HOLDS[one] for one in HOLDS if any(name.startswith(one) for name in there)
    }
    card = build_card(spec, model, signature, origin, holds)
    files[versions.CARD] = document.render(card).encode()
    headline = report.score(report.metric)
    return versions.ModelPackage(
        experiment=spec.name,
        created=at,
        fingerprint=result.fingerprint,
        configuration=model.configuration.key,
        headline=f"{headline.metric} {numbers.interval(headline.interval)} on validation",
        code=code.provenance,
        files=MappingProxyType(files),
        own_packages=own,
        approval_required=spec.approval == "required",
        data=model.validation.origin.raw_digest,
        record=spec.record.model_dump(mode="json", exclude_none=True),
    )


def _signature(
    spec: ExperimentSpec, model: AcceptedModel, golden: pd.DataFrame
) -> delivered.Signature:
    regression, threshold = spec.task == "regression", model.report.threshold
    return delivered.Signature(
        task=spec.task,
        target=spec.target,
        features={str(name): str(dtype) for name, dtype in golden.dtypes.items()},
        id_columns=spec.split.id_columns,
        classes=None
        if regression
        else tuple(np.asarray(model.pipeline.classes_).tolist()),
        positive_class=model.report.positive_class,
        threshold=None if threshold is None else threshold.value,
    )


def _hyperparameters(model: AcceptedModel) -> dict[str, Any]:
    own = [
        {
            "key": one.configuration.key,
            "algorithm": one.configuration.algorithm,
            "features": one.configuration.features,
            "hyperparameters": dict(one.configuration.hyperparameters),
            "rounds": one.rounds,
            "fingerprint": one.fingerprint,
        }
        for one in model.members
    ]
    if model.board.chosen_ensemble is None:
        return own[0]
    weighted = [
        settings | {"weight": one.weight}
        for settings, one in zip(own, model.members, strict=True)
    ]
    return {
        "key": ENSEMBLE,
        "fingerprint": model.result.fingerprint,
        "members": weighted,
    }


def _metrics(model: AcceptedModel) -> dict[str, Any]:
    report, ensemble = model.report, model.board.chosen_ensemble
    return {
        "scores": [
            {"set": name, "metric": metric, **asdict(interval), "baseline": baseline}
            for name, metric, interval, baseline in model.scores
        ],
        "gates": [vars(gate) for gate in report.gates],
        "threshold": None if report.threshold is None else report.threshold.value,
        "looks": report.looks,
        "overlap": report.overlap,
        "champions": [asdict(one) for one in report.champions],
        "best": best_after(report.champions),  # from now on; null: this version
        "reason": model.board.reason,
        "members": []
        if ensemble is None
        else [one.fingerprint for one in ensemble.members],
    }


def publish(registry: Registry, package: versions.ModelPackage) -> PublishedVersion:
    """Make a package the next version, unless its predictions differ in a fresh
    process.
    """
    return registry.publish(package, check_in_fresh_process)


def commit_published(
    spec: ExperimentSpec, registry: Registry, published: PublishedVersion
) -> str:
    """Commit a version to the YAML's repository; return what was done. ExportError:
    git's message.
    """
    if spec.export.repository is None:
        return ""
    model, version = registry.model(published.version), published.version
    commit = provenance.commit_version(
        spec.export.repository,
        spec.name,
        version,
        model.files(),
        model.manifest.created,
    )
    return f", commit {commit.commit[:12]} tagged {commit.tag}"
