"""Schedule and sensor: one run over every configuration, and silence when nothing changed."""

import dagster as dg
import pytest

from experiment_pipeline.orchestration.job import RANGE_END, RANGE_START
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline_tests import runs, scenario


@pytest.fixture
def experiment(tmp_path):
    spec = scenario.spec(url=str(scenario.write_csv(tmp_path / "visits.csv")))
    return spec, runs.definitions(spec, scenario.SCHEMA)


def test_both_wait_to_be_started(experiment):
    """Nothing runs by itself before somebody says so."""
    _, definitions = experiment
    schedule = definitions.resolve_schedule_def("clinic_schedule")
    sensor = definitions.resolve_sensor_def("clinic_new_data")
    assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED
    assert sensor.default_status is dg.DefaultSensorStatus.STOPPED


def test_the_schedule_asks_for_one_run_over_every_configuration(experiment):
    """First to last key, at the YAML's times."""
    spec, definitions = experiment
    schedule = definitions.resolve_schedule_def("clinic_schedule")
    assert schedule.cron_schedule == spec.schedule
    (request,) = schedule.evaluate_tick(dg.build_schedule_context()).run_requests
    keys = [one.key for one in configurations(spec)]
    assert (request.tags[RANGE_START], request.tags[RANGE_END]) == (keys[0], keys[-1])


def test_the_sensor_runs_once_per_state_of_the_source(experiment, tmp_path):
    """A new file asks for a run, the same one does not, a missing one is told."""
    _, definitions = experiment
    sensor = definitions.resolve_sensor_def("clinic_new_data")
    with dg.instance_for_test() as instance:
        first = sensor.evaluate_tick(dg.build_sensor_context(instance))
        assert len(first.run_requests) == 1
        same = sensor.evaluate_tick(dg.build_sensor_context(instance, cursor=first.cursor))
        assert same.run_requests == []
        (tmp_path / "visits.csv").unlink()
        gone = sensor.evaluate_tick(dg.build_sensor_context(instance, cursor=first.cursor))
        assert "visits.csv" in gone.skip_message
