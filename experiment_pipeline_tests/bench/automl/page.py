"""The section of the results: ranks, budgets, scores and differences of whole tools.

In: what was asked on the command line. Out: Markdown. Tools are started by `tools.py`.
"""

import argparse
import time
from collections.abc import Sequence

import numpy as np

from experiment_pipeline.statistics.metrics import METRICS
from experiment_pipeline_tests.bench.automl.jobs import job_of
from experiment_pipeline_tests.bench.automl.ranks import Ranks, ranks
from experiment_pipeline_tests.bench.automl.tools import (
    BEFORE,
    OURS,
    TOOLS,
    Done,
    Memory,
    Tool,
    perform,
    without,
)
from experiment_pipeline_tests.bench.rivals import mean_of
from experiment_pipeline_tests.bench.tables import TABLES

# A tool that takes up to so much of its seconds has kept them.
KEPT = 1.05
_AUTOGLUON = ("AutoGluon, medium", "AutoGluon, good")


def section(asked: argparse.Namespace) -> str:
    """Run what is not remembered, and tell all of it."""
    named = [tool for tool in TOOLS if tool.name in (asked.tools or [one.name for one in TOOLS])]
    tools = [*named, *map(without, asked.without)]
    return told(tools, played(tools, asked), asked.budget)


def played(tools: Sequence[Tool], asked: argparse.Namespace) -> list[Done]:
    """Let every tool do every job, the first seed of all tables first.

    Which tool goes first alternates, so that a drift of the machine cancels.
    """
    memory, found = Memory(asked.folder), []
    chosen = [table for table in TABLES if table.name in asked.tables]
    for seed in range(asked.seeds):
        for number, table in enumerate(chosen):
            job = job_of(table, seed)
            first = (seed + number) % len(tools)
            for tool in [*tools, *tools][first : first + len(tools)]:
                done = perform(tool, job, asked.budget, asked.folder, memory)
                print(f"  {time.strftime('%H:%M:%S')} {line(done)}", flush=True)
                found.append(done)
    return found


def line(done: Done) -> str:
    """What came of one run, in a line."""
    where = f"{done.table}, seed {done.seed}: {done.tool}"
    if done.failure is not None:
        return f"{where} failed: {done.failure}"
    return f"{where} {done.score:.5g} in {done.fit_seconds:.1f} s ({done.said[:60]})"


def told(tools: Sequence[Tool], found: Sequence[Done], budget: float) -> str:
    """The Markdown of the section."""
    names = [tool.name for tool in tools]
    pairs = sorted({(one.table, one.seed) for one in found})
    by_run = {(one.tool, one.table, one.seed): one for one in found}
    table = [[by_run[name, *pair] for name in names] for pair in pairs]
    merits = np.array([[_merit(one) for one in row] for row in table])
    ranking = ranks(names, [pair[0] for pair in pairs], merits)
    parts = [
        f"""{budget:g} seconds for everything from the typed table to the stored model, two cores, the same
train, test and validation rows for each; a seed cuts the rows. {len({p[0] for p in pairs})} tables, {len({p[1] for p in pairs})} seed(s). Each
tool runs in a process and an environment of its own, from its user's side: metric, rows, seconds and
cores are given, all else is its default. It may do with train and test rows as it likes; the judge
are validation rows that it never sees (ours is given their target after the choice, for its report).
Groups are kept together: AutoGluon (good) gets folds, AutoGluon (medium) and mljar the test rows.""",
        _overview(names, table, merits, ranking, budget),
        f"```text\n{ranking.figure()}\n```",
        f"""Friedman's test that all are alike: p = {ranking.p_value:.2g}. Mean ranks that differ by less than
{ranking.critical:.2f} cannot be told apart (Nemenyi, 95 %, by tables; the bars are half of that to each side).""",
        "Mean scores on the validation rows:",
        _scores(names, pairs, table),
    ]
    if OURS in names:
        parts += [
            "The difference to ours, paired by seed, above 0 where ours is better, with its 95 % interval:",
            _differences(names, pairs, table, merits),
            *_in_short(names, pairs, table, merits),
        ]
    return "\n\n".join([*parts, *_failures(found)])


def _merit(done: Done) -> float:
    """The greater the better; NaN where a tool failed."""
    return METRICS[_metric(done.table)].sign * done.score


