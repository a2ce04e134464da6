"""The one check of a worker: what decides the bytes of a fit is the same there as here.

Dask compares numpy, pandas, Python and its own packages, and only warns; not lightgbm, scikit-learn,
pyarrow and skops (distributed#7017), any of which changes a model. In: the algorithms of a search.
Out: name → version or digest, and differences as text.
"""

import platform
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

import experiment_pipeline
from experiment_pipeline.errors import ExperimentPipelineError
from experiment_pipeline.stages.search.fingerprints import SOURCE, code_of
from experiment_pipeline.storage.files import location, read_bytes
from experiment_pipeline.table.digests import sha256

PACKAGES = ("lightgbm", "numpy", "pandas", "pyarrow", "scikit-learn", "scipy", "skops")
# Not part of an installed package (`exclude` in pyproject.toml).
_NOT_INSTALLED = ("defs", "definitions.py")
STORAGE, REACHED, _ABSENT = "storage", "can be read", "not installed"


def examine(algorithms: tuple[str, ...], probe: str) -> dict[str, str]:
    """Return the software of the worker that this runs on, and whether it reads a stored object."""
    try:
        read_bytes(location(probe))
    except ExperimentPipelineError as error:
        return {**software(algorithms), STORAGE: f"cannot be read ({error.culprit}: {error.rule})"}
    return {**software(algorithms), STORAGE: REACHED}


@cache
def software(algorithms: tuple[str, ...]) -> dict[str, str]:
    """Return name → version or digest of what decides fits of these algorithms in this process.

    As it was when it was first asked for: later edits need a restart.
    """
    found = {
        "Python": ".".join(platform.python_version_tuple()[:2]),
        "processor": platform.machine(),
        **{name: _version(name) for name in PACKAGES},
        "source of experiment-pipeline": _source_digest(),
    }
    for algorithm in algorithms:
        try:
            code = code_of(algorithm)
        except metadata.PackageNotFoundError:
            continue
        found |= {name: str(version) for name, version in code.items() if name != SOURCE}
        if SOURCE in code:
            found[f"module of {algorithm}"] = str(code[SOURCE] or _ABSENT)
    return found | {"bytes of a small fit": _golden_digest()}


def differences(here: Mapping[str, str], there: Mapping[str, str]) -> str:
    """Return what a worker has otherwise than this process, as text; empty: nothing."""

    def shown(value: str) -> str:
        return value[:8] if len(value) == 64 else value

    return "; ".join(
        f"{name} {shown(there.get(name, _ABSENT))}, here {shown(value)}"
        for name, value in here.items()
        if there.get(name, _ABSENT) != value
    )


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return _ABSENT


@cache
def _source_digest() -> str:
    """Return the digest of every source file of this package, as it is installed elsewhere too."""
    root = Path(experiment_pipeline.__file__).parent
    files = [path.relative_to(root) for path in sorted(root.rglob("*.py"))]
    installed = [path for path in files if path.parts[0] not in _NOT_INSTALLED]
    parts = [f"{path.as_posix()} {sha256((root / path).read_bytes())}" for path in installed]
    return sha256("\n".join(parts).encode())


@cache
def _golden_digest() -> str:
    """Return the digest of what LightGBM and scikit-learn make of 400 rows: processors may differ."""
    import lightgbm as lgb
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    # Whole numbers that look drawn, so that no library is asked for them.
    table = (np.arange(1_200) * 7_919 % 1_009 / 1_009).reshape(400, 3)
    y = (table[:, 0] * table[:, 1] > table[:, 2] / 2).astype(np.int64)
    settings = {"verbosity": -1, "num_threads": 1}
    how = {"objective": "binary", "seed": 0, "deterministic": True, "force_row_wise": True}
    with threadpool_limits(limits=1):
        booster = lgb.train(how | settings, lgb.Dataset(table, y, params=settings), 10)
        linear = LogisticRegression().fit(table, y)
        forest = RandomForestClassifier(5, random_state=0, n_jobs=1).fit(table, y)
        found = [booster.predict(table), linear.coef_, forest.predict_proba(table)]
    parts = [booster.model_to_string().encode(), *(np.asarray(one).tobytes() for one in found)]
    return sha256(b"".join(parts))
