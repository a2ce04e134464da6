"""The memory that each stage was foreseen to take, against its peak: whole experiments, watched.

An experiment on each of many shapes of tables, and its model on the same table, run in a process of
their own, which notes what it is told before each stage; from outside, its anonymous memory is
looked at. What a stage adds is the most until the next one is foreseen, above what was held before.

    python -m experiment_pipeline_tests.bench --part foreseen
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from experiment_pipeline.drafting import Wishes
from experiment_pipeline.drafting.files import draft_experiment
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages import memory_estimate as foreseen
from experiment_pipeline.storage.locations import STORAGE_VARIABLE
from experiment_pipeline.storage.memory_limits import MemoryLimit
from experiment_pipeline.storage.registry import find_model
from experiment_pipeline.storage.versions import TRUSTED
from experiment_pipeline_tests import runs
from experiment_pipeline_tests.bench import data, whole_job
from experiment_pipeline_tests.bench.watching import Watched, watch

# A line of the log, and not of Dagster's.
_NOTED = "FORESEEN "
EXPERIMENT = "foreseen"
# What is smaller fits anywhere.
LEAST_BYTES = 150_000_000
GRANTED = foreseen.LIBRARIES / 1e6


def _columns(rows: int, seed: int, columns: int = 20, **more: Callable[..., Any]) -> pd.DataFrame:
    """The made-up table of `data.py`, and further columns of so many rows."""
    rng = np.random.default_rng(seed + 1)
    added = {name: make(rng, rows) for name, make in more.items()}
    return data.wide_table(rows, columns, seed).reset_index(drop=True).assign(**added)


def _texts(rng: np.random.Generator, rows: int, length: int = 60) -> pd.Series:
    words = np.array([f"word{n}" for n in range(5_000)], dtype=object)
    drawn = words[rng.integers(0, len(words), (rows, length))]
    return pd.Series([" ".join(line) for line in drawn], dtype="str")


def _short(rng: np.random.Generator, rows: int) -> pd.Series:
    return _texts(rng, rows, 14)


def _levels(rng: np.random.Generator, rows: int) -> pd.Series:
    levels = np.array([f"customer {n:06d}" for n in range(50_000)], dtype=object)
    return pd.Series(levels[(50_000 * rng.random(rows) ** 2).astype(int)], dtype="str")


def _lists(rng: np.random.Generator, rows: int) -> pd.Series:
    return pd.Series(list(rng.integers(0, 9, (rows, 3)).tolist()))


def _kinds(rows: int, seed: int) -> pd.DataFrame:
    table, noise = _columns(rows, seed), np.random.default_rng(seed).normal(0, 1, rows)
    kinds = np.array(["no", "yes", "late", "never", "soon"])
    return table.assign(target=kinds[np.digitize(table["c05"] + noise, [-1.0, -0.3, 0.3, 1.0])])


LIGHTGBM = {
    "algorithm": "lightgbm",
    "hyperparameters": {"n_estimators": 10, "num_leaves": [15, 63]},
}
_FOREST = {"n_estimators": 4, "min_samples_leaf": [100, 1_000]}


def _one(algorithm: str, **hyperparameters: Any) -> list[Mapping[str, Any]]:
    return [{"algorithm": algorithm, "hyperparameters": hyperparameters}]


@dataclass(frozen=True)
class Shape:
    """A table, and what is tried on it.

    Attributes:
        rows: of the table.
        table: rows and seed → so many rows.
        search: of the experiment.
        more: attributes of the experiment.
        file: ending of the table's file.
        held_out: whether no figure of the estimates was set by it.
    """

    rows: int
    table: Callable[[int, int], pd.DataFrame] = _columns
    search: Sequence[Mapping[str, Any]] = (LIGHTGBM,)
    more: Mapping[str, Any] = field(default_factory=dict)
    file: str = "parquet"
    held_out: bool = False


SHAPES: Mapping[str, Shape] = {
    "20 columns": Shape(600_000),
    "4 columns": Shape(1_500_000, lambda rows, seed: _columns(rows, seed, 4)),
    "200 columns": Shape(80_000, lambda rows, seed: _columns(rows, seed, 200)),
    "texts of 500 letters": Shape(150_000, lambda rows, seed: _columns(rows, seed, 8, text=_texts)),
    "lists": Shape(250_000, lambda rows, seed: _columns(rows, seed, 8, visits=_lists)),
    "50,000 categories": Shape(
        300_000, lambda rows, seed: _columns(rows, seed, 8, a=_levels, b=_levels)
    ),
    "one-hot, sparse": Shape(
        200_000,
        lambda rows, seed: _columns(rows, seed, 8, a=_levels, b=_levels),
        [{"algorithm": "linear", "features": "onehot", "hyperparameters": {"C": [0.1, 1.0]}}],
    ),
    "CSV": Shape(300_000, file="csv"),
    "zipped CSV": Shape(200_000, file="csv.zip"),
    "prepared by a function": Shape(
        300_000, more={"preparation": {"function": f"{__name__}:as_they_are"}}, held_out=True
    ),
    "five classes": Shape(300_000, _kinds, held_out=True),
    "cross-validation": Shape(
        200_000,
        more={"evaluation": {"cross_validation": {"folds": 3, "repeats": 1}}},
        held_out=True,
    ),
    "linear": Shape(400_000, search=_one("linear", C=[0.1, 1.0])),
    "random forest": Shape(400_000, search=_one("random_forest", **_FOREST), held_out=True),
    "xgboost": Shape(400_000, search=_one("xgboost", n_estimators=10, max_depth=[4, 6])),
    "catboost": Shape(400_000, search=_one("catboost", n_estimators=10, depth=[4, 6])),
    "imported": Shape(
        400_000,
        search=_one("sklearn.ensemble.HistGradientBoostingClassifier", max_iter=[5, 10]),
        held_out=True,
    ),
    "letters": Shape(200_000, search=[{**LIGHTGBM, "features": "text"}]),
    "texts of 120 letters": Shape(
        350_000,
        lambda rows, seed: _columns(rows, 100 + seed, 6, a=_short, b=_short),
    ),
    "45 columns, forest": Shape(
        350_000,
        lambda rows, seed: _columns(rows, 200 + seed, 45),
        _one("random_forest", **_FOREST),
        held_out=True,
    ),
    "categories by the target, CSV": Shape(
        250_000,
        lambda rows, seed: _columns(rows, 300 + seed, 12, a=_levels),
        [{**LIGHTGBM, "features": "target"}],
        file="csv",
        held_out=True,
    ),
}


def as_they_are(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows, prepared no further."""
    return rows


