"""What the next run needs: cores, memory, time and money, from the last run's cost."""

from typing import Any

import pytest

from experiment_pipeline.tracking.next_machine import NextRun, next_run

RUN = {
    "cpu_seconds": 40.0,
    "wall_seconds": 22.0,
    "peak_memory_bytes": 800,
    "price_per_hour": 3.6,
}


def fits(*seconds: float | None, **columns: Any) -> list[dict[str, Any]]:
    """Rows of configurations with these seconds of their fits."""
    row = {"algorithm": "linear", "reused": False, "in_tie_group": False} | columns
    return [row | {"fit_cpu_seconds": cpu} for cpu in seconds]


def needs(run: dict[str, Any], rows: list[dict[str, Any]]) -> NextRun:
    """The needs of a run that has some."""
    found = next_run(run, rows)
    assert found is not None
    return found


def test_a_run_of_fits_takes_cores_until_twice_as_many_hardly_help():
    """32 of 40 s in fits: 4 cores take 16 s, 8 take 12 s, 16 no less than 10 s."""
    predicted = needs(RUN, fits(*[2.0] * 16))
    assert [predicted.seconds_on(cores) for cores in (1, 4, 8, 64)] == [40, 16, 12, 10]
    assert (predicted.cores, predicted.wall_seconds) == (8, 12)
    assert predicted.cost == pytest.approx(0.012)
    words = "\n".join(predicted.sentences)
    assert words.startswith("8 cores, 0.0 GB of memory, 12 s (")
    assert "cost 0.012" in words
    assert "On 1 core it takes 40 s" in words
    assert "at least 10 s" in words


def test_what_a_run_waited_for_is_waited_for_again():
    """On any number of cores; a run on several cores tells of no waiting."""
    waited = needs(RUN | {"wall_seconds": 43.0}, fits(*[2.0] * 16))
    assert [waited.seconds_on(cores) for cores in (1, 4)] == [43, 19]


def test_reused_fits_are_fitted_again_and_an_ensemble_is_no_fit_of_its_own():
    """The next run may have nothing to reuse; its time is that of all fits."""
    rows = fits(6.0) + fits(4.0, reused=True) + fits(None)
    predicted = needs(RUN, [*rows, *fits(10.0, algorithm="ensemble")])
    assert predicted.cpu_seconds == 44
    assert predicted.fit_cpu_seconds == 10
    assert predicted.fits == 2


def test_so_many_random_fits_hold_a_tied_one_with_a_chance_of_95_percent():
    """Of 10 with 5 tied, 4 fail to with 5/210; of 10 with 1 tied, all are needed."""
    half = fits(*[1.0] * 5) + fits(*[1.0] * 5, in_tie_group=True)
    assert needs(RUN, half).enough_fits == 4
    one = fits(*[1.0] * 9) + fits(1.0, in_tie_group=True)
    assert needs(RUN, one).enough_fits == 10
    assert "random ones" not in "\n".join(needs(RUN, one).sentences)


def test_kubernetes_gets_cores_and_memory_with_headroom():
    """A quarter more than the peak, as request and as limit."""
    run = RUN | {"peak_memory_bytes": 800 * 2**20}
    tag = needs(run, fits(1.0)).run_tags["dagster-k8s/config"]
    assert tag["container_config"]["resources"] == {
        "requests": {"cpu": "1", "memory": "1000Mi"},
        "limits": {"memory": "1000Mi"},
    }


@pytest.mark.parametrize(
    ("run", "rows"),
    [
        (RUN, []),
        (RUN, fits(None)),
        (RUN | {"cpu_seconds": None}, fits(1.0)),
        (RUN | {"cpu_seconds": 5.0}, fits(9.0)),
    ],
)
def test_without_fits_or_cost_or_on_a_cluster_nothing_is_predicted(run, rows):
    """More CPU seconds in fits than in the process: they ran elsewhere."""
    assert next_run(run, rows) is None
