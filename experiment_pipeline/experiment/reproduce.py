"""Train the configuration of an exported version again, and compare it byte by byte.

In: a version's files, or those of its commit, and the address of its table. Out: a `Reproduction`,
which names the inputs that differ. Nothing is stored, recorded or published.
"""

import json
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from experiment_pipeline.errors import ExperimentPipelineError, InvalidModel
from experiment_pipeline.experiment.flow import ExperimentRun, Log, run_experiment
from experiment_pipeline.prediction.files import check_trusted
from experiment_pipeline.prediction.rows import SIGNATURE, TOLERANCE, largest_difference
from experiment_pipeline.spec.experiment import spec_from
from experiment_pipeline.stages.leaderboard.board import ChoiceByHand
from experiment_pipeline.stages.raw_data.sources import read_source
from experiment_pipeline.stages.raw_data.table import parse
from experiment_pipeline.storage.provenance import CODE, cpu_kernel, versions_beside
from experiment_pipeline.storage.registry import EXAMPLE, EXPECTED, MODEL, SCHEMA, ExportedModel
from experiment_pipeline.table.digests import sha256

_CONFIGURATION, _SPEC = "hyperparameters.yaml", "experiment.yaml"
_ENVIRONMENT, _SETS = "environment.txt", "sets.json"
_CPU, _SAME = "CPU kernel", "same"
_DIGITS = 12  # of a digest


@dataclass(frozen=True)
class Compared:
    """An input, or a file that training made, in words."""

    what: str
    exported: str
    here: str  # `same`, where it does not differ


@dataclass(frozen=True)
class Reproduction:
    """What training again has shown."""

    model: str  # experiment and version
    reproduced: bool
    verdict: str
    inputs: tuple[Compared, ...]  # in the order in which they are blamed
    files: tuple[Compared, ...]  # none where training ended with an error
    # as of `largest_difference`, of the predictions of the example rows; None: other rows, or none
    difference: float | None
    hint: str  # how to get the environment of the export; empty: this one is alike


def reproduce(
    model: ExportedModel,
    data: str = "",
    trusted: Collection[str] = (),
    log: Log = lambda _: None,
) -> Reproduction:
    """Train and refit the configuration of a version, or each member of its ensemble.

    `data`: path or URL of the table; empty: as exported. `trusted`: own code that may run, by the import
    paths of the YAML. On another CPU kernel predictions may differ by TOLERANCE.

    Raises InvalidModel: a file was changed, is gone, or needs code that is not trusted; what
    `run_experiment` raises, where no input differs.
    """
    name = f"{model.manifest.experiment} {model.manifest.version}"
    files = {
        one: model.read(one).decode()
        for one in (_CONFIGURATION, _SPEC, _ENVIRONMENT, _SETS, SCHEMA, EXPECTED)
    }
    chosen, settings = (yaml.safe_load(files[one]) for one in (_CONFIGURATION, _SPEC))
    members = chosen.get("members", [chosen])
    own = _own_code(settings, members)
    check_trusted(own, trusted, name)
    settings |= _alone(members) | (
        {"data": {**(settings["data"] or {}), "url": data}} if data else {}
    )
    weights = {one["key"]: one["weight"] for one in members if "weight" in one}
    by_hand = ChoiceByHand(chosen["key"], f"it is {name}", "reproduce", weights)
    run, failed = None, None
    with _importable(model) if own else nullcontext():
        spec = spec_from(settings.pop("name"), settings, needs_data=True)
        given = spec.model_dump(mode="json", exclude_unset=True, exclude={"name", "target", "data"})
        given["split"] = spec.split.model_dump(mode="json")
        how: dict[str, Any] = {"schema": files[SCHEMA], "by_hand": by_hand, "log": log}
        try:
            run = run_experiment(spec.source, spec.target, name=spec.name, **how, **given)
            _ = run.model
        except ExperimentPipelineError as error:
            failed = error
    # Where the run has failed, the table is read once more, to see whether it is another one.
    table = parse(read_source(spec.source), spec.source) if run is None else run.raw
    versions = list(versions_beside(files[_ENVIRONMENT]))
    inputs = _inputs(model, files[_SETS], versions, table.digest, chosen["fingerprint"], run)
    if failed and run is None and {one.here for one in inputs} == {_SAME}:
        raise failed
    made, difference = _made(model, files[EXPECTED], run, composed=bool(weights))
    judged = _judged(inputs, made, difference, failed)
    hint = _hint(str(model.folder / _ENVIRONMENT), versions)
    return Reproduction(name, *judged, inputs, made, difference, hint)


