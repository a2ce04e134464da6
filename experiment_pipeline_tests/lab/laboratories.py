"""A small experiment in a folder, whose validation rows carry marks of their own."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from experiment_pipeline.lab.laboratory import Laboratory
from experiment_pipeline.lab.records import LaboratoryRecords

# Texts and a number that only validation rows have.
MARK, NUMBER = "onlyvalidation", 98765.4321
DEFS = """\
type: experiment_pipeline.Experiment
attributes:
  data: rows.csv
  target: target
  task: regression
  metric: rmse
  split: {{by: random, id_columns: [id]}}
  search: [{{algorithm: linear}}]
  price_per_hour: 3.6
  lab: {{{budget}}}
"""


@cache
def table() -> pd.DataFrame:
    """Return 600 rows; `useful` and `more` decide the target, `noise` does not."""
    generator = np.random.default_rng(0)
    columns = ["useful", "more", "noise"]
    rows = pd.DataFrame(generator.normal(size=(600, 3)).round(4), columns=columns)
    rows["kind"] = generator.choice(list("abc"), 600)
    rows["id"] = np.arange(600)
    error = generator.normal(size=600)
    return rows.assign(target=(rows["useful"] + rows["more"] / 2 + error).round(4))


def declare(folder: Path, budget: str, rows: pd.DataFrame | None = None) -> None:
    """Write an experiment `made`, with the keys of `lab`."""
    (folder / "defs" / "made").mkdir(parents=True, exist_ok=True)
    (table() if rows is None else rows).to_csv(folder / "rows.csv", index=False)
    text = DEFS.format(budget=budget)
    (folder / "defs" / "made" / "defs.yaml").write_text(text)


def marked(folder: Path, budget: str) -> Laboratory:
    """Open a laboratory whose validation rows are marked in all their columns.

    The split goes by `id`, so that marks move no row.
    """
    declare(folder, budget)
    validation = Laboratory.of("made").base.assets["validation_set"].rows.index
    rows = table().copy()
    rows.loc[validation, "kind"] = [
        f"{MARK}{place}" for place in range(len(validation))
    ]
    rows.loc[validation[:40], "noise"] = NUMBER
    declare(folder, budget, rows)
    return Laboratory.of("made")


def explored(laboratory: Laboratory, change: dict, seconds: float = 30) -> dict:
    """Propose and explore a change, as an agent does; return the answer."""
    proposal = laboratory.propose(change, "tried", "tester")["proposal"]
    claim = laboratory.claim(proposal, "tester", seconds)
    if claim is not None:
        laboratory.carry_out(claim)
    return laboratory.answer(proposal)


def finished(laboratory: Laboratory, change: dict) -> str:
    """Propose a change whose exploration ends as the base, untrained; return its id."""
    proposal = laboratory.propose(change, "tried", "tester")["proposal"]
    claim = laboratory.claim(proposal, "tester", 30)
    assert claim is not None
    end = replace(
        claim, kind="explored", words="better", result=laboratory._base_result
    )
    laboratory.end(end, 5.0)
    return proposal


def records() -> LaboratoryRecords:
    """Return the records of the experiment."""
    return LaboratoryRecords.of("made")
