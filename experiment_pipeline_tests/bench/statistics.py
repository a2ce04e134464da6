"""Does the answer hold? Simulations with the truth known, as tables with what is aimed
at.

What is simulated lives in the modules `statistics_*`; here it is put together, run side
by side in processes, and shown. In: nothing, seeds and numbers of simulations are
constants. Out: the section's Markdown.
"""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor

from threadpoolctl import threadpool_limits

from experiment_pipeline_tests.bench.sections import table
from experiment_pipeline_tests.bench.statistics_agents import SIMULATED_AGENTS
from experiment_pipeline_tests.bench.statistics_baseline import BASELINE
from experiment_pipeline_tests.bench.statistics_choice import CHOICE, GATES, LOOKS
from experiment_pipeline_tests.bench.statistics_coverage import COVERAGE
from experiment_pipeline_tests.bench.statistics_drafts import DRAFTS
from experiment_pipeline_tests.bench.statistics_folds import INTERVALS_OF_FOLDS
from experiment_pipeline_tests.bench.statistics_groups import GROUPS
from experiment_pipeline_tests.bench.statistics_intervals import NEW_ROWS_HELD
from experiment_pipeline_tests.bench.statistics_later import LATER
from experiment_pipeline_tests.bench.statistics_leaks import LEAKS
from experiment_pipeline_tests.bench.statistics_marks import MARKS
from experiment_pipeline_tests.bench.statistics_promise import PROMISE
from experiment_pipeline_tests.bench.statistics_random_split import RANDOM_SPLIT
from experiment_pipeline_tests.bench.statistics_rows import COLUMNS, Job
from experiment_pipeline_tests.bench.statistics_sets import MEMBERSHIP
from experiment_pipeline_tests.bench.statistics_tables import ON_TABLES

# What a table shows → the jobs that make its rows, in this order.
BLOCKS: Mapping[str, Sequence[Job]] = {
    """\
How often an interval of 95 % holds the truth, and for how many samples a note says that
one is too narrow: at most 5 % are false alarms on tables where intervals hold, and where
they cannot, most samples are told so. Of the samples without a note at least 90 % should
hold it; very heavy tails and long memory hide in the samples that miss. A width is the
median one, as a share of that of the best interval that holds, by the true distribution
of the scores.""": COVERAGE,
    """\
Leaks: what the analysis says of planted ones, and of made-up and real tables without.""": LEAKS,
    """\
The draft's split of 4,000 rows with a date, or with an id of four or eight rows each: the honest one where
a random split promises too much, and no needless one.""": DRAFTS,
    """\
What a random split would have said: 250 customers of 8 rows on 60 days, a split by customer or by day, and the
same test rows predicted once more by fits on random rows. How often the report says that a random split would
have promised too much; where nothing depends on customers or days, also how often its interval excludes 0.""": RANDOM_SPLIT,
    """\
Marks of missing values, as -1, -200 or 999: made-up targets of 300 to 30,000 rows without one and
with one in 1 to 20 % of the rows, and every numeric column of the R tables.""": MARKS,
    """\
The sets, where rows are alike: 8,000 rows, some of them different people, others copies.
Coverage is of a linear model's score, on validation rows of a random split.""": MEMBERSHIP,
    """\
Cross-validation, three times five folds of 300 rows: intervals as they are, corrected for what
the models of the folds share (Nadeau and Bengio 2003), and as they would be without it.""": INTERVALS_OF_FOLDS,
    """\
The default gate, better than the baseline, on 500 rows: how often it lets through what
knows nothing, and what knows a little.""": GATES,
    """\
The same gate where model and baseline share their large errors: heavy tails, and days of a trend.
A winner that explains half of the variance passes, at the first look and at the third; chance does not.""": BASELINE,
    """\
Looks: 30 models on the same 500 rows, and 30 challengers, each .005 AUC worse than the champion
of .8 (the figure is the champion's true AUC at the end).""": LOOKS,
    """\
The choice: 20 configurations on 500 rows, eight of them equally good; noise, the gap, rare
positives, and segments of 2,000 rows that differ in prevalence or in the size of errors.""": CHOICE,
    """\
Agents that experiment on tables with two useful columns among those of 50 proposals (the overfitter: 200,
with other folds each time), and on pure noise: in a laboratory, and by plain cross-validation of all rows.""": SIMULATED_AGENTS,
    """\
Real tables: `ep.run` on 2,500 rows of each, and the score of its model on all others: does the interval of
its validation report hold it?""": ON_TABLES,
    """\
Audit by groups: 2,000 validation rows in groups of unequal size, all measures and pairs of
groups at once; rows, persons of 8 rows in one group, or days of 20 rows in any. Groups of fewer
than 30 clusters are not compared: of persons three of six. Known errors are those of the simulation.""": GROUPS,
    """\
The share of new rows in their interval or set, of 90 % promised (`predict --interval 0.9`): of new
groups and days, of the quarter of rows with most noise, three times that of others, and of these.""": NEW_ROWS_HELD,
    """\
The promise, watched: a year of 300 labels a day, asked every day, by a promise from 1,000 rows.
Either nothing changes, or the AUC drops on day 200: is it seen within 30 days?""": PROMISE,
    """\
Horizons, pairs and drift: 100 validation days of 30 rows, whose score falls or not; the paired
difference of two models (`compare`); and what `predict` says of new rows before their labels come.""": LATER,
}


def section(blocks: Mapping[str, Sequence[Job]] = BLOCKS) -> str:
    """Run every simulation, as many at a time as there are cores; return the tables."""
    # A thread each: the libraries' own would only wait for one another.
    with ProcessPoolExecutor(
        os.cpu_count(), initializer=threadpool_limits, initargs=(1,)
    ) as pool:
        begun = {text: [*map(pool.submit, jobs)] for text, jobs in blocks.items()}
        rows = {
            text: [row for job in jobs for row in job.result()]
            for text, jobs in begun.items()
        }
    return "\n\n".join(
        f"{text}\n\n{table(COLUMNS, found)}" for text, found in rows.items()
    )
