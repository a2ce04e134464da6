"""The benchmark of Dagster's share reads the events of a run as they are."""

from types import SimpleNamespace

import pytest

from experiment_pipeline_tests.bench import orchestration, whole_job


def event(at: float, kind: str, step: str | None = None, partition: str | None = None):
    """What of an entry of the event log is looked at."""
    found = SimpleNamespace(
        event_type_value=kind,
        step_key=step,
        partition=partition,
        is_step_start=kind == "STEP_START",
        is_step_success=kind == "STEP_SUCCESS",
    )
    return SimpleNamespace(timestamp=at, dagster_event=found)


def test_calls_are_counted_and_still_do_their_work():
    """The result comes back, an error too, and both are timed."""
    spent = orchestration.Spent()
    assert spent.timed(int)("7") == 7
    with pytest.raises(ValueError, match="invalid literal"):
        spent.timed(int)("seven")
    assert spent.calls == 2
    assert spent.wall_seconds > 0


def test_bookkeeping_is_the_step_without_the_search_per_configuration():
    """Of a step of 4 s around a search of 3 s, ten configurations cost 100 ms each."""
    times = orchestration.StepTimes()
    events = [
        event(10.0, "STEP_START"),
        event(10.2, "LOADED_INPUT"),
        event(12.0, "ASSET_MATERIALIZATION", partition="a"),
        event(13.5, "ASSET_MATERIALIZATION", partition="b"),
        event(13.8, "ASSET_MATERIALIZATION"),
        event(14.0, "STEP_SUCCESS"),
        SimpleNamespace(timestamp=15.0, dagster_event=None),
    ]
    times.see(events)
    figures = {one.name: one.value for one in times.figures(3.0, 10)}
    assert figures["per configuration, the step without the search"] == pytest.approx(100)
    assert figures["per configuration, of that: loading the input tables"] == pytest.approx(20)
    assert figures["per configuration, of that: after the last configuration"] == pytest.approx(50)


def test_the_seconds_of_a_job_add_up():
    """Start, steps, what is between them and the end of the process are the whole."""
    events = [
        event(13.0, "PIPELINE_START"),
        event(13.5, "STEP_START", "flight_delay__training"),
        event(17.5, "STEP_SUCCESS", "flight_delay__training"),
        event(18.0, "STEP_START", "flight_delay__leaderboard"),
        event(19.0, "STEP_SUCCESS", "flight_delay__leaderboard"),
        event(19.5, "PIPELINE_SUCCESS"),
    ]
    spans = whole_job.spans(10.0, 20.0, events)
    assert spans.pop("whole") == pytest.approx(10)
    assert spans.pop("outside the training step") == pytest.approx(6)
    assert spans["step training"] == pytest.approx(4)
    assert sum(spans.values()) == pytest.approx(10)
