"""Does the answer hold? Simulations with the truth known, as tables with what is aimed
at.

What is simulated is listed in simulations.yaml; here it is run side by side in
processes, and shown. In: nothing, seeds and numbers of simulations are constants. Out:
the section's Markdown.
"""

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import yaml
from threadpoolctl import threadpool_limits

from experiment_pipeline_tests.bench.sections import markdown
from experiment_pipeline_tests.bench.simulations import COLUMNS, Row, simulations_of

_LISTED = Path(__file__).with_name("simulations.yaml").read_text()
# What a table shows → the simulations that make its rows, in this order.
BLOCKS = {
    block["text"]: [
        simulation for line in block["lines"] for simulation in simulations_of(**line)
    ]
    for block in yaml.safe_load(_LISTED)
}


def section() -> str:
    """Run every simulation, as many at a time as there are cores; return the tables."""
    # A thread each: the libraries' own would only wait for one another.
    with ProcessPoolExecutor(
        os.cpu_count(), get_context("fork"), threadpool_limits, (1,)
    ) as pool:
        begun = {
            text: [pool.submit(_rows, text, place) for place in range(len(simulations))]
            for text, simulations in BLOCKS.items()
        }
        rows = {
            text: [row for job in jobs for row in job.result()]
            for text, jobs in begun.items()
        }
    return "\n\n".join(
        f"{text}\n\n{markdown(COLUMNS, found)}" for text, found in rows.items()
    )


def _rows(text: str, place: int) -> list[Row]:
    simulation = BLOCKS[text][place]
    return simulation.rows(simulation.tables)
