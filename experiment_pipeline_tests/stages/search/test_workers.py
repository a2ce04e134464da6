"""What is shown of the workers of a cluster: who is slow is seen at once."""

import pandas as pd

from experiment_pipeline.stages.search.workers import of_workers, placed, slow_workers

A, B = "tcp://10.0.0.1:40000", "tcp://10.0.0.2:40000"


def results() -> pd.DataFrame:
    """Four fits of one worker, three of another that is slow and has failed once."""
    fits = [(A, 2.0, 1, 2.0)] * 4 + [(B, 6.0, 1, 2.0)] * 2 + [(B, 6.0, 2, 2.0), (B, None, 2, None)]
    rows = pd.DataFrame(fits, columns=["worker", "fit_wall_seconds", "attempts", "fit_cpu_seconds"])
    # A row that no worker has fitted: it was not begun.
    rows = pd.concat([rows, pd.DataFrame([{"worker": None}])], ignore_index=True)
    return rows.assign(read_seconds=0.1, queue_seconds=0.1)


def test_a_slow_worker_stands_first_and_is_told_of() -> None:
    """With how many times longer its fits take, how busy it was, and what was begun again."""
    table = of_workers(results())
    assert table.to_dict("list") == {
        "worker": ["10.0.0.2", "10.0.0.1"],
        "fits": ["3", "4"],
        "failed": ["1", "0"],
        "s per fit": ["6", "2"],
        "at work": ["95.7 %", "90.9 %"],
        "of a core": ["33.3 %", "100 %"],
        "begun again": ["2", "0"],
        "s to read": ["0.4", "0.4"],
    }
    beside = results().replace({"worker": {A: B.replace("40000", "40001")}})
    assert of_workers(beside)["worker"].tolist() == ["10.0.0.2:40000", "10.0.0.2:40001"]
    (said,) = slow_workers(results())
    assert said == "A fit on 10.0.0.2 takes 3.0 times as long as on the others (6 s, not 2 s)."
    assert list(slow_workers(results()[:6])) == []


def test_without_a_cluster_nothing_is_shown() -> None:
    """The table of threads has no workers."""
    threads = results().drop(columns="worker")
    assert placed(threads).empty
    assert of_workers(threads).empty
    assert list(slow_workers(threads)) == []
