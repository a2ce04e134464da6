"""Whether whole runs keep the budget that the scaffold drafts, two at a time.

In: a wide table and one with texts, made up here. Out: the seconds of each run, from
the call to its decision, as a share of its budget; how many configurations were
compared.
"""

import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pandas as pd

import experiment_pipeline as ep
from experiment_pipeline_tests.bench.data import Measured, shown
from experiment_pipeline_tests.bench.places import own_places

MOST_SHARE = 1.15


def wide(rows: int = 7_000, numbers: int = 62, texts: int = 18) -> pd.DataFrame:
    """Return related numbers, some skewed, rounded or missing, and categories."""
    random = np.random.default_rng(11)
    latent = random.normal(size=(rows, 6))
    columns = dict[str, np.ndarray]()
    for number in range(numbers):
        values = 0.6 * latent @ random.normal(size=6) + random.normal(size=rows)
        if number % 3 == 0:
            values = np.exp(values / 2)
        if number % 4 == 1:
            values[random.random(rows) < 0.1] = np.nan
        columns[f"n{number:02d}"] = values
    for number in range(texts):
        levels = int(random.integers(3, 40))
        place = latent[:, number % 6] + random.normal(size=rows)
        codes = np.clip((place + 3) / 6 * levels, 0, levels - 1).astype(int)
        columns[f"c{number:02d}"] = np.char.add("level ", codes.astype(str))
    noise = 2 * random.normal(size=rows)
    target = 20 + 3 * latent[:, 0] + latent[:, 1] ** 2 + latent[:, 2] * 2 + noise
    return pd.DataFrame(columns).assign(target=target.round(2))


def reviews(rows: int = 950) -> pd.DataFrame:
    """Return a title and a text in each row, whose words decide a rating in part."""
    random = np.random.default_rng(12)
    words = np.array(
        ["".join(random.choice(list("abdeghilnorstu"), 6)) for _ in range(1_500)]
    )
    weights = random.normal(size=len(words)) * (random.random(len(words)) < 0.1)
    read = [random.choice(len(words), random.integers(8, 60)) for _ in range(rows)]
    x = random.normal(size=rows)
    signal = np.array([weights[codes].sum() for codes in read])
    return pd.DataFrame(
        {
            "title": [" ".join(words[codes[:5]]) for codes in read],
            "body": [" ".join(words[codes]) for codes in read],
            "kind": random.choice(["new", "used", "rare"], rows),
            "x": x,
            "target": (3 + signal + x + random.normal(size=rows) / 2).round(2),
        }
    )


_TABLES: dict[str, Callable[[], pd.DataFrame]] = {"wide": wide, "reviews": reviews}


def measurements() -> list[Measured]:
    """Run the experiments on both tables at once, as drafted."""
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        runs = pool.map(_run, _TABLES)
        return [figure for run in runs for figure in shown(run)]


def _run(name: str) -> list[Measured]:
    """Run one experiment in this process; its model need not be accepted."""
    table = _TABLES[name]()
    with own_places():
        began = time.perf_counter()
        run = ep.run(table, "target", name=name, progress=False)
        seconds = time.perf_counter() - began
        facts = run.facts
    budget = run.named.spec.budget.seconds or 0.0
    size = f"{name}, {len(table):,} x {table.shape[1] - 1}, {budget:g} s"
    compared = facts["trained"] + facts["stopped_early"]
    share = seconds / budget
    return [
        Measured(f"{size}: the whole run ÷ the budget", share, "x", MOST_SHARE),
        Measured(f"{size}: compared of {facts['declared']}", compared, ""),
    ]
