"""Train the configuration of an exported version again, and compare byte by byte.

In: a version's files, or those of its commit, and the address of its table. Out: a
`Reproduction`, which lists the inputs that differ. Nothing is stored, recorded or
published.
"""

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml

from experiment_pipeline.errors import InvalidModel, imported
from experiment_pipeline.experiment.in_memory import ExperimentRun, Log, run_experiment
from experiment_pipeline.prediction.rows import TOLERANCE
from experiment_pipeline.spec import Data, notation
from experiment_pipeline.stages.leaderboard.board import ChoiceByHand
from experiment_pipeline.storage.provenance import (
    CODE,
    ENVIRONMENT,
    cpu_kernel,
    versions_beside,
)
from experiment_pipeline.storage.registry import (
    EXAMPLE,
    EXPECTED,
    MODEL,
    SCHEMA,
    ExportedModel,
)
from experiment_pipeline.table.digests import sha256

_CONFIGURATION, _SETS = "hyperparameters.yaml", "sets.json"
# Settings that matter to Dagster alone; a variable that they name may be absent here.
_WITHOUT_EFFECT = ("owners", "run_tags", "schedule", "tags")
_CPU, _SAME = "CPU kernel", "same"
_DIGEST = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b")


@dataclass(frozen=True)
class Compared:
    """One input of the training, or one file that it made, at the export and here."""

    what: str
    exported: str
    here: str  # `same` if it does not differ

    @property
    def shortened(self) -> "Compared":
        """The same with the first digits of digests."""
        exported = _DIGEST.sub(r"\1…", self.exported)
        return Compared(self.what, exported, here=_DIGEST.sub(r"\1…", self.here))


@dataclass(frozen=True)
class Reproduction:
    """The result of training again."""

    model: str  # experiment and version
    reproduced: bool
    verdict: str
    compared: tuple[Compared, ...]  # inputs, upstream ones first; then files


def reproduce(
    model: ExportedModel, data: str | None, trusted: Collection[str], log: Log
) -> Reproduction:
    """Train and refit the configuration of a version, or the members of its ensemble.

    `data`: path or URL of the table; None: as exported. `trusted`: import paths, as in
    the YAML, of user code that may run. On another CPU kernel, predictions may differ
    by up to TOLERANCE.

    Raises InvalidModel: a file was changed, or names code that is not trusted; and as
    `run_experiment`.
    """
    name = f"{model.manifest.experiment} {model.manifest.version}"
    chosen = yaml.safe_load(model.read(_CONFIGURATION))
    settings = model.settings(leave_out=_WITHOUT_EFFECT, url=data)
    address = settings.pop("data", None)
    if not address:
        raise InvalidModel(
            name,
            rule="its table was in memory",
            fix="Name a file of it with --data.",
        )
    members = chosen.get("members", [chosen])
    settings["search"] = [
        {
            "name": member["key"],
            "algorithm": member["algorithm"],
            "features": member["features"],
            "hyperparameters": member["hyperparameters"],
        }
        for member in members
    ]
    # Train each on all rows, without time limit; without `split`, the split would be
    # inferred.
    settings |= {"halving": "off", "budget": {}}
    settings.setdefault("split", {"by": "random"})
    model.check_trusted(_own_code(settings), trusted)
    weights = {m["key"]: m["weight"] for m in members if "weight" in m}
    run = run_experiment(
        Data.model_validate(address),
        schema=model.read(SCHEMA).decode(),
        by_hand=ChoiceByHand(chosen["key"], f"it is {name}", "reproduce", weights),
        log=log,
        **settings,
    )
    compared = [
        Compared(subject, exported, _SAME if exported == value else value)
        for subject, exported, value in _compared(model, run)
    ]
    differing = [row.what for row in compared if row.here != _SAME]
    reproduced, verdict = _judged(model, run, differing)
    return Reproduction(
        name, reproduced, verdict, tuple(row.shortened for row in compared)
    )


