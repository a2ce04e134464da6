"""The cluster engine: each fit is a task on some worker; its result is stored as soon
as it arrives.

What fits share goes through the storage, tasks and results through Dask:

    <root>/<experiment>/shared/<digest>/
        *.npy        targets, weights, early-stopping set and folds; or the tables of one encoder

The digest is of what decides the files, so a rerun finds them; `storage/entries.py`
removes them. Before the first fit each worker's software is compared with that of this
process: Dask compares few packages, and only warns (distributed#7017).
"""

import platform
import secrets
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from experiment_pipeline.errors import (
    ClusterError,
    EntryCorrupt,
    ExperimentPipelineError,
)
from experiment_pipeline.spec import ExperimentSpec, Features
from experiment_pipeline.stages.registry import FITTING
from experiment_pipeline.stages.search import sweep
from experiment_pipeline.stages.search.budget import Brake
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.dask_cluster import Cluster
from experiment_pipeline.stages.search.encoding import as_read, encode
from experiment_pipeline.stages.search.fingerprints import (
    code_of,
    encoder_fingerprint,
    fingerprint,
)
from experiment_pipeline.stages.search.fitting import folds_to_calibrate
from experiment_pipeline.stages.search.learners.learner import Clock
from experiment_pipeline.stages.search.results import (
    FailedConfiguration,
    Outcome,
    Placement,
)
from experiment_pipeline.stages.search.shared_work import EncodedRows, Kept, SharedWork
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.statistics.importance import one_openmp_thread
from experiment_pipeline.storage import files as storage
from experiment_pipeline.storage.arrays import read_tables, write_tables
from experiment_pipeline.storage.entries import SharedFiles, SharedFolder
from experiment_pipeline.storage.records import fingerprint_of
from experiment_pipeline.storage.run_code import SOURCE
from experiment_pipeline.table.digests import sha256
from experiment_pipeline.table.membership import FoldRows

SAME_SOFTWARE = (
    "start every worker and the scheduler with the software of this process (one image or "
    "environment), and with the same storage and its credentials"
)
# Any of these changes a model.
PACKAGES = ("lightgbm", "numpy", "pandas", "pyarrow", "scikit-learn", "scipy", "skops")
# Not part of an installed package (`exclude` in pyproject.toml).
_NOT_INSTALLED = ("defs", "definitions.py")
_ABSENT = "not installed"
# Of shared work that a worker keeps in memory: about the encoders of one rung.
MOST_WORKS = 4
_NOTHING = np.zeros(0, dtype=bool)
# Attributes of `TrainingSets` that are shared, of the whole and of each fold; _TRUTH
# also of `SharedWork`.
_MASKS = ("early_stopping", "early_stopping_gap")
_TRUTH = ("y_train", "y_test", "w_train", "w_test")


@dataclass(frozen=True)
class Task:
    """One fit."""

    configuration: Configuration
    digests: tuple[str, ...]  # of the shared files: targets, and tables of its encoder
    folder: SharedFolder
    sets: TrainingSets  # without rows, by `bare`
    spec: ExperimentSpec  # the part that a fit may depend on
    software: Mapping[str, str]  # of the process that searches


