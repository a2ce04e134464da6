"""Train the configuration of an exported version again, and compare the results byte by
byte.

In: a version's files, or those of its commit, and the address of its table. Out: a
`Reproduction`, which lists the inputs that differ. Nothing is stored, recorded or
published.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml

from experiment_pipeline.errors import InvalidModel
from experiment_pipeline.experiment.in_memory import ExperimentRun, Log, run_experiment
from experiment_pipeline.prediction.rows import TOLERANCE
from experiment_pipeline.spec import Data
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
_CPU, _SAME, _DIGEST = (
    "CPU kernel",
    "same",
    re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b"),
)


@dataclass(frozen=True)
class Compared:
    """One input of the training, or one file that it made, at the export and here."""

    what: str
    exported: str
    here: str  # `same` if it does not differ


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
    settings: dict[str, Any] = yaml.safe_load(model.read("experiment.yaml"))
    address = (settings.pop("data", None) or {}) | ({"url": data} if data else {})
    if not address:
        raise InvalidModel(
            name, "its table was in memory", "Name a file of it with --data."
        )
    members = chosen.get("members", [chosen])
    kept = ("algorithm", "features", "hyperparameters")
    search = [{key: one[key] for key in kept} | {"name": one["key"]} for one in members]
    # Train each on all rows, without time limit; without `split`, the split would be
    # inferred.
    settings |= {"search": search, "halving": "off", "budget": {}}
    settings.setdefault("split", {"by": "random"})
    model.check_trusted(_own_code(settings), trusted)
    weights = {one["key"]: one["weight"] for one in members if "weight" in one}
    by_hand = ChoiceByHand(chosen["key"], f"it is {name}", "reproduce", weights)
    given = {"schema": model.read(SCHEMA).decode(), "by_hand": by_hand, "log": log}
    run = run_experiment(Data.model_validate(address), **given, **settings)
    found = [(a, b, _SAME if b == c else c) for a, b, c in _compared(model, run)]
    verdict = _judged(model, run, [what for what, _, here in found if here != _SAME])
    rows = ([_DIGEST.sub(r"\1…", one) for one in row] for row in found)
    return Reproduction(name, *verdict, tuple(Compared(*row) for row in rows))


def _own_code(settings: Mapping[str, Any]) -> list[str]:
    """`ExperimentSpec.import_paths` without importing the code, and without
    scikit-learn's paths.
    """
    named = [one["algorithm"] for one in settings["search"]]
    named += [one["metric"] for one in (settings, *settings.get("acceptance", ()))]
    named += settings.get("analysis", {}).get("findings", ())
    named.append(settings.get("preparation", {}).get("function") or "")
    named.append((settings.get("features") or {}).get("transformer", ""))
    return [
        one
        for one in named
        if re.search("[.:]", one) and not one.startswith("sklearn.")
    ]


def _compared(
    model: ExportedModel, run: ExperimentRun
) -> Iterator[tuple[str, str, str]]:
    """Yield (what, value at the export, value here), from the table to the model."""
    known, kernel = model.manifest, cpu_kernel()
    yield "table as delivered", known.data or run.raw.digest, run.raw.digest
    assert run.sets
    assert run.leaderboard
    for name, now in run.sets.by_name().items():
        was = json.loads(model.read(_SETS))[name]
        here = f"{len(now.rows):,} rows, {now.digest}"
        yield f"{name} set", f"{was['rows']:,} rows, {was['sha256']}", here
    yield from versions_beside(model.read(ENVIRONMENT).decode())
    made = {} if run.package is None else run.package.files
    for name in known.files if made else ():
        if name.startswith(CODE):
            yield name, known.files[name], sha256(made.get(name, b""))
    fingerprint = yaml.safe_load(model.read(_CONFIGURATION))["fingerprint"]
    yield "hyperparameters, seed, code", fingerprint, run.leaderboard.fingerprint
    yield _CPU, known.cpu or kernel, kernel
    for name in (MODEL, EXPECTED) if made else ():
        yield name, known.files[name], sha256(made[name])


def _judged(
    model: ExportedModel, run: ExperimentRun, differing: list[str]
) -> tuple[bool, str]:
    """Whether the model is reproduced, and the verdict; `differing`: names in the order
    of `_compared`.
    """
    first = "no input differs; a fit may use random numbers without a seed"
    if differing and differing[0] not in {MODEL, EXPECTED}:
        first = f"the first input that differs: {differing[0]}"
    if run.package is None:
        return False, f"not reproduced: {first}; here no model is accepted"
    if not {MODEL, EXPECTED} & {*differing}:
        return True, "reproduced: model and predictions are the same, byte by byte"
    made, said = run.package.files, ""
    was, now = (json.loads(one) for one in (model.read(EXPECTED), made[EXPECTED]))
    old, new = (
        np.asarray(one[max(was)], np.float64) for one in (was, now)
    )  # of predict_proba
    if (
        sha256(made[EXAMPLE]) == model.manifest.files[EXAMPLE]
        and old.shape == new.shape
    ):
        apart = np.max(np.abs(new - old) / np.maximum(np.abs(old), 1), initial=0)
        how = f"differ by up to {apart:.1e}" if apart else "are the same"
        said = f"; predictions {how}"
        if differing[0] == _CPU and apart <= TOLERANCE:
            return (
                True,
                f"reproduced on another {_CPU}{said}, {TOLERANCE:g} is tolerated",
            )
    return False, f"not reproduced: {first}{said}"
