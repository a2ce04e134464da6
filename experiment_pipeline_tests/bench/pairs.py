"""Ratios from pairs: two ways to do the same, run one right after the other,
in turn.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Ratio:
    """What ours needs for each second of the other's."""

    name: str  # what was compared
    ours: Sequence[float]  # seconds, of each pair
    other: Sequence[float]  # of the alternative
    goal: float | None  # the ratio to reach; None = only measured

    def cells(self) -> list[str]:
        """Of a line of the Markdown table."""
        ratios = [one / two for one, two in zip(self.ours, self.other, strict=True)]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}, {len(ratios)} pairs"
        seconds = (f"{statistics.median(one):.1f}" for one in (self.ours, self.other))
        goal = "" if self.goal is None else f"≤ {self.goal:.2f}"
        return [
            self.name,
            *seconds,
            f"**{statistics.median(ratios):.2f}** ({spread})",
            goal,
        ]


def compare(
    name: str,
    ours: Callable[[], object],
    other: Callable[[], object],
    *,
    pairs: int,
    goal: float | None = None,
    other_cores: int = 1,
    timed: Callable[[Callable[[], object]], float] | None = None,
) -> Ratio:
    """Time pairs; which half goes first alternates, so that a drift of the machine
    cancels.

    The alternative's seconds are divided by `other_cores`: it used one core of these.
    """
    seconds: dict[Callable[[], object], list[float]] = {ours: [], other: []}
    for number in range(pairs):
        for work in (ours, other) if number % 2 == 0 else (other, ours):
            seconds[work].append(
                (timed or seconds_of)(work) / (other_cores if work is other else 1)
            )
        pair = f"{seconds[ours][-1]:.1f} s against {seconds[other][-1]:.1f} s"
        print(f"  {name}: pair {number + 1}: {pair}", flush=True)
    return Ratio(name, seconds[ours], seconds[other], goal)


def seconds_of(work: Callable[[], object]) -> float:
    """Return the wall time of some work."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