class ClusterEngine(ExitStack):
    """Workers of a cluster, which is connected when the first fit needs it."""

    def __init__(
        self, connect: Callable[[], AbstractContextManager[Cluster]], files: SharedFiles
    ) -> None:
        """Train on the cluster that `connect` gives; every worker reaches the folder of
        `files`.
        """
        super().__init__()
        self._connect, self._files = connect, self.enter_context(files)
        self._cluster: Cluster | None = None

    @property
    def workers(self) -> int:
        """The threads of all workers that are there now."""
        return max(1, 1 if self._cluster is None else self._cluster.places())

    def train(
        self,
        configurations: Sequence[Configuration],
        sets: TrainingSets,
        spec: ExperimentSpec,
        brake: Brake | None = None,
    ) -> Generator[Outcome, None, None]:
        """Write what fits share, submit them, and yield each when it is done."""
        if not configurations:
            return
        cluster = self._connected(configurations)
        shared = share_files(configurations, sets, spec, self._files)
        sent, fitting = bare(sets), spec.part(FITTING)
        tasks = dict[str, Task]()
        for one in sweep.in_order(configurations, sets, brake):
            given = one, shared[one.features], self._files.folder, sent, fitting
            tasks[fingerprint(one, sets, spec)] = Task(
                *given, software((one.algorithm,))
            )

        def second(first: FailedConfiguration) -> Outcome:
            alone = {first.fingerprint: tasks[first.fingerprint]}
            before = 0 if first.placement is None else first.placement.attempts
            (outcome,) = _run(cluster, alone, None, before)
            return outcome

        yield from sweep.with_second_attempts(
            _run(cluster, tasks, brake), second, brake
        )

    def _connected(self, configurations: Sequence[Configuration]) -> Cluster:
        """Return the cluster; ClusterError: a worker has other software, or cannot read
        the storage.
        """
        if self._cluster is not None:
            return self._cluster
        cluster = self.enter_context(self._connect())
        algorithms = tuple(sorted({one.algorithm for one in configurations}))
        probe = self._files.folder.path / f".{secrets.token_hex(8)}.probe"
        storage.write_bytes(probe, b"probe")
        try:
            here = examine(algorithms, str(probe))
            answers = cluster.ask(examine, algorithms, str(probe))
        finally:
            storage.remove(probe)
        differ = list[str]()
        for address, there in sorted(answers.items()):
            if isinstance(there, BaseException):
                text = " ".join(str(there).split())[:200]
                differ.append(f"worker {address}: cannot run this package ({text})")
            elif found := differences(here, there):
                differ.append(f"worker {address}: {found}")
        if differ:
            culprit, _, rule = storage.without_credentials(
                "\n".join(differ[:5])
            ).partition(": ")
            raise ClusterError(culprit, rule, SAME_SOFTWARE)
        self._cluster = cluster
        return cluster


def _run(
    cluster: Cluster, tasks: Mapping[str, Task], brake: Brake | None, before: int = 0
) -> Generator[Outcome, None, None]:
    """Yield the outcomes of tasks by fingerprint; `before`: earlier attempts."""

    def may_start(print_: str) -> bool:
        return brake is None or brake.may_start(tasks[print_].configuration.key)

    with closing(cluster.run(run_task, tasks, may_start=may_start)) as ended:
        for done in ended:
            key, (outcome, read_seconds) = done.key, done.value or (None, 0.0)
            if outcome is None:
                # Not necessarily the configuration's fault: another fit may have killed
                # the worker.
                what = (
                    tasks[key].configuration.key,
                    key,
                    "LostWorker",
                    done.lost or "",
                    "",
                )
                outcome = FailedConfiguration(*what, is_of_the_machine=True)
            attempts = before + done.attempts
            placement = Placement(
                done.worker, attempts, done.queue_seconds, read_seconds
            )
            failed = (
                isinstance(outcome, FailedConfiguration)
                and not outcome.is_of_the_machine
            )
            if brake is not None:
                brake.saw(failure=failed)
            if isinstance(outcome, FailedConfiguration):
                yield replace(outcome, fingerprint=key, placement=placement)
            else:
                yield replace(
                    outcome, result=replace(outcome.result, placement=placement)
                )


def share_files(
    configurations: Sequence[Configuration],
    sets: TrainingSets,
    spec: ExperimentSpec,
    files: SharedFiles,
) -> dict[Features, tuple[str, ...]]:
    """Write what these fits share, unless it is there; encoder → digests of what its
    fits read.
    """
    found = dict[str, np.ndarray | None]()
    for prefix, part in _parts(sets).items():
        found |= {f"{prefix}{name}": getattr(part, name) for name in (*_MASKS, *_TRUTH)}
    for number, fold in enumerate(sets.folds):
        found |= {
            f"fold{number}-fitted": fold.fitted,
            f"fold{number}-places": fold.places,
        }
    for number, rows in enumerate(folds_to_calibrate(configurations, sets, spec)):
        found |= {f"calibrate{number}-fitted": rows.fitted}
        found |= {f"calibrate{number}-predicted": rows.predicted}
    arrays = {name: array for name, array in found.items() if array is not None}
    contents = {
        name: [
            str(array.dtype),
            list(array.shape),
            sha256(np.ascontiguousarray(array).data),
        ]
        for name, array in arrays.items()
    }
    truth = fingerprint_of(**contents)
    if files.lacks(truth):
        files.put(truth, partial(write_tables, arrays))
    shared = dict[Features, tuple[str, ...]]()
    for encoder in dict.fromkeys(one.features for one in configurations):
        encoded = fingerprint_of(
            encoder=encoder_fingerprint(encoder, sets),
            test=sets.digests["test"],
            directions=dict(sets.directions),
            truth=truth,
        )
        shared[encoder] = truth, encoded
        if files.lacks(encoded):
            files.put(encoded, partial(_write_encoded, encoder, sets))
    return shared