def _own_code(settings: Mapping[str, Any]) -> list[str]:
    """`ExperimentSpec.import_paths` without those that scikit-learn defines; only its
    modules are imported here.
    """
    names = [entry["algorithm"] for entry in settings["search"]]
    names += notation.paths_in(settings["search"])
    names += [part["metric"] for part in (settings, *settings.get("acceptance", ()))]
    names += settings.get("analysis", {}).get("findings", ())
    names.append(settings.get("preparation", {}).get("function") or "")
    names.append((settings.get("features") or {}).get("transformer", ""))
    paths = [name for name in names if "." in name or ":" in name]
    return [path for path in paths if not _is_of_scikit_learn(path)]


def _is_of_scikit_learn(path: str) -> bool:
    """Whether scikit-learn defines what is at a path: its modules also have names of
    others, such as `sklearn.utils._testing.check_output`, which starts programs.
    """
    if not path.startswith("sklearn."):
        return False
    module_name, _, name = path.replace(":", ".").rpartition(".")
    definition = imported(f"{module_name}:{name}", path, "class or function")
    return str(getattr(definition, "__module__", "")).startswith("sklearn.")


def _compared(
    model: ExportedModel, run: ExperimentRun
) -> Iterator[tuple[str, str, str]]:
    """Yield (what, value at the export, value here), from the table to the model."""
    manifest = model.manifest
    kernel = cpu_kernel()
    yield "table as delivered", manifest.data or run.raw.digest, run.raw.digest
    assert run.leaderboard
    yield from _compared_sets(model, run)
    yield from versions_beside(model.read(ENVIRONMENT).decode())
    own_code = [name for name in manifest.files if name.startswith(CODE)]
    yield from _compared_files(model, run, own_code)
    fingerprint = yaml.safe_load(model.read(_CONFIGURATION))["fingerprint"]
    yield "hyperparameters, seed, code", fingerprint, run.leaderboard.fingerprint
    yield _CPU, manifest.cpu or kernel, kernel
    yield from _compared_files(model, run, (MODEL, EXPECTED))


def _compared_sets(
    model: ExportedModel, run: ExperimentRun
) -> Iterator[tuple[str, str, str]]:
    assert run.sets
    exported_sets = json.loads(model.read(_SETS))
    for name, set_table in run.sets.by_name().items():
        exported = exported_sets[name]
        yield (
            f"{name} set",
            f"{exported['rows']:,} rows, {exported['sha256']}",
            f"{len(set_table.rows):,} rows, {set_table.digest}",
        )


def _compared_files(
    model: ExportedModel, run: ExperimentRun, names: Iterable[str]
) -> Iterator[tuple[str, str, str]]:
    """Nothing if no model is accepted here."""
    if run.package is not None:
        for name in names:
            content = run.package.files.get(name, b"")
            yield name, model.manifest.files[name], sha256(content)


def _judged(
    model: ExportedModel, run: ExperimentRun, differing: list[str]
) -> tuple[bool, str]:
    """Return whether the model is reproduced, and the verdict.

    `differing`: names in the order of `_compared`.
    """
    reason = "no input differs; a fit may use random numbers without a seed"
    if differing and differing[0] not in {MODEL, EXPECTED}:
        reason = f"the first input that differs: {differing[0]}"
    if run.package is None:
        return False, f"not reproduced: {reason}; here no model is accepted"
    if not {MODEL, EXPECTED} & {*differing}:
        return True, "reproduced: model and predictions are the same, byte by byte"
    difference = _largest_difference(model, run.package.files)
    if difference is None:
        return False, f"not reproduced: {reason}"
    words = f"differ by up to {difference:.1e}" if difference else "are the same"
    if differing[0] == _CPU and difference <= TOLERANCE:
        verdict = f"reproduced on another {_CPU}; predictions {words}"
        return True, f"{verdict}, {TOLERANCE:g} is tolerated"
    return False, f"not reproduced: {reason}; predictions {words}"


def _largest_difference(
    model: ExportedModel, files: Mapping[str, bytes]
) -> float | None:
    """Return the largest (relative, absolute) difference of the example predictions.

    None: the example rows are others.
    """
    if sha256(files[EXAMPLE]) != model.manifest.files[EXAMPLE]:
        return None
    before, after = (
        np.asarray(predictions[max(predictions)], np.float64)  # of predict_proba
        for predictions in map(json.loads, (model.read(EXPECTED), files[EXPECTED]))
    )
    if before.shape != after.shape:
        return None
    differences = np.abs(after - before) / np.maximum(np.abs(before), 1)
    return float(np.max(differences, initial=0))
