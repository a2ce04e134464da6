"""The files of an exported model, built in memory: all but the manifest and the decision record,
which need the version's number.
"""

from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from experiment_pipeline.prediction import signature
from experiment_pipeline.prediction.rows import PREPARATION, Reading
from experiment_pipeline.prediction.signature import SIGNATURE, Signature
from experiment_pipeline.reporting import document
from experiment_pipeline.spec.algorithms import ALGORITHMS, ENSEMBLE
from experiment_pipeline.stages.exported_model import page as model_card
from experiment_pipeline.stages.exported_model.page import ModelFacts
from experiment_pipeline.stages.exported_model.reload_check import VERIFY
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.storage import persistence, versions
from experiment_pipeline.storage.locations import redacted
from experiment_pipeline.storage.records import to_json, yaml_bytes
from experiment_pipeline.table.clusters import FITTED_ROWS, FittedRows

HOLDS = {
    versions.MODEL: "the whole fitted pipeline: features and model (skops format)",
    versions.TRUSTED: "the types that loading it must trust; read them before you do",
    SIGNATURE: "features with dtypes, classes, threshold",
    "hyperparameters.yaml": "the chosen configuration",
    versions.METRICS: "metrics with intervals, gates, looks",
    PREPARATION: "how a table as delivered is read and prepared",
    versions.SCHEMA: "what a prepared row must satisfy (pandera)",
    "experiment.yaml": "the experiment as run, without credentials",
    "sets.json": "rows and digests of train, test and validation set",
    "environment.txt": "pinned requirements, for pip install -r",
    FITTED_ROWS: "hashes of the rows that it was fitted and chosen on",
    versions.EXAMPLE: "example rows, with missing values and unseen categories",
    versions.EXPECTED: "what the model predicted for them at the export",
    "verify.py": "checks that it predicts the same here",
    versions.RECORD: "what was asked, tried, chosen and why, for a reviewer to sign",
    versions.MANIFEST: "sha256 of every file, version, code commit",
}

# Packages every model needs, whichever of their types it holds.
NEEDED = ("scikit-learn", "skops", "numpy", "pandas", "scipy")
_COME_ALONG = frozenset({"builtins", "collections", "functools", "operator", "numpy", "scipy"})
_LIBRARIES = frozenset(name for one in ALGORITHMS.values() for name in one.libraries)
_NOT_OWN = _COME_ALONG | _LIBRARIES | {"sklearn", "pandas", "skops"}


@dataclass(frozen=True)
class SerializedModel:
    """A fitted pipeline as bytes.

    Attributes:
        data: the skops file, the same bytes for the same pipeline.
        trusted_types: what loading it must trust beyond skops' own defaults, sorted.
    """

    data: bytes
    trusted_types: tuple[str, ...]

    @property
    def own_packages(self) -> tuple[str, ...]:
        """Top-level packages of a user's own estimator, sorted."""
        return tuple(sorted({_package(name) for name in self.trusted_types} - _NOT_OWN))

    @property
    def needed(self) -> tuple[str, ...]:
        """Distributions that loading it imports, besides those of a user's own estimator."""
        packages = {_package(name) for name in self.trusted_types}
        return (*NEEDED, *sorted(packages & _LIBRARIES))


def serialize(pipeline: Any) -> SerializedModel:
    """Return the pipeline as bytes, and what they need.

    Raises:
        InvalidModel: skops cannot store it (a user's own estimator with exotic attributes).
    """
    import skops.io

    data = persistence.to_bytes(pipeline)
    return SerializedModel(data, tuple(sorted(skops.io.get_untrusted_types(data=data))))


def build_package(
    pipeline: Any,
    serialized: SerializedModel,
    facts: ModelFacts,
    schema: str,
    golden: pd.DataFrame,
    fitted_rows: FittedRows,
) -> versions.ModelPackage:
    """Return the files of an exported model.

    Args:
        pipeline: the fitted pipeline; it predicts on the golden rows here.
        serialized: the same pipeline, by `serialize`.
        facts: what is known about it.
        schema: the text of schema.yaml.
        golden: features of some rows, by `golden_rows`; their dtypes are the signature's.
        fitted_rows: what it was fitted and chosen on.
    """
    spec, takes = facts.spec, _signature(pipeline, facts, golden)
    declared = spec.model_dump(mode="json", exclude_unset=True)
    files = {
        versions.MODEL: serialized.data,
        versions.TRUSTED: to_json(list(serialized.trusted_types)),
        SIGNATURE: takes.to_bytes(),
        "hyperparameters.yaml": yaml_bytes(_hyperparameters(facts)),
        versions.METRICS: to_json(_metrics(facts)),
        PREPARATION: Reading.of(spec, facts.raw_types).to_bytes(),
        versions.SCHEMA: schema.encode(),
        "experiment.yaml": yaml_bytes(redacted(declared)),
        "sets.json": to_json({s.name: {"rows": s.rows, "sha256": s.digest} for s in facts.sets}),
        "environment.txt": facts.environment.requirements().encode(),
        FITTED_ROWS: fitted_rows.to_bytes(),
        versions.EXAMPLE: signature.example_bytes(golden),
        versions.EXPECTED: to_json(signature.expected_predictions(pipeline, golden)),
        "verify.py": VERIFY.encode(),
    }
    card = model_card.build_card(facts, takes, list(HOLDS.items()))
    files[versions.CARD] = document.render(card).encode()
    return versions.ModelPackage(
        experiment=spec.name,
        created=facts.created,
        fingerprint=facts.fingerprint,
        configuration=facts.configuration.key,
        headline=facts.scores[0].in_words(),
        code=facts.code,
        files=MappingProxyType(files),
        own_packages=serialized.own_packages,
        approval_required=spec.approval == "required",
    )


def _signature(pipeline: Any, facts: ModelFacts, golden: pd.DataFrame) -> Signature:
    regression = facts.spec.task == "regression"
    classes = None if regression else tuple(np.asarray(pipeline.classes_).tolist())
    return Signature(
        task=facts.spec.task,
        target=facts.spec.target,
        features={str(name): str(dtype) for name, dtype in golden.dtypes.items()},
        id_columns=facts.spec.split.id_columns,
        classes=classes,
        positive_class=facts.positive_class,
        threshold=facts.threshold,
    )


def _hyperparameters(facts: ModelFacts) -> dict[str, Any]:
    if facts.members:
        own = [
            _settings(one.configuration, one.rounds, one.fingerprint) | {"weight": one.weight}
            for one in facts.members
        ]
        return {"key": ENSEMBLE, "fingerprint": facts.fingerprint, "members": own}
    return _settings(facts.configuration, facts.rounds, facts.fingerprint)


def _settings(one: Configuration, rounds: int | None, fingerprint: str) -> dict[str, Any]:
    named = {"key": one.key, "algorithm": one.algorithm, "features": one.features}
    found = {"rounds": rounds, "fingerprint": fingerprint}
    return {**named, "hyperparameters": dict(one.hyperparameters), **found}


def _metrics(facts: ModelFacts) -> dict[str, Any]:
    return {
        "scores": [
            {
                "set": score.set_name,
                "metric": score.metric,
                **asdict(score.interval),
                "baseline": score.baseline,
            }
            for score in facts.scores
        ],
        "gates": [vars(gate) for gate in facts.gates],
        "threshold": facts.threshold,
        "looks": facts.looks,
        "overlap": facts.overlap,
        "champion": None if facts.champion is None else asdict(facts.champion),
        "reason": facts.reason,
        "members": [one.fingerprint for one in facts.members],
    }


def _package(type_name: str) -> str:
    return type_name.partition(".")[0]