def _metric(name: str) -> str:
    return next(table.metric for table in TABLES if table.name == name)


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _overview(
    names: Sequence[str],
    table: Sequence[Sequence[Done]],
    merits: np.ndarray,
    ranking: Ranks,
    budget: float,
) -> str:
    best = np.nanmax(merits, axis=1, keepdims=True)
    rows = []
    for place in np.argsort(ranking.means, kind="stable"):
        runs = [row[place] for row in table if row[place].failure is None]
        if not runs:
            rows.append([names[place], f"{ranking.means[place]:.2f}", *["failed"] * 7])
            continue
        took = np.array([one.fit_seconds for one in runs])
        rows.append(
            [
                names[place],
                f"**{ranking.means[place]:.2f}**",
                f"{int((merits[:, [place]] == best).sum())}",
                f"{np.median(took):.0f} ({took.max():.0f})",
                f"{np.mean(took <= KEPT * budget):.0%}",
                f"{np.median([one.start_seconds for one in runs]):.1f}",
                f"{1000 * np.median([one.predict_seconds_per_1000 for one in runs]):.1f}",
                f"{np.median([one.model_bytes for one in runs]) / 1e6:.2f}",
                f"{len(table) - len(runs)}",
            ]
        )
    columns = ["tool", "mean rank", "first", "seconds: median (most)", "budget kept"]
    columns += ["start, s", "ms for 1,000 rows", "MB", "failed"]
    return _markdown(columns, rows)


def _scores(
    names: Sequence[str], pairs: Sequence[tuple[str, int]], table: Sequence[Sequence[Done]]
) -> str:
    rows = []
    for name in dict.fromkeys(pair[0] for pair in pairs):
        runs = [row for row, pair in zip(table, pairs, strict=True) if pair[0] == name]
        means = [np.mean([row[place].score for row in runs]) for place in range(len(names))]
        best = np.nanmax([METRICS[_metric(name)].sign * mean for mean in means])
        cells = [
            f"**{mean:.5g}**" if METRICS[_metric(name)].sign * mean == best else f"{mean:.5g}"
            for mean in means
        ]
        rows.append([f"{name} ({_metric(name)})", *cells])
    return _markdown(["table", *names], rows)


def _differences(
    names: Sequence[str],
    pairs: Sequence[tuple[str, int]],
    table: Sequence[Sequence[Done]],
    merits: np.ndarray,
) -> str:
    others = [place for place, name in enumerate(names) if name != OURS]
    ours = merits[:, [list(names).index(OURS)]]
    rows = []
    for name in dict.fromkeys(pair[0] for pair in pairs):
        of_table = [pair[0] == name for pair in pairs]
        cells = []
        for place in others:
            found = mean_of((ours - merits[:, [place]])[of_table, 0])
            alone = sum(of_table) == 1
            cells.append(f"{found.value:+.3g}" if alone else f"{found} {found.verdict}")
        rows.append([name, *cells])
    return _markdown(["table", *(names[place] for place in others)], rows)


def _in_short(
    names: Sequence[str],
    pairs: Sequence[tuple[str, int]],
    table: Sequence[Sequence[Done]],
    merits: np.ndarray,
) -> list[str]:
    """How often ours is better in the mean, and what it takes beside AutoGluon; failing is worst."""
    mine = list(names).index(OURS)
    tables = list(dict.fromkeys(pair[0] for pair in pairs))
    said = []
    for place, name in enumerate(names):
        if name == OURS:
            continue
        gains = np.array(
            [_gain(merits[[pair[0] == one for pair in pairs]], mine, place) for one in tables]
        )
        aim = " (to reach: 8 of 10)" if name == BEFORE else ""
        said.append(
            f"* Against {name}: better in the mean on {int((gains > 0).sum())}, worse on "
            f"{int((gains < 0).sum())} of {len(tables)} tables{aim}."
        )
    for name in set(_AUTOGLUON) & set(names):
        runs = [(row[mine], row[list(names).index(name)]) for row in table]
        time_ratio = np.nanmedian(
            [a.predict_seconds_per_1000 / b.predict_seconds_per_1000 for a, b in runs]
        )
        size_ratio = np.nanmedian([a.model_bytes / b.model_bytes for a, b in runs])
        said.append(
            f"* Beside {name}, medians: prediction time {time_ratio:.2f} of its, size of the model "
            f"{size_ratio:.2f} of its (to reach: 0.33)."
        )
    return ["\n".join(said)]


def _gain(merits: np.ndarray, mine: int, other: int) -> float:
    """The mean difference of a table's seeds; infinite where one of both failed."""
    ours, theirs = (np.nan_to_num(merits[:, one], nan=-np.inf) for one in (mine, other))
    with np.errstate(invalid="ignore"):
        gains = ours - theirs
    return float(np.mean(np.where(ours == theirs, 0.0, gains)))


def _failures(found: Sequence[Done]) -> list[str]:
    failed = [f"* {line(one)}" for one in found if one.failure is not None]
    return ["Failed, and ranked last there:\n\n" + "\n".join(failed)] if failed else []