@dataclass(frozen=True)
class Foretold:
    """What a stage has added, and was foreseen to add, in bytes.

    Attributes:
        shape: a key of SHAPES.
        stage: what was foreseen, in words.
        rows: of the table.
        added: at most.
        need: as foreseen.
        stopped_below: it is stopped where there is less left.
    """

    shape: str
    stage: str
    rows: int
    added: float
    need: float
    stopped_below: float

    @property
    def large(self) -> bool:
        """Whether it may be stopped at all."""
        return self.added > LEAST_BYTES

    @property
    def hit(self) -> bool:
        """Whether it is stopped where half of what it takes is left, but for what is granted."""
        return self.stopped_below > self.added / 2 - foreseen.LIBRARIES

    @property
    def false_alarm(self) -> bool:
        """Whether it is stopped where just as much is left as it takes."""
        return self.stopped_below > self.added

    def row(self) -> str:
        """A line of the Markdown table."""
        said = "false alarm" if self.false_alarm else "" if self.hit or not self.large else "missed"
        sizes = (self.added, self.need, max(self.stopped_below, 0.0))
        cells = [self.shape, f"{self.rows:,}", self.stage, *(f"{one / 1e6:,.0f}" for one in sizes)]
        return f"| {' | '.join(cells)} | **{self.added / self.need:.2f}** | {said} |"


def measurements(folder: Path, *, remembered: bool) -> list[Foretold]:
    """Measure every stage of every shape; or tell what is remembered of them."""
    folder.mkdir(parents=True, exist_ok=True)
    found = list[Foretold]()
    for name in SHAPES:
        file = folder / f"{name}.json"
        if not remembered:
            with tempfile.TemporaryDirectory(dir=folder) as place:
                told_now = measured(Path(place), name)
            file.write_text(json.dumps([asdict(one) for one in told_now]))
        if file.exists():
            found += [Foretold(**one) for one in json.loads(file.read_text())]
    return found


def measured(place: Path, name: str) -> list[Foretold]:
    """Run the experiment of a shape in a new folder."""
    log, temporary = place / "log", place / "tmp"
    temporary.mkdir()
    own = {"TMPDIR": str(temporary), STORAGE_VARIABLE: str(place / "artifacts")}
    run_it = [sys.executable, "-m", __spec__.name, str(place.resolve()), name]
    # In another process: what makes the table leaves no traces in the one that is watched.
    for command in ([*run_it, "declare"], run_it):
        watched = watch(
            command,
            cwd=whole_job.ROOT,
            environment={**os.environ, **own},
            log=log,
            temporary=temporary,
        )
        lines = log.read_text().splitlines()
        if watched.returncode:
            raise RuntimeError("\n".join(lines[-20:]))
    notes = [json.loads(line.removeprefix(_NOTED)) for line in lines if line.startswith(_NOTED)]
    found = list(told(notes, watched, name, SHAPES[name].rows))
    for one in found:
        print(f"  {one.row()}", flush=True)
    return found