def _parts(sets: TrainingSets) -> dict[str, TrainingSets]:
    """The prefix of their files → the sets, and those of their folds."""
    return {"": sets} | {f"fold{n}-": fold.sets for n, fold in enumerate(sets.folds)}


def _write_encoded(encoder: Features, sets: TrainingSets, folder: Path) -> None:
    """Write what fits read of encoded rows; a large table slice by slice, as it is
    encoded.
    """
    for prefix, given in _parts(sets).items():
        part, trusted = as_read(given)
        # Targets are in a file of their own.
        made, test = encode(encoder, part, _NOTHING, in_memory=False)
        facts = {"categorical": made.categorical, "directions": made.directions}
        facts["trusted"] = list(" ".join(trusted).encode())
        tables = {"train": made.table, "test": test} | {
            name: np.array(fact, dtype=np.int64)
            for name, fact in facts.items()
            if fact is not None
        }
        write_tables(
            {f"{prefix}{name}": table for name, table in tables.items()}, folder
        )


def bare(sets: TrainingSets) -> TrainingSets:
    """Return the sets without rows and masks, to be sent with each task."""
    folds = tuple(
        replace(fold, sets=bare(fold.sets), fitted=_NOTHING, places=_NOTHING)
        for fold in sets.folds
    )
    # Not an empty slice: that would keep every category, and send all of their texts.
    rows, masks = (
        pd.DataFrame(),
        {"early_stopping": _NOTHING, "early_stopping_gap": None},
    )
    return replace(sets, train=rows, test=rows, folds=folds, **masks)


def run_task(task: Task) -> tuple[Outcome, float]:
    """Fit a configuration in this thread of a worker; return the outcome, and seconds
    of reading. Raises ClusterError: other software; EntryCorrupt: a shared file is gone
    or damaged.
    """
    sweep.parse_one_at_a_time()
    _one_thread_each(threading.get_ident())
    one = task.configuration
    if found := differences(task.software, software((one.algorithm,))):
        raise ClusterError("a worker that joined the search", found, SAME_SOFTWARE)
    # The seed decides the bins of large tables.
    key = task.folder, task.digests, task.sets.classes, task.spec.seed
    read = partial(read_shared, task.folder, task.digests, one.features, task.sets)
    reading = Clock()
    try:
        with reading:
            work, sets = storage.patiently(partial(_WORKS.get, key, read))
    except EntryCorrupt as damage:
        fix = "run again, which writes it anew; do not run two searches of one experiment at a time"
        raise EntryCorrupt(damage.culprit, damage.rule, fix) from None
    except Exception as error:  # noqa: BLE001 - as in `trained_or_failed`
        return sweep.failure_of(one, "", error), reading.wall_seconds
    return sweep.trained_or_failed(one, work, sets, task.spec), reading.wall_seconds


@cache
def _one_thread_each(_: int) -> None:
    """Limit BLAS in this process and OpenMP in this thread: once, as it takes
    milliseconds.
    """
    threadpool_limits(limits=1, user_api="blas")
    one_openmp_thread()


# Of this process: its threads share them.
_WORKS = Kept(MOST_WORKS)


