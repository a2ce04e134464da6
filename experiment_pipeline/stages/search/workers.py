"""What each worker of a cluster did in a search, so that a slow one is visible at once.

Configurations fall to workers by chance, so that the median time of a fit compares workers once each
has had a few.
"""

from collections.abc import Iterator

import pandas as pd

from experiment_pipeline.reporting import numbers

# A worker is reported when its fits take so many times as long as those of the others, and it and
# they have had so many.
SLOW, LEAST_FITS = 1.5, 3
MOST_WORKERS = 20


def placed(results: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `search_results` whose last fit ran on a worker; none without a cluster."""
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
    rows, shown = placed(results), names(placed(results))
    found = list[tuple[float, dict[str, str]]]()
    for worker, own in rows.groupby("worker"):
        wall, cpu = own["fit_wall_seconds"].sum(), own["fit_cpu_seconds"].sum()
        read, queue = own["read_seconds"].sum(), own["queue_seconds"].sum()
        fits = int(own["fit_wall_seconds"].notna().sum())
        middle = float(own["fit_wall_seconds"].median()) if fits else 0.0
        row = {
            "worker": shown[str(worker)],
            "fits": f"{fits:,}",
            "failed": f"{len(own) - fits:,}",
            "s per fit": numbers.measured(middle),
            "at work": numbers.share(wall / (wall + read + queue)) if wall else "",
            "of a core": numbers.share(cpu / wall) if wall else "",
            "begun again": f"{int(own['attempts'].sum()) - len(own):,}",
            "s to read": numbers.measured(read),
        }
        found.append((middle, row))
    found.sort(key=lambda one: -one[0])
    return pd.DataFrame([row for _, row in found[:MOST_WORKERS]])


def slow_workers(results: pd.DataFrame) -> Iterator[str]:
    """Yield a sentence for each worker that takes much longer for a fit than the others."""
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
