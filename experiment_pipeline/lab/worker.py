"""A process of its own for each exploration: it can be stopped at any point.

    python -m experiment_pipeline.lab.worker <experiment> <number of the claim>

It ends with the process that started it, whose end closes its standard input.
"""

import os
import sys
import threading

from experiment_pipeline.lab.laboratory import Laboratory

_STOPPED = 3


def main() -> None:
    """Carry out the claim that the arguments name."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    experiment, number = sys.argv[1:]
    laboratory = Laboratory.of(experiment)
    laboratory.carry_out(laboratory.records.history().tried[int(number) - 1])


def _end_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os._exit(_STOPPED)


if __name__ == "__main__":
    main()