def _alone(members: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Settings that train these configurations and no others, whatever the time."""
    kept = ("algorithm", "features", "hyperparameters")
    search = [{key: one[key] for key in kept} | {"name": one["key"]} for one in members]
    return {"search": search, "halving": "off", "budget": {}}


def _own_code(settings: Mapping[str, Any], members: Sequence[Mapping[str, Any]]) -> list[str]:
    """As of `ExperimentSpec.import_paths`, which would import them; without those of scikit-learn."""
    named = [one["algorithm"] for one in members]
    named += [one["metric"] for one in (settings, *settings.get("acceptance", ()))]
    named += settings.get("analysis", {}).get("findings", ())
    named.append(settings.get("preparation", {}).get("function") or "")
    named.append((settings.get("features") or {}).get("transformer", ""))
    own = [one for one in named if not one.startswith("sklearn.")]
    return [one for one in own if "." in one or ":" in one]


@contextmanager
def _importable(model: ExportedModel) -> Iterator[None]:
    """Modules that were saved with a version are found before all others."""
    with TemporaryDirectory(prefix="experiment_pipeline_code_") as folder:
        home = Path(folder).resolve()
        for name in (one for one in model.manifest.files if one.startswith(CODE)):
            place = (home / name).resolve()
            if not place.is_relative_to(home):
                raise InvalidModel(name, "its path leads out of the version", "Use another copy.")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(model.read(name))
        sys.path.insert(0, str(home / CODE))
        try:
            yield
        finally:
            sys.path.remove(str(home / CODE))


def _compared(what: str, exported: str, here: str, shown: int | None = None) -> Compared:
    return Compared(what, exported[:shown], _SAME if here == exported else here[:shown])


def _inputs(
    model: ExportedModel,
    sets: str,
    versions: Sequence[tuple[str, str, str]],
    delivered: str,
    fingerprint: str,
    run: ExperimentRun | None,
) -> tuple[Compared, ...]:
    manifest = model.manifest
    found = [_compared("table as delivered", manifest.data or delivered, delivered, _DIGITS)]
    for name, one in json.loads(sets).items() if run and run.sets else ():
        here = run.sets.by_name()[name]
        both = (one["rows"], one["sha256"]), (len(here.rows), here.digest)
        words = (f"{rows:,} rows, {digest[:_DIGITS]}" for rows, digest in both)
        found.append(_compared(f"{name} set", *words))
    found += [_compared(*one) for one in versions]
    if run and run.leaderboard:
        here = run.leaderboard.fingerprint
        found.append(_compared("hyperparameters, seed, code", fingerprint, here, _DIGITS))
    kernel = cpu_kernel()
    return (*found, _compared(_CPU, manifest.cpu or kernel, kernel))


def _made(
    model: ExportedModel, expected: str, run: ExperimentRun | None, *, composed: bool
) -> tuple[tuple[Compared, ...], float | None]:
    """The files that decide predictions; the largest difference of predictions."""
    if run is None or run.package is None:
        return (), None
    made, known = run.package.files, model.manifest.files
    # The threshold of an ensemble rests on all models of the search.
    names = (MODEL, EXPECTED) if composed else (MODEL, EXPECTED, SIGNATURE)
    files = tuple(_compared(one, known[one], sha256(made[one]), _DIGITS) for one in names)
    if sha256(made[EXAMPLE]) != known[EXAMPLE]:
        return files, None
    before, now = json.loads(expected), json.loads(made[EXPECTED])
    method = "predict_proba" if "predict_proba" in before else "predict"
    return files, largest_difference(before[method], now[method])


def _judged(
    inputs: Sequence[Compared],
    files: Sequence[Compared],
    difference: float | None,
    failed: ExperimentPipelineError | None,
) -> tuple[bool, str]:
    """Whether it is reproduced, and the verdict."""
    others = [one.what for one in inputs if one.here != _SAME]
    if files and {one.here for one in files} == {_SAME}:
        return True, "reproduced: model and predictions are the same, byte by byte"
    apart = "" if difference is None else f"predictions differ by up to {difference:.1e}"
    if others == [_CPU] and difference is not None and difference <= TOLERANCE:
        within = f"{TOLERANCE:g} is tolerated"
        return True, f"reproduced on another CPU kernel: {apart}; {within}"
    first = (
        f"the first input that differs: {others[0]}"
        if others
        else ("no recorded input differs: a fit may draw without a seed")
    )
    ended = "" if failed is None else f"here the run ended with {failed.culprit}: {failed.rule}"
    return False, "; ".join(filter(None, [f"not reproduced: {first}", apart, ended]))


def _hint(environment: str, versions: Sequence[tuple[str, str, str]]) -> str:
    if all(was == here for _, was, here in versions):
        return ""
    (_, package, _), (_, python, _), *_ = versions
    wheel = f"experiment_pipeline-{package}-py3-none-any.whl"
    install = f"uv pip install --python again -r {environment} {wheel}"
    return f"the environment of the export: uv venv --python {python} again && {install}"
