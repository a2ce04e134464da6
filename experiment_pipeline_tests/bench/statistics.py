"""Does the answer hold? Simulations with the truth known, as tables with what is aimed at.

What is simulated lives in the modules `statistics_*`; here it is put together, run side by side
in processes, and shown. In: nothing, seeds and numbers of simulations are constants. Out: the
section's Markdown.
"""

import itertools
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

from threadpoolctl import threadpool_limits

from experiment_pipeline_tests.bench import statistics_choice as choice
from experiment_pipeline_tests.bench import statistics_folds as folds
from experiment_pipeline_tests.bench import statistics_groups as groups
from experiment_pipeline_tests.bench import statistics_intervals as intervals
from experiment_pipeline_tests.bench import statistics_leaks as leaks
from experiment_pipeline_tests.bench import statistics_promise as promise
from experiment_pipeline_tests.bench import statistics_sets as sets
from experiment_pipeline_tests.bench.sections import table
from experiment_pipeline_tests.bench.statistics_coverage import OWN, SCENARIOS, cover

SEED = 1
COLUMNS = ["simulated", "figure", "aim", "simulations", "holds"]


@dataclass(frozen=True)
class Aim:
    """Where a share of simulations should lie."""

    low: float = 0.0  # at least this
    high: float = 1.0  # at most this

    def in_words(self) -> str:
        """`93 to 97 %`, `≤ 2.5 %` or `≥ 90 %`."""
        if self.low == 0:
            return f"≤ {100 * self.high:g} %"
        if self.high == 1:
            return f"≥ {100 * self.low:g} %"
        return f"{100 * self.low:g} to {100 * self.high:g} %"


@dataclass(frozen=True)
class Row:
    """One figure of one simulation."""

    name: str  # what was simulated
    figure: float  # a share, 0 … 1
    target: Aim | None  # where it should lie; None = only shown
    simulations: int  # how many it is a share of

    @property
    def holds(self) -> str:
        """`yes`, `no`, or nothing where nothing is aimed at."""
        if self.target is None:
            return ""
        return "yes" if self.target.low <= self.figure <= self.target.high else "no"

    def row(self) -> str:
        """A line of the Markdown table."""
        aim = "" if self.target is None else self.target.in_words()
        return (
            f"| {self.name} | **{100 * self.figure:.1f} %** | {aim} | {self.simulations:,} "
            f"| {self.holds} |"
        )


# One simulation and the figures it gives; in a process of its own, so it must pickle.
Job = Callable[[], Sequence[Row]]


@dataclass(frozen=True)
class Block:
    """One table of the section."""

    text: str  # what it shows, in front of it
    jobs: tuple[Job, ...]  # that make its rows, in this order


def share(
    name: str,
    target: Aim | None,
    simulations: int,
    simulate: Callable[..., float],
    **arguments: object,
) -> list[Row]:
    """Return the row of a simulation that gives one share; `simulate` takes their number and a seed."""
    return [Row(name, simulate(simulations, SEED, **arguments), target, simulations)]


def coverage(place: int, simulations: int) -> list[Row]:
    """Return a row per metric of one of SCENARIOS, one for the caveats, and one for what has none."""
    scenario = SCENARIOS[place]
    outcome = cover(scenario, simulations, SEED)
    held = [
        Row(f"{scenario.name}: {metric}", figure, COVERED, simulations)
        for metric, figure in outcome.held.items()
    ]
    noted = Row(f"{scenario.name}: a note", outcome.noted, NOTED[scenario.note], simulations)
    few = FEWEST_WITHOUT * simulations
    left = [(held / n, m, n) for m, (n, held) in outcome.without.items() if n >= few]
    figure, metric, n = min(left, default=(0.0, "", 0))
    lowest = Row(f"{scenario.name}: without a note, lowest ({metric})", figure, UNNOTED, n)
    return [*held, noted, *([lowest] if left else [])]


def best_of_many(simulations: int) -> list[Row]:
    """Return what comparisons of correlated configurations with the best one are worth."""
    found = choice.best_of_many(simulations, SEED)
    figures = (
        ("the tie group holds the truly best", found.tie_group, NEARLY_ALWAYS),
        ("all differences to the truly best are covered", found.coverage, NEARLY_ALWAYS),
        ("configurations in the tie group", found.tied, None),
        ("optimism that is said, of the true one", found.optimism / found.flattery, HONEST),
    )
    return [Row(name, figure, target, simulations) for name, figure, target in figures]


def chosen(simulations: int, name: str, **more: object) -> list[Row]:
    """Return how often the interval of the choice holds the truth, by few rows."""
    found = choice.chosen_score(simulations, SEED, **more)
    return [
        Row(f"{name}: its interval holds the truth", found.covered, Aim(low=0.93), simulations),
        Row(f"{name}: the score is ahead of the truth by", found.flattery, None, simulations),
    ]