def read_shared(
    folder: SharedFolder, digests: Sequence[str], encoder: Features, sets: TrainingSets
) -> tuple[SharedWork, TrainingSets]:
    """Return what fits of an encoder share, and the `bare` sets with the masks that
    fits need.
    """
    arrays = dict[str, Any]()
    for digest in digests:
        with folder.entries.as_files(digest) as files:
            arrays |= read_tables(files)

    def with_masks(part: TrainingSets, prefix: str) -> TrainingSets:
        masks: dict[str, Any] = {name: arrays.get(f"{prefix}{name}") for name in _MASKS}
        return replace(part, **masks)

    def work(prefix: str) -> SharedWork:
        truth: dict[str, Any] = {name: arrays.get(f"{prefix}{name}") for name in _TRUTH}
        directions = arrays.get(f"{prefix}directions")
        rows = EncodedRows(
            arrays[f"{prefix}train"],
            truth["y_train"],
            arrays[f"{prefix}categorical"].tolist(),
            truth["w_train"],
            None if directions is None else directions.tolist(),
        )
        test = {encoder: arrays[f"{prefix}test"]}
        trusted = tuple(bytes(arrays[f"{prefix}trusted"].tolist()).decode().split())
        return SharedWork(
            train={encoder: rows}, test=test, trusted_types=trusted, **truth
        )

    folds = tuple(
        replace(
            fold,
            sets=with_masks(fold.sets, f"fold{number}-"),
            fitted=arrays[f"fold{number}-fitted"],
            places=arrays[f"fold{number}-places"],
        )
        for number, fold in enumerate(sets.folds)
    )
    whole, *parts = map(work, _parts(sets))
    to_calibrate = tuple(
        FoldRows(0, fitted, arrays[f"calibrate{number}-predicted"])
        for number in range(len(arrays))
        if (fitted := arrays.get(f"calibrate{number}-fitted")) is not None
    )
    shared = replace(whole, folds=tuple(parts), folds_to_calibrate=to_calibrate)
    return shared, replace(with_masks(sets, ""), folds=folds)


def examine(algorithms: tuple[str, ...], probe: str) -> dict[str, str]:
    """Return the software of the worker that this runs on, and whether it can read a
    stored object.
    """
    found = "can be read"
    try:
        storage.read_bytes(storage.location(probe))
    except ExperimentPipelineError as error:
        found = f"cannot be read ({error.culprit}: {error.rule})"
    return software(algorithms) | {"storage": found}


@cache
def software(algorithms: tuple[str, ...]) -> dict[str, str]:
    """Return name → version or digest of what decides fits of these algorithms in this
    process.
    """
    found = {
        "Python": ".".join(platform.python_version_tuple()[:2]),
        "processor": platform.machine(),
        **{name: metadata.version(name) for name in PACKAGES},
        "source of experiment-pipeline": _source_digest(),
    }
    for algorithm in algorithms:
        try:
            code = code_of(algorithm)
        except metadata.PackageNotFoundError:
            continue
        found |= {
            name: str(version) for name, version in code.items() if name != SOURCE
        }
        if SOURCE in code:
            found[f"module of {algorithm}"] = (code[SOURCE] or _ABSENT)[:13]
    return found | {"bytes of a small fit": _golden_digest()}


def differences(here: Mapping[str, str], there: Mapping[str, str]) -> str:
    """Return how a worker's software differs from this process's, as text; empty: it
    does not.
    """
    return "; ".join(
        f"{name} {there.get(name, _ABSENT)}, here {value}"
        for name, value in here.items()
        if there.get(name, _ABSENT) != value
    )


@cache
def _source_digest() -> str:
    """Return one digest of the source files of this package that are installed on
    workers, too.
    """
    root = Path(__file__).parents[2]
    files = [path.relative_to(root) for path in sorted(root.rglob("*.py"))]
    installed = [path for path in files if path.parts[0] not in _NOT_INSTALLED]
    parts = [
        f"{path.as_posix()} {sha256((root / path).read_bytes())}" for path in installed
    ]
    return sha256("\n".join(parts).encode())[:8]


@cache
def _golden_digest() -> str:
    """Return the digest of what LightGBM and scikit-learn make of 400 rows: processors
    may differ.
    """
    import lightgbm as lgb
    from sklearn.linear_model import LogisticRegression

    # Whole numbers that look drawn, so that no library is asked for them.
    table = (np.arange(1_200) * 7_919 % 1_009 / 1_009).reshape(400, 3)
    y = (table[:, 0] * table[:, 1] > table[:, 2] / 2).astype(np.int64)
    settings = {"verbosity": -1, "num_threads": 1}
    how = {
        "objective": "binary",
        "seed": 0,
        "deterministic": True,
        "force_row_wise": True,
    }
    with threadpool_limits(limits=1):
        booster = lgb.train(how | settings, lgb.Dataset(table, y, params=settings), 10)
        found = [booster.predict(table), LogisticRegression().fit(table, y).coef_]
    parts = [
        booster.model_to_string().encode(),
        *(np.asarray(one).tobytes() for one in found),
    ]
    return sha256(b"".join(parts))[:8]
