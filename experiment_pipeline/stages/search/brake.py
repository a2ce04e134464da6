"""The budget of a search: asked before each fit, told after each, by the workers themselves.

In: a budget and a clock. Out: whether the next fit may start, and why not.
"""

import threading
from collections.abc import Callable

from experiment_pipeline.spec import Budget


class Brake:
    """Lets fits start until a limit is reached; from then on none. Threads may share it."""

    def __init__(self, budget: Budget, now: Callable[[], float], reason: str = "") -> None:
        """Start the clock.

        Args:
            budget: its seconds and failures in a row are limits.
            now: seconds of any clock that only goes forward.
            reason: given when nothing may start from the beginning.
        """
        self._budget, self._now, self._started = budget, now, now()
        self._share, self._spent, self._reason = 1.0, "", reason
        self._failures, self._lock = 0, threading.Lock()

    @property
    def reason(self) -> str:
        """Why nothing may start: for good, or for now; empty while fits may."""
        return self._reason or self._spent

    @property
    def is_out_of_time(self) -> bool:
        """Whether it is the clock alone that holds fits back."""
        return not self._reason and bool(self._spent)

    def open(self, share: float) -> None:
        """Give free a share of the seconds, counted from the start: a round must leave some."""
        self._share, self._spent = share, ""

    def may_start(self) -> bool:
        """Tell whether a fit may start now."""
        seconds = self._budget.seconds
        if seconds is not None and self._now() - self._started >= seconds * self._share:
            part = "" if self._share == 1 else f"{seconds * self._share:g} of "
            self._spent = f"{part}the budget of {seconds:g} seconds was spent"
        return not self.reason

    def saw(self, *, failure: bool) -> None:
        """Count failures that follow one another."""
        most = self._budget.failures_in_a_row
        with self._lock:
            self._failures = self._failures + 1 if failure else 0
            if most is not None and self._failures >= most:
                self._reason = self._reason or f"{most} configurations in a row had failed"