def stopped(simulations: int, kind: str) -> list[Row]:
    """Return what searches lose that end where more of them is not worth its time."""
    found = choice.stopped_search(simulations, SEED, kind=kind)
    figures = (
        ("they would have gained less than is asked", found.enough, Aim(low=0.8)),
        ("what they would have gained, of what is asked", found.gained, Aim(high=1.0)),
        ("fits, of those that were worth it", found.fits, None),
    )
    what = f"searches that end by their worth, {kind} scores"
    return [Row(f"{what}: {text}", figure, aim, simulations) for text, figure, aim in figures]


def grouped(simulations: int, number_of_groups: int, together: str) -> list[Row]:
    """Return what comparisons of groups of rows that hang together hold, and whom they accuse."""
    how, rows = {"groups": number_of_groups, "together": together}, list[Row]()
    name = f"{number_of_groups} groups, drawn by {together}"
    for of, number in (("rates", False), ("errors", True)):
        figure = groups.covered(simulations, SEED, **how, number=number)
        rows.append(Row(f"{name}: all comparisons of {of} hold", figure, COVERED, simulations))
    for what, apart, aim in (("equal", 0.0, Aim(high=0.05)), ("different", 0.8, Aim(low=0.9))):
        figure = groups.accused(simulations, SEED, **how, apart=apart)
        rows.append(Row(f"{name}: {what} ones said to differ", figure, aim, simulations))
    return rows


def planted() -> list[Row]:
    """Return how many of the planted leaks are named."""
    found = leaks.hits(SEED)
    return [_judged("planted leaks that are named", found, ("asked", "stopped"), Aim(low=0.8))]


def related() -> list[Row]:
    """Return how many tables of related rows, that no column shows, are named."""
    found = leaks.related(SEED)
    return [_judged("tables of related rows that are named", found, ("asked",), Aim(low=0.8))]


def clean() -> list[Row]:
    """Return how many tables without a leak are accused, and how many of them stopped."""
    found = leaks.false_alarms(SEED)
    return [
        _judged("clean tables accused", found, ("asked", "stopped"), Aim(high=0.1)),
        _judged("clean tables stopped", found, ("stopped",), NEVER),
    ]


def _judged(name: str, found: Sequence[leaks.Judged], words: Collection[str], target: Aim) -> Row:
    return Row(name, sum(one.word in words for one in found) / len(found), target, len(found))


COVERED = Aim(0.93, 0.97)
# Of samples without a caveat, where at least so many have none.
UNNOTED, FEWEST_WITHOUT = Aim(low=0.9), 0.05
BY_LUCK = Aim(high=0.025)
HONEST = Aim(0.75, 1.25)
NEVER = Aim(high=0.0)
NEARLY_ALWAYS = Aim(low=0.95)
NOTED: Mapping[str, Aim | None] = {
    "false": Aim(high=0.05),
    "open": None,
    "owed": Aim(low=0.6),
    "always": None,
}
# The names of what is simulated, as rows have them.
NAMES: Mapping[object, str] = {
    sets.flags: "14 skewed flags",
    sets.measures: "5 measures",
    sets.jobs: "department and title",
    sets.four_times: "every row four times",
}


def each(
    name: str, target: Aim | None, simulations: int, simulate: Callable[..., float], **given: object
) -> tuple[partial[list[Row]], ...]:
    """A simulation for each combination of the listed arguments, which `{…}` of the name tell."""
    lists = [value if isinstance(value, list) else [value] for value in given.values()]
    cases = [dict(zip(given, values, strict=True)) for values in itertools.product(*lists)]
    return tuple(
        partial(
            share,
            name.format_map({key: NAMES.get(value, value) for key, value in case.items()}),
            *(target, simulations, simulate),
            **case,
        )
        for case in cases
    )


