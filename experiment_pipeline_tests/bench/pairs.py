"""Ratios from pairs: two ways to do the same, run one right after the other, in turn."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Ratio:
    """What ours needs for each second of the other's."""

    name: str  # what was compared
    ours_seconds: float  # median wall time
    other_seconds: float  # median wall time of the alternative
    ratios: tuple[float, ...]  # ours / other of each pair
    goal: float | None  # the ratio to reach; None = only measured

    @property
    def median(self) -> float:
        """The ratio to quote."""
        return statistics.median(self.ratios)

    def row(self) -> str:
        """A line of the Markdown table."""
        spread = f"{min(self.ratios):.2f} to {max(self.ratios):.2f}"
        goal = "" if self.goal is None else f"≤ {self.goal:.2f}"
        return (
            f"| {self.name} | {self.ours_seconds:.1f} | {self.other_seconds:.1f} "
            f"| **{self.median:.2f}** ({spread}, {len(self.ratios)} pairs) | {goal} |"
        )


def compare(
    name: str,
    ours: Callable[[], object],
    other: Callable[[], object],
    *,
    pairs: int,
    goal: float | None = None,
    other_cores: int = 1,
) -> Ratio:
    """Time pairs; which half goes first alternates, so that a drift of the machine cancels.

    The alternative's seconds are divided by `other_cores`: it used one core of these.
    """
    timed = []
    for number in range(pairs):
        order = (ours, other) if number % 2 == 0 else (other, ours)
        seconds = {work: seconds_of(work) for work in order}
        pair = seconds[ours], seconds[other] / other_cores
        timed.append(pair)
        print(f"  {name}: pair {number + 1}: {pair[0]:.1f} s against {pair[1]:.1f} s", flush=True)
    return Ratio(
        name,
        statistics.median(pair[0] for pair in timed),
        statistics.median(pair[1] for pair in timed),
        tuple(pair[0] / pair[1] for pair in timed),
        goal,
    )


def seconds_of(work: Callable[[], object]) -> float:
    """Return the wall time of some work."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
