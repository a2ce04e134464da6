"""The budget of a search: asked before each fit, told after each, by the workers themselves.

In: a budget and a clock. Out: whether the next fit may start, and why not.
"""

import threading
from collections.abc import Callable

from experiment_pipeline.core.spec import Budget


class Brake:
    """Lets fits start until a limit is reached; from then on none. Threads may share it.

    Attributes:
        reason: why nothing may start any more; empty while fits may.
    """

    def __init__(self, budget: Budget, now: Callable[[], float], reason: str = "") -> None:
        """Start the clock.

        Args:
            budget: its seconds and failures in a row are limits.
            now: seconds of any clock that only goes forward.
            reason: given when nothing may start from the beginning.
        """
        self.reason = reason
        self._budget, self._now, self._started = budget, now, now()
        self._failures, self._lock = 0, threading.Lock()

    def may_start(self) -> bool:
        """Tell whether a fit may start now."""
        seconds = self._budget.seconds
        if seconds is not None and self._now() - self._started >= seconds:
            self._pull(f"the budget of {seconds:g} seconds was spent")
        return not self.reason

    def saw(self, *, failure: bool) -> None:
        """Count failures that follow one another."""
        most = self._budget.failures_in_a_row
        with self._lock:
            self._failures = self._failures + 1 if failure else 0
        if most is not None and self._failures >= most:
            self._pull(f"{most} configurations in a row had failed")

    def _pull(self, reason: str) -> None:
        """The first reason stays."""
        with self._lock:
            self.reason = self.reason or reason