def told(
    notes: Sequence[Mapping[str, Any]], watched: Watched, shape: str, rows: int
) -> Iterator[Foretold]:
    """Of each stage the note with the largest need, which is the last of a search's rungs.

    Args:
        notes: what was foreseen, in order: `at`, in seconds since the epoch, `stage`, and in bytes
            its `need`, below which it is `stopped`, and what was `held`.
        watched: the process that noted it.
        shape: of its table.
        rows: of its table.
    """
    largest = dict[str, Foretold]()
    for number, note in enumerate(notes):
        stage, need = note["stage"], note["need"]
        others = (one["at"] for one in notes[number:] if one["stage"] != stage)
        end = next(others, watched.ended)
        held = [x.anonymous_bytes for x in watched.samples if note["at"] <= x.at <= end]
        # A process that has just been started shares what it seems to hold: it is seen for a moment.
        peak = max(map(min, held, held[1:]), default=0)
        if stage not in largest or need > largest[stage].need:
            added = peak - note["held"]
            largest[stage] = Foretold(shape, stage, rows, added, need, note["stopped"])
    yield from largest.values()


def declare(shape: Shape, table: Path) -> None:
    """Write the table of a shape and, beside it, the scaffold's draft of an experiment on it."""
    firsts = range(0, shape.rows, data.BATCH)
    frame = pd.concat(
        [
            shape.table(min(data.BATCH, shape.rows - first), number)
            for number, first in enumerate(firsts)
        ],
        ignore_index=True,
    )
    frame["id"] = [f"R{n:08d}" for n in range(len(frame))]
    head = table.with_name(f"head.{shape.file}")
    for rows, path in ((frame, table), (frame[: data.BATCH // 5], head)):
        rows.to_parquet(path) if path.suffix == ".parquet" else rows.to_csv(path, index=False)
    wishes = Wishes(data=str(head), target="target", id_column=["id"], split="random")
    for name, text in draft_experiment(EXPERIMENT, wishes, str(table), "").files.items():
        table.with_name(name).write_text(text)


def run(shape: Shape, table: Path) -> None:
    """Run the experiment in this process, predict with its model, and note what is foreseen."""
    from experiment_pipeline.prediction.files import load_model
    from experiment_pipeline.stages.search.engines import engine

    ask = foreseen.foresee

    def noted(need: foreseen.MemoryNeed, limit: MemoryLimit, workers: int = 1) -> foreseen.Foreseen:
        found = ask(need, limit, workers)
        size = need.of(min(found.workers, max(len(need.fits), 1)))
        note = {"stage": need.stage, "need": size, "stopped": need.at_least, "held": limit.held}
        print(f"\n{_NOTED}{json.dumps({'at': time.time(), **note})}", flush=True)
        return found

    foreseen.foresee = noted
    engine.foresee = noted
    attributes = yaml.safe_load(table.with_name("defs.yaml").read_text())["attributes"]
    attributes.pop("halving", None)
    # Beside what the draft says there: the schema knows the columns that its preparation makes.
    prepared = attributes.get("preparation", {}) | shape.more.get("preparation", {})
    attributes |= {"search": [*shape.search, {"algorithm": "dummy"}], **shape.more}
    attributes["preparation"] = prepared
    spec = ExperimentSpec(name=EXPERIMENT, **attributes)
    done = runs.run(spec, table.with_name("schema.yaml").read_text())
    if not done.success:
        sys.exit(done.failure)
    exported = str(Path(os.environ[STORAGE_VARIABLE]) / EXPERIMENT)
    outputs = (str(table.with_name(f"{name}.parquet")) for name in ("predictions", "rejected"))
    types = json.loads(find_model(exported).read(TRUSTED))
    model = load_model(exported, trusted=[f"{__name__}:as_they_are", *types])
    model.predict_table(str(table), *outputs)


if __name__ == "__main__":
    _shape = SHAPES[sys.argv[2]]
    _table = Path(sys.argv[1]) / f"table.{_shape.file}"
    if sys.argv[3:]:
        declare(_shape, _table)
    else:
        run(_shape, _table)