# A simulation more is a line more.
MEMBERSHIP = (
    *(
        one
        for table_, population in ((sets.flags, sets.flags), (sets.four_times, sets.measures))
        for one in each(
            "{table}: the interval of {metric} holds the truth",
            *(COVERED, 500, sets.coverage_of_score),
            table=table_,
            population=population,
            metric=["roc_auc", "log_loss"],
        )
    ),
    *each(
        "{table}, by {by}: blocked",
        *(NEVER, 50, sets.share_blocked),
        table=[sets.flags, sets.measures, sets.jobs],
        by=["random", "id", "time", "column"],
    ),
    *each(
        "a share of {leaked} of the rows copied before sets were named: blocked",
        *(NEARLY_ALWAYS, 50, sets.share_blocked),
        table=sets.measures,
        by="column",
        leaked=[0.05, 0.2],
    ),
    *each(
        "{table}: rows of 5,000 that move when two are added, at the worst",
        *(Aim(high=0.001), 50, sets.moved_by_adding),
        table=[sets.flags, sets.measures, sets.jobs, sets.four_times],
    ),
)
_flips, _constant = choice.gate_error_of_coin_flips, choice.gate_error_of_constants
GATES = (
    *each("coin flips, 50 % positives: pass {metric}", BY_LUCK, 2_000, _flips, metric="accuracy"),
    *each(
        "coin flips, 30 % positives: pass {metric}",
        BY_LUCK,
        2_000,
        _flips,
        metric=[*OWN],
        share=0.3,
    ),
    *each(
        "coin flips, 5 % positives: pass {metric}", BY_LUCK, 2_000, _flips, metric="f1", share=0.05
    ),
    *each(
        *("the best constant passes {metric}", BY_LUCK, 2_000, _constant),
        metric=["log_loss", "mae", "mape"],
    ),
    *each(
        *("a constant learnt from 85 % of the rows passes log_loss", BY_LUCK, 2_000, _constant),
        learnt=0.85,
    ),
    *each(
        *("R² = .05 on 1,000 rows passes {metric}", Aim(low=0.93), 2_000, choice.power_at_r2),
        metric=["rmse", "r2"],
    ),
)
_looks, _challenged = choice.gate_error_of_looks, choice.auc_after_challengers
LOOKS = (
    *each(
        "one of 30 models that know nothing passes on the same rows", Aim(high=0.05), 400, _looks
    ),
    *each("the same, a fifth of the rows new at each look", None, 400, _looks, fresh=0.2),
    *(
        one
        for rows, least in ((300, 0.74), (1_000, 0.76), (5_000, 0.78))
        for one in each(
            "AUC after 30 challengers, {rows:,} rows", Aim(low=least), 40, _challenged, rows=rows
        )
    ),
    *each(
        "AUC after 30 challengers, {rows:,} rows, without the best version",
        *(None, 40, _challenged),
        rows=[300, 1_000, 5_000],
        anchored=False,
    ),
)
CHOICE = (
    partial(best_of_many, 500),
    *(
        partial(
            chosen, 300, f"the choice of 20 on 150 rows, {metric}, {how}", metric=metric, **more
        )
        for metric in ("f1", "roc_auc")
        for how, more in (
            ("with an ensemble", {}),
            ("without", {"ensemble": "off"}),
            ("the smallest", {"ensemble": "off", "choice": "smallest_in_tie_group"}),
        )
    ),
    *(partial(stopped, 300, kind) for kind in choice.SCORES),
    *each(
        *("a perfect model is called weak in a segment, by {metric}", BY_LUCK, 300, choice.accused),
        metric=["roc_auc", "log_loss", "f1", "mae", "r2"],
    ),
    *each(
        *("a weak segment of 400 rows is named, by {metric}", Aim(low=0.9), 100, choice.accused),
        metric=["roc_auc", "log_loss", "mae"],
        weak=True,
    ),
    *each(
        "the best of 20 that know nothing beats the baseline by f1",
        *(BY_LUCK, 400, choice.winner_error_of_noise),
    ),
    *each(
        "as good on validation as on test, said to be worse by f1",
        *(BY_LUCK, 2_000, choice.gap_error),
    ),
    *each(
        "perfect probabilities of 200 rows, called miscalibrated",
        *(Aim(high=0.06), 2_000, choice.perfect_and_accused),
    ),
    *each(
        "costs at 1 to 20, 8 positives: the interval holds the truth",
        *(COVERED, 2_000, choice.coverage_of_costs),
    ),
)
FOLDS = tuple(
    partial(
        share,
        f"{name}, {how}: the interval of {metric} holds the truth",
        Aim(low=0.93) if corrected else None,
        500,
        folds.coverage,
        metric=metric,
        learn=learn,
        corrected=corrected,
    )
    for name, metric, learn in (
        ("a linear model", "roc_auc", folds.linear_classes),
        ("a linear model", "log_loss", folds.linear_classes),
        ("a tree", "roc_auc", folds.tree_of_classes),
        ("a tree", "log_loss", folds.tree_of_classes),
        ("a linear model", "rmse", folds.linear_numbers),
        ("a tree", "rmse", folds.tree_of_numbers),
    )
    for how, corrected in (("as it is", True), ("without the correction", False))
)
PROMISED, OF_A_PART = Aim(0.88, 0.92), Aim(low=0.85)
_uneven = {"world": intervals.World(60, 5, luck=1.0, uneven=True)}
_worlds = {
    "400 rows": intervals.World(),
    "20 groups of 10 rows": intervals.World(20, 10, luck=1.0),
    "60 groups of 10 rows": intervals.World(60, 10, luck=1.0),
    "20 days, neighbours alike": intervals.World(20, 20, luck=1.0, memory=0.5),
    "60 days, neighbours alike": intervals.World(60, 20, luck=1.0, memory=0.5),
}
INTERVALS = (
    *(partial(share, name, PROMISED, 200, intervals.held, world=_worlds[name]) for name in _worlds),
    *each("60 groups, the large ones loud", PROMISED, 200, intervals.held, **_uneven),
    *each("the same, rows by 1/size", None, 200, intervals.held, **_uneven, hierarchical=True),
    *(
        partial(share, f"{n:,} rows, noise {by}: {part}", aim, 200, intervals.held, world=world)
        for by in ("by feature", "by prediction")
        for n in (500, 2_000)
        for part, aim in (("all", PROMISED), ("loud", OF_A_PART), ("quiet", OF_A_PART))
        for world in [intervals.World(n, noise=by, part=part)]
    ),
    *each(
        "sets of classes, {shares}: of the second class",
        *(PROMISED, 200, intervals.sets_held),
        shares=[(0.3, 0.7), (0.95, 0.05), (0.5, 0.3, 0.2)],
    ),
)
_YEARS, _auc = 400, promise.Source("roc_auc")
_seen = {"drop": promise.DROP_ON, "within": 30}
PROMISE = (
    *each("{source}: a false alarm", Aim(high=0.05), _YEARS, promise.found, source=promise.QUIET),
    *each("{source}: a false alarm", None, _YEARS, promise.found, source=promise.ALIKE),
    *each("{source}: .03 less is seen", Aim(low=0.9), _YEARS, promise.found, source=_auc, **_seen),
    *each("{source}: .03 less is seen", None, _YEARS, promise.found, source=promise.RARE, **_seen),
)
BLOCKS = (
    Block(
        "How often an interval of 95 % holds the truth, and for how many samples a note says that\n"
        "one is too narrow: at most 5 % are false alarms on tables where intervals hold, and where\n"
        "they cannot, most samples are told so. Of the samples without a note at least 90 % hold it.",
        tuple(partial(coverage, place, 1_000) for place in range(len(SCENARIOS))),
    ),
    Block(
        "Leaks: what the analysis says of planted ones, and of made-up and real tables without.",
        (planted, related, clean),
    ),
    Block(
        "The sets, where rows are alike: 8,000 rows, some of them different people, others copies.\n"
        "Coverage is of a linear model's score, on validation rows of a random split.",
        MEMBERSHIP,
    ),
    Block(
        "Cross-validation, three times five folds of 300 rows: intervals as they are, corrected for what\n"
        "the models of the folds share (Nadeau and Bengio 2003), and as they would be without it.",
        FOLDS,
    ),
    Block(
        "The default gate, better than the baseline, on 500 rows: how often it lets through what\n"
        "knows nothing, and what knows a little.",
        GATES,
    ),
    Block(
        "Looks: 30 models on the same 500 rows, and 30 challengers, each .005 AUC worse than the champion\n"
        "of .8 (the figure is the champion's true AUC at the end).",
        LOOKS,
    ),
    Block(
        "The choice: 20 configurations on 500 rows, eight of them equally good; noise, the gap, rare\n"
        "positives, and segments of 2,000 rows that differ in prevalence or in the size of errors.",
        CHOICE,
    ),
    Block(
        "Audit by groups: 2,000 validation rows in groups of unequal size, all measures and pairs of\n"
        "groups at once; rows, persons of 8 rows in one group, or days of 20 rows in any.",
        tuple(partial(grouped, 500, n, how) for n in (2, 6) for how in ("rows", "persons", "days")),
    ),
    Block(
        "The share of new rows in their interval or set, of 90 % promised (`predict --interval 0.9`): of new\n"
        "groups and days, of the quarter of rows with most noise, three times that of others, and of these.",
        INTERVALS,
    ),
    Block(
        "The promise, watched: a year of 300 labels a day, asked every day, by a promise from 1,000 rows.\n"
        "Either nothing changes, or the AUC drops on day 200: is it seen within 30 days?",
        PROMISE,
    ),
)


def section(blocks: Sequence[Block] = BLOCKS) -> str:
    """Run every simulation, as many at a time as there are cores; return the tables."""
    # A thread each: the libraries' own would only wait for one another.
    with ProcessPoolExecutor(
        os.cpu_count(), initializer=threadpool_limits, initargs=(1,)
    ) as processes:
        started = [[processes.submit(job) for job in block.jobs] for block in blocks]
        rows = [[row for job in jobs for row in job.result()] for jobs in started]
    tables = [table(COLUMNS, found) for found in rows]
    return "\n\n".join(
        f"{block.text}\n\n{shown}" for block, shown in zip(blocks, tables, strict=True)
    )
