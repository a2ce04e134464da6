"""The section of the results: ranks, budgets, scores and differences of whole tools.

In: what was asked on the command line. Out: Markdown. Tools are started by `tools.py`.
"""

import argparse
import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np
import pandas as pd
from scipy import stats

from experiment_pipeline.statistics.metrics import METRICS
from experiment_pipeline_tests.bench.automl.jobs import job_of
from experiment_pipeline_tests.bench.automl.ranks import Ranks, ranks
from experiment_pipeline_tests.bench.automl.tools import (
    OURS,
    TOOLS,
    Done,
    Tool,
    packages,
    perform,
)
from experiment_pipeline_tests.bench.sections import markdown
from experiment_pipeline_tests.bench.tables import LISTS, Table

# A tool that takes up to so much of its seconds has kept them.
KEPT = 1.05
_PAIR = ["table", "seed"]
_METRICS = {
    table.name: METRICS[table.metric] for tables in LISTS.values() for table in tables
}


def section(asked: argparse.Namespace) -> str:
    """Run what is not remembered, a budget after the other, and tell all of it."""
    tables = LISTS[asked.tables]
    named = [tool for tool in TOOLS if not asked.tools or tool.name in asked.tools]
    parts = [
        _INTRODUCTION,
        f"Packages pinned: {', '.join(packages(TOOLS))}; all else the newest.",
    ]
    for seconds in asked.budget:
        found = list(played(named, tables, asked.seeds, asked, seconds))
        parts += [
            f"### {seconds:g} seconds",
            told([tool.name for tool in named], found),
        ]
    return "\n\n".join(parts)


_INTRODUCTION = """\
Everything from the typed table to the stored model, on two cores: what a tool takes beyond its seconds
is told. The same train, test and validation rows for each; a seed cuts them. Each tool runs in a
process and an environment of its own as its user would run it: columns, metric, seconds and cores are
given, all else is its default, but for what its script in `automl/runners` says. It may do with train
and test rows as it likes; the judge are validation rows that it never sees. (Ours drafts its YAML from
the whole table, as the scaffold does, and has their target for its report: no fit and no choice sees
it.) Where rows belong to groups, those are kept together: AutoGluon (good) is given folds, FLAML the
groups, AutoGluon (medium) and mljar the test rows to choose on. Where the split is by time, the
validation rows are the latest, and each cut ends a tenth of the rows earlier. Rows come in the order of
time, with the time as a column; AutoGluon and FLAML are told it by their own settings
(`validation_structure`, `split_type`), mljar and Optuna choose on the test rows, which are later than the
train rows. What a tool claims is the score of its own leaderboard (ours: of the test set) for the model that it
hands out; by how much that is better than the score on the validation rows, and how far off, is told in
medians, in parts of the latter."""


def played(
    tools: Sequence[Tool],
    tables: Sequence[Table],
    seeds: int,
    asked: argparse.Namespace,
    seconds: float,
) -> Iterator[Done]:
    """Let every tool do every job, the first seed of all tables first.

    Which tool goes first alternates, so that a drift of the machine cancels.
    """
    # Ended from outside, the bench ends the tool of the moment, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    for seed in range(seeds):
        for number, table in enumerate(tables):
            job = job_of(table, seed)
            first = (seed + number) % len(tools)
            for tool in [*tools, *tools][first : first + len(tools)]:
                done = perform(
                    tool, job, seconds, asked.folder, run=not asked.remembered
                )
                if done is not None:
                    print(f"  {time.strftime('%H:%M:%S')} {line(done)}", flush=True)
                    yield done


def line(done: Done) -> str:
    """What came of one run, in a line."""
    where = f"{done.table}, seed {done.seed}: {done.tool}"
    if done.failure is not None:
        return f"{where} failed: {done.failure}"
    return f"{where} {done.score:.5g} in {done.fit_seconds:.1f} s ({done.said[:60]})"


@dataclass(frozen=True, eq=False)
class _Told:
    """What was done where all tools have been."""

    runs: pd.DataFrame  # a row per (table, seed, tool), columns as `Done` has them
    merits: (
        pd.DataFrame
    )  # (pairs, tools): the greater the better; NaN where a tool failed

    def by_tool(self, column: str) -> pd.DataFrame:
        """(pairs, tools) of a column."""
        # pivot_table would take means where a run stands twice.
        return self.runs.pivot(index=_PAIR, columns="tool", values=column)  # noqa: PD010

    @property
    def gains(self) -> pd.DataFrame:
        """Ours less the others, (pairs, others); a failure is worse than any score."""
        merits = self.merits.fillna(-np.inf)
        with np.errstate(invalid="ignore"):
            gains = merits.rsub(merits[OURS], axis="index").drop(columns=OURS)
        return gains.where(
            merits.drop(columns=OURS).ne(merits[OURS], axis="index"), 0.0
        )


def _of(names: Sequence[str], found: Iterable[Done]) -> _Told:
    rows = [asdict(one) for one in found if one.tool in names]
    runs = pd.DataFrame(rows, columns=[field.name for field in fields(Done)])
    runs = runs[runs.groupby(_PAIR)["tool"].transform("nunique") == len(names)]
    scores = _Told(runs, runs).by_tool("score").reindex(columns=names)
    signs = [_METRICS[table].sign for table, _ in scores.index]
    return _Told(runs, scores.mul(signs, axis="index"))


