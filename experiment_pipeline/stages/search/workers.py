"""What each worker of a cluster did in a search, so that one that is slow is seen at once.

Configurations fall to workers by chance, so that what a fit takes in the middle tells workers apart
once each has had a few. In: the table of results. Out: a row per worker, and sentences.
"""

from collections.abc import Iterator

import pandas as pd

from experiment_pipeline.reporting import numbers

# A worker is told of when its fits take so many times as long as those of the others, and it and
# they have had so many.
SLOW, LEAST_FITS = 1.5, 3
MOST_WORKERS = 20


def placed(results: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `search_results` whose last fit was a worker's; none without a cluster."""
    if "worker" not in results:
        return results[:0].assign(worker=None)
    return results[results["worker"].fillna("") != ""]


def names(results: pd.DataFrame) -> dict[str, str]:
    """Return address → what people read: the host, with the port where a host has several workers."""
    places = {one: one.partition("://")[2] for one in results["worker"].unique()}
    hosts = {one: place.rpartition(":")[0] for one, place in places.items()}
    return hosts if len({*hosts.values()}) == len(hosts) else places


def of_workers(results: pd.DataFrame) -> pd.DataFrame:
    """Return a row per worker in words, the slowest first, MOST_WORKERS at the most.

    `at work` is the share of the seconds from handing fits out to their end that it fitted in, `of a
    core` what its fits had of one; `begun again` counts attempts that workers before it have lost.
    """
    rows = sorted(_each(placed(results)), key=lambda one: -one[0])
    return pd.DataFrame([row for _, row in rows[:MOST_WORKERS]])


def slow_workers(results: pd.DataFrame) -> Iterator[str]:
    """Say which workers take much longer for a fit than the others."""
    done = placed(results).dropna(subset=["fit_wall_seconds"])
    shown = names(done)
    for worker, own in done.groupby("worker")["fit_wall_seconds"]:
        others = done.loc[done["worker"] != worker, "fit_wall_seconds"]
        if min(len(own), len(others)) < LEAST_FITS or others.median() <= 0:
            continue
        if (times := own.median() / others.median()) >= SLOW:
            yield (
                f"A fit on {shown[str(worker)]} takes {times:.1f} times as long as on the others "
                f"({numbers.measured(own.median())} s, not {numbers.measured(others.median())} s)."
            )


def _each(rows: pd.DataFrame) -> Iterator[tuple[float, dict[str, str]]]:
    shown = names(rows)
    for worker, own in rows.groupby("worker"):
        wall, cpu = own["fit_wall_seconds"].sum(), own["fit_cpu_seconds"].sum()
        read, queue = own["read_seconds"].sum(), own["queue_seconds"].sum()
        fits = int(own["fit_wall_seconds"].notna().sum())
        middle = float(own["fit_wall_seconds"].median()) if fits else 0.0
        yield (
            middle,
            {
                "worker": shown[str(worker)],
                "fits": f"{fits:,}",
                "failed": f"{len(own) - fits:,}",
                "s per fit": numbers.measured(middle),
                "at work": numbers.share(wall / (wall + read + queue)) if wall else "",
                "of a core": numbers.share(cpu / wall) if wall else "",
                "begun again": f"{int(own['attempts'].sum()) - len(own):,}",
                "s to read": numbers.measured(read),
            },
        )
