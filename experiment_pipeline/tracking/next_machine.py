"""What the next run of an experiment needs, from what its last run has used: cores,
memory, time and money.

It holds for as many rows and configurations, with nothing to reuse. CPU seconds and
memory are measured; the time on other numbers of cores is arithmetic: fits side by
side, all else one after the other, and the last run's waiting for disks and other
processes once more.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.run_record import Row
from experiment_pipeline.spec.algorithms import ENSEMBLE
from experiment_pipeline.tracking.summary import money

_WORTH = 0.8  # twice the cores pay off if the run takes at most this share of the time
_HEADROOM = 1.25  # of memory: peaks of repeated runs differ by less
_SURE = 0.95


@dataclass(frozen=True)
class NextRun:
    """The needs of a run like the last one."""

    cpu_seconds: float
    fit_cpu_seconds: float  # of these, in fits, which run side by side
    longest_fit_seconds: float
    waiting_seconds: float  # in which even a single core had nothing to do
    memory_bytes: int  # with headroom
    price_per_hour: float | None
    fits: int
    # so many random ones of them would hold a tied one with a chance of 95 %
    enough_fits: int

    def seconds_on(self, cores: float) -> float:
        """Return the wall seconds on so many cores; infinitely many: a cluster."""
        others = self.waiting_seconds + self.cpu_seconds - self.fit_cpu_seconds
        return others + max(self.fit_cpu_seconds / cores, self.longest_fit_seconds)

    @property
    def cores(self) -> int:
        """The cores to take: twice as many would hardly shorten it."""
        cores = 1
        while self.seconds_on(2 * cores) <= _WORTH * self.seconds_on(cores):
            cores *= 2
        return cores

    @property
    def wall_seconds(self) -> float:
        """On these cores."""
        return self.seconds_on(self.cores)

    @property
    def cost(self) -> float | None:
        """Of the wall seconds, in the currency of `price_per_hour`."""
        price = self.price_per_hour
        return None if price is None else self.wall_seconds / 3600 * price

    @property
    def run_tags(self) -> Mapping[str, Any]:
        """The Dagster tag by which Kubernetes gives a run its cores and memory."""
        memory = f"{math.ceil(self.memory_bytes / 2**20)}Mi"
        requests = {"cpu": str(self.cores), "memory": memory}
        resources = {"requests": requests, "limits": {"memory": memory}}
        return {"dagster-k8s/config": {"container_config": {"resources": resources}}}

    @property
    def facts(self) -> Mapping[str, Any]:
        """Everything, for programs."""
        derived = ("cores", "wall_seconds", "cost", "run_tags")
        return {**asdict(self), **{name: getattr(self, name) for name in derived}}

    @property
    def sentences(self) -> Sequence[str]:
        """The needs, a smaller machine, a cluster and a smaller search in words."""
        price = f", cost {money(self.cost)}" if self.cost is not None else ""
        first = (
            f"{numbers.counted(self.cores, 'core')}, {self.memory_bytes / 1e9:.1f} GB "
            f"of memory, {numbers.seconds(self.wall_seconds)} "
            f"({numbers.seconds(self.cpu_seconds)} CPU){price}: for as many rows, "
            "without fits to reuse."
        )
        lines = [first]
        if self.cores > 1:
            alone = numbers.seconds(self.seconds_on(1))
            lines.append(
                f"On 1 core it takes {alone}, with the same result unless a budget of "
                "seconds ends the search."
            )
        cluster = numbers.seconds(self.seconds_on(math.inf))
        lines.append(f"However large a cluster for the fits: at least {cluster}.")
        if self.enough_fits < self.fits:
            lines.append(
                f"Of the {self.fits:,} fitted configurations, {self.enough_fits:,} "
                "random ones hold one that is tied with the best with a chance of "
                f"{numbers.share(_SURE)}."
            )
        return lines


def next_run(run: Row, configurations: Sequence[Row]) -> NextRun | None:
    """Return what the next run needs, given a run's row and its configurations.

    None: the run fitted nothing, its cost is not known, or its fits were not of its
    process but of a cluster.
    """
    fitted = [row for row in configurations if _is_fit(row)]
    if not fitted or not _cost_is_known(run):
        return None
    seconds = _fit_seconds(fitted)
    cpu_seconds = run["cpu_seconds"] + sum(
        _fit_seconds([row for row in fitted if row["reused"]])
    )
    if cpu_seconds < sum(seconds):
        return None
    tied = [row for row in fitted if row["in_tie_group"]]
    return NextRun(
        cpu_seconds=cpu_seconds,
        fit_cpu_seconds=sum(seconds),
        longest_fit_seconds=max(seconds),
        waiting_seconds=max(run["wall_seconds"] - run["cpu_seconds"], 0.0),
        memory_bytes=math.ceil(_HEADROOM * run["peak_memory_bytes"]),
        price_per_hour=run["price_per_hour"],
        fits=len(fitted),
        enough_fits=_enough(len(fitted), len(tied)),
    )


def _cost_is_known(run: Row) -> bool:
    costs = ("cpu_seconds", "wall_seconds", "peak_memory_bytes")
    return all(run[cost] for cost in costs)


def _fit_seconds(rows: Sequence[Row]) -> list[float]:
    return [row["fit_cpu_seconds"] for row in rows]


def _is_fit(row: Row) -> bool:
    """Whether it was fitted; an ensemble's fits are those of its members."""
    return row["algorithm"] != ENSEMBLE and row["fit_cpu_seconds"] is not None


def _enough(fits: int, tied: int) -> int:
    """Return how many random ones of the fits hold a tied one with a chance of 95 %."""
    missed = 1.0
    for drawn in range(fits):
        missed *= (fits - tied - drawn) / (fits - drawn)
        if missed <= 1 - _SURE:
            return drawn + 1
    return fits
