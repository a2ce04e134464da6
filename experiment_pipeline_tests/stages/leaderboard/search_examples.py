"""A finished search of any size with made-up scores, costs and rungs: what its page is tried on."""

import math

import numpy as np
import pandas as pd

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.leaderboard.board import Leaderboard
from experiment_pipeline.stages.leaderboard.pictures import SearchShown
from experiment_pipeline.stages.leaderboard.ranking import COLUMNS
from experiment_pipeline.stages.search.conclusions import Step
from experiment_pipeline.stages.search.configurations import Configuration, configurations
from experiment_pipeline.statistics.interval import Interval
from experiment_pipeline_tests.stages.leaderboard.board_examples import spec_of

FRACTIONS = (0.0625, 0.25, 1.0)
BASELINE = 0.5


def search_spec(count: int) -> ExperimentSpec:
    """Return an experiment that declares so many configurations: two algorithms and a baseline."""
    linear = count // 8
    searched = [
        {"algorithm": "dummy"},
        {
            "algorithm": "lightgbm",
            "method": "random",
            "draws": count - linear - 1,
            "hyperparameters": {
                "n_estimators": 200,
                "learning_rate": {"low": 0.01, "high": 0.3, "scale": "log"},
                "num_leaves": {"low": 4, "high": 128, "scale": "log"},
                "feature_fraction": {"low": 0.4, "high": 1.0},
                "max_depth": [-1, 4, 8, None],
            },
        },
        {
            "algorithm": "linear",
            "method": "random",
            "draws": linear,
            "hyperparameters": {"C": {"low": 1e-4, "high": 100, "scale": "log"}},
        },
    ]
    return spec_of(search=searched)


def finished_search(count: int) -> SearchShown:
    """Return a search of so many configurations; a few failed, the last two were not started."""
    spec, generator = search_spec(count), np.random.default_rng(0)
    declared = {one.key: one for one in configurations(spec)}
    scores = {key: _score(one, generator) for key, one in declared.items()}
    best_first = sorted(declared, key=scores.__getitem__, reverse=True)
    waiting = set(list(declared)[-2:])
    failed = set(list(declared)[3 :: max(count // 6, 9)]) - waiting
    climbing = [key for key in best_first if key not in failed | waiting]
    kept = dict(zip(FRACTIONS, (count, max(count // 3, 6), max(count // 8, 5)), strict=True))
    paths = {
        key: tuple(
            _step(fraction, scores[key], generator)
            for fraction in FRACTIONS
            if place < kept[fraction]
        )
        for place, key in enumerate(climbing)
    }
    paths["dummy"] = (Step(1.0, BASELINE, BASELINE, 0.01),)
    board = _board([*climbing, *sorted(failed), *sorted(waiting)], declared, paths, failed)
    return SearchShown(board, declared, paths)


def _score(one: Configuration, generator: np.random.Generator) -> float:
    if one.algorithm == "dummy":
        return BASELINE
    noise = generator.normal(0, 0.006)
    if one.algorithm == "linear":
        return 0.68 - 0.01 * abs(math.log10(one.hyperparameters["C"])) + noise
    away = abs(math.log(one.hyperparameters["learning_rate"] / 0.05))
    return 0.735 - 0.02 * away - 0.0002 * one.hyperparameters["num_leaves"] + noise


def _step(fraction: float, score: float, generator: np.random.Generator) -> Step:
    loss = 0.05 * (1 / fraction) ** 0.3 - 0.05
    test = score - loss / 4 + generator.normal(0, 0.004)
    cost = 12 * fraction * math.exp(generator.normal(0, 0.8))
    return Step(fraction, test, min(test + 0.03 + loss, 0.999), cost)


def _board(
    order: list[str],
    declared: dict[str, Configuration],
    paths: dict[str, tuple[Step, ...]],
    failed: set[str],
) -> Leaderboard:
    full = [key for key in order if key in paths and paths[key][-1].fraction == 1]
    full.sort(key=lambda key: paths[key][-1].test_score, reverse=True)
    rows = [_ranked(rank, key, paths, full) for rank, key in enumerate(full, 1)]
    rows += [_unranked(key, paths, failed) for key in order if key not in full]
    for row in rows:
        row["algorithm"] = declared[row["key"]].algorithm
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table = table.assign(in_tie_group=table["in_tie_group"].eq(True)).astype(COLUMNS)
    best = paths[full[0]][-1].test_score
    return Leaderboard(
        metric="roc_auc",
        rows=table,
        chosen=full[0],
        reason=f"best roc_auc of {len(full)} configurations on the test set",
        score=Interval(best, best - 0.008, best + 0.008),
        baseline=BASELINE,
        difference_to_baseline=Interval(best - BASELINE, best - 0.515, best - 0.485),
        tie_group=tuple(table["key"][table["in_tie_group"]]),
        optimism=0.002,
        edges=(),
        notes=("learning_rate = 0.05 is well inside what was searched",),
    )


def _ranked(rank: int, key: str, paths: dict[str, tuple[Step, ...]], full: list[str]) -> dict:
    step, best = paths[key][-1], paths[full[0]][-1].test_score
    difference = step.test_score - best
    return _measured(key, step) | {
        "rank": rank,
        "low": step.test_score - 0.008,
        "high": step.test_score + 0.008,
        "difference_to_best": difference,
        "difference_low": difference - 0.004,
        "difference_high": difference + 0.004,
        "in_tie_group": difference > -0.004,
        "status": "trained",
        "reason": "chosen" if rank == 1 else "",
    }


def _unranked(key: str, paths: dict[str, tuple[Step, ...]], failed: set[str]) -> dict:
    if key in failed:
        return {"key": key, "status": "failed", "reason": "ValueError: no such tree <b>at all</b>"}
    if key not in paths:
        return {"key": key, "status": "not started", "reason": "the budget was spent"}
    where = FRACTIONS.index(paths[key][-1].fraction) + 1
    reason = f"not among the best at rung {where} of {len(FRACTIONS)}"
    return _measured(key, paths[key][-1]) | {"status": "stopped early", "reason": reason}


def _measured(key: str, step: Step) -> dict:
    return {
        "key": key,
        "test_score": step.test_score,
        "train_score": step.train_score,
        "overfit_gap": step.train_score - step.test_score,
        "fit_cpu_seconds": step.fit_cpu_seconds,
        "predict_microseconds_per_row": 3.2,
        "model_bytes": 120_000,
        "fingerprint": f"f-{key}",
    }