def told(names: Sequence[str], found: Sequence[Done]) -> str:
    """The Markdown of one budget; where one of the tools has not been yet, nothing
    counts.
    """
    here = _of(names, found)
    if here.runs.empty:
        return "No table yet where all tools have been."
    tables = [table for table, _ in here.merits.index]
    ranking = ranks(tables, here.merits.to_numpy())
    parts = [
        f"{len(set(tables))} tables, {len(tables)} cuts of them.",
        _overview(here, ranking),
        f"""Friedman's test that all are alike: p = {ranking.p_value:.2g}. Mean ranks that differ by less than
{ranking.critical:.2f} cannot be told apart (Nemenyi, 95 %, by tables).""",
        "Mean scores on the validation rows:",
        _scores(here),
    ]
    if OURS in names and len(names) > 1:
        parts += [
            (
                "The difference to ours, paired by seed, above 0 where ours is better, "
                "with its 95 % interval:"
            ),
            _differences(here),
            "\n".join([*_tally(here), *_beside_autogluon(here)]),
        ]
    failed = [f"* {line(one)}" for one in found if one.failure is not None]
    return "\n\n".join(
        [
            *parts,
            *(["Failed, and ranked last there:", "\n".join(failed)] if failed else []),
        ]
    )


def _overview(here: _Told, ranking: Ranks) -> str:
    best = here.merits.max(axis="columns")
    rows = []
    for place in np.argsort(ranking.means, kind="stable"):
        name = here.merits.columns[place]
        runs = here.runs[here.runs["tool"] == name]
        took, middle = runs["fit_seconds"], runs.select_dtypes("number").median()
        signs = runs["table"].map(lambda one: _METRICS[one].sign)
        ahead = signs * (runs["claimed"] - runs["score"]) / runs["score"].abs()
        rows.append(
            [
                name,
                f"**{ranking.means[place]:.2f}**",
                f"{(here.merits[name] == best).sum()}",
                f"{took.median():.0f} ({took.max():.0f})",
                f"{(took.dropna() <= KEPT * runs['seconds'].iloc[0]).mean():.0%}",
                f"{middle['start_seconds']:.1f}",
                f"{1000 * middle['predict_seconds_per_1000']:.1f}",
                f"{middle['model_bytes'] / 1e6:.2f}",
                ""
                if ahead.isna().all()
                else f"{ahead.median():+.1%} ({ahead.abs().median():.1%})",
                f"{runs['failure'].notna().sum()}",
            ]
        )
    columns = [
        "tool",
        "mean rank",
        "first",
        "seconds: median (most)",
        "kept the seconds",
    ]
    columns += [
        "start, s",
        "ms for 1,000 rows",
        "MB",
        "claims better by (off by)",
        "failed",
    ]
    return markdown(columns, rows)


def _scores(here: _Told) -> str:
    rows = []
    for name, merits in here.merits.groupby("table").mean().iterrows():
        metric = _METRICS[str(name)]
        shown = [
            f"**{m * metric.sign:.5g}**"
            if m == merits.max()
            else f"{m * metric.sign:.5g}"
            for m in merits
        ]
        rows.append([f"{name} ({metric.name})", *shown])
    return markdown(["table", *here.merits], rows)


def _differences(here: _Told) -> str:
    def cell(gains: pd.Series) -> str:
        if not np.isfinite(gains).all():
            return "one failed"
        mean = gains.mean()
        if len(gains) < 2:
            return f"{mean:+.3g}"
        # Over the cuts of the table.
        low, high = stats.ttest_1samp(gains, 0).confidence_interval()
        better = "better" if mean > 0 else "worse"
        verdict = "no difference shown" if low <= 0 <= high else better
        return f"**{mean:+.3g}** ({low:+.3g} to {high:+.3g}) {verdict}"

    tables = here.gains.groupby("table")
    rows = (
        [str(name), *(cell(gains[gain]) for gain in gains)] for name, gains in tables
    )
    return markdown(["table", *here.gains], rows)


def _tally(here: _Told) -> Iterator[str]:
    means = here.gains.groupby("table").mean()
    for name, gains in means.items():
        yield (
            f"* Against {name}: better in the mean on {(gains > 0).sum()}, worse on "
            f"{(gains < 0).sum()} of {len(gains)} tables."
        )


def _beside_autogluon(here: _Told) -> Iterator[str]:
    words = {
        "predict_seconds_per_1000": "prediction time",
        "model_bytes": "size of the model",
    }
    for name in (merit for merit in here.merits if merit.startswith("AutoGluon")):
        ratios = {
            word: (of[OURS] / of[name]).median()
            for word, of in ((words[key], here.by_tool(key)) for key in words)
        }
        shown = ", ".join(
            f"{word} {ratio:.2f} of its" for word, ratio in ratios.items()
        )
        yield f"* Beside {name}, medians: {shown} (to reach: 0.33)."
