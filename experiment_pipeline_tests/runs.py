"""Whole experiments in this process: definitions from a specification, one run, its
events.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from logging import Logger
from typing import Any
from unittest.mock import patch

import dagster as dg
import pandas as pd

from experiment_pipeline.drafting import inference
from experiment_pipeline.drafting.columns import ColumnPlan, plan_columns
from experiment_pipeline.experiment.file_store import FileStore
from experiment_pipeline.experiment.store import Made, Store
from experiment_pipeline.intake.raw_table import content_digest
from experiment_pipeline.orchestration.job import build_experiment, range_tags
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.data_analysis.findings import made_of_target
from experiment_pipeline.stages.exported_model import export
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.validation_report import referee
from experiment_pipeline.storage.files import Location
from experiment_pipeline.table.features import NamedColumns
from experiment_pipeline.tracking import outcomes

_analyses: dict[str, Made] = {}  # by fingerprint
_plans: dict[str, Mapping[str, ColumnPlan]] = {}  # by what is in the table


def _planned(raw: pd.DataFrame) -> dict[str, ColumnPlan]:
    """What is planned for the columns of a table, once in this process."""
    digest = content_digest(raw)
    if digest not in _plans:
        _plans[digest] = plan_columns(raw)
    return dict(_plans[digest])


def _analysed_once(usual: Callable[..., Any]) -> Callable[..., Any]:
    """A store's `reused_or_made` that analyses a table once in this process."""

    def once(
        store: Store,
        stage: str,
        fingerprint: str,
        make: Callable[[], Made],
        log: Logger,
    ) -> Any:
        def analysed() -> Made:
            if fingerprint not in _analyses:
                _analyses[fingerprint] = make()
            return _analyses[fingerprint]

        once_made = analysed if stage == "data_analysis" else make
        return usual(store, stage, fingerprint, once_made, log)

    return once


@contextmanager
def quickly() -> Iterator[None]:
    """Leave out what has tests of its own: the check in a fresh process, the pages of
    all runs, changes of all features but one, windows over the target, and a second
    analysis and draft of a table in this process.
    """
    with ExitStack() as patched:
        for home, name, instead in (
            (export, "check_in_fresh_process", lambda _: None),
            (outcomes, "write_pages", lambda *_: None),
            (referee, "MOST_FEATURES", 1),
            (made_of_target, "_windows", lambda _: ()),
            (inference, "plan_columns", _planned),
            (Store, "reused_or_made", _analysed_once(Store.reused_or_made)),
            (FileStore, "reused_or_made", _analysed_once(FileStore.reused_or_made)),
        ):
            patched.enter_context(patch.object(home, name, instead))
        yield


@dataclass(frozen=True)
class Run:
    """What became of a run."""

    result: dg.ExecuteInProcessResult

    @property
    def success(self) -> bool:
        """Whether every step succeeded."""
        return self.result.success

    @property
    def failure(self) -> str:
        """What the first failed step tells the user, or the checks that stopped the
        run.
        """
        for event in self.result.all_events:
            if event.is_step_failure and event.step_failure_data.user_failure_data:
                return event.step_failure_data.user_failure_data.description
            if event.is_step_failure and not self.refusals:
                return event.step_failure_data.error.to_string()
        return "\n".join(self.refusals)

    @property
    def refusals(self) -> list[str]:
        """What failed checks that block say."""
        return [
            f"{evaluation.check_name}: {evaluation.description}"
            for evaluation in self.result.get_asset_check_evaluations()
            if not evaluation.passed
            and evaluation.severity is dg.AssetCheckSeverity.ERROR
        ]

    def metadata(self, stage: str) -> Mapping[str, Any]:
        """Metadata of the last materialization of a stage."""
        found = [
            event.materialization
            for event in self.result.all_events
            if event.is_step_materialization and event.asset_key.path[-1] == stage
        ]
        return {name: value.value for name, value in found[-1].metadata.items()}

    def materialized(self, stage: str) -> list[str | None]:
        """Partition keys (None: no partitions) that were materialized."""
        return [
            event.materialization.partition
            for event in self.result.all_events
            if event.is_step_materialization and event.asset_key.path[-1] == stage
        ]

    def checks(self) -> dict[str, bool]:
        """Asset check → whether it passed."""
        return {
            evaluation.check_name: evaluation.passed
            for evaluation in self.result.get_asset_check_evaluations()
        }


def definitions(spec: ExperimentSpec, schema: str) -> dg.Definitions:
    """The definitions of one experiment."""
    return build_experiment(NamedColumns(spec, schema))


def run(spec: ExperimentSpec, schema: str, *given: Any, **options: Any) -> Run:
    """What `run_named` returns of an experiment that no file declares."""
    return run_named(NamedColumns(spec, schema), *given, **options)


def run_named(
    named: NamedColumns,
    instance: dg.DagsterInstance | None = None,
    *,
    stages: Sequence[str] = (),
    **tags: str,
) -> Run:
    """Run the experiment's job, or `stages` of it, `quickly`. Events stay in memory."""
    spec = named.spec
    wanted = [dg.AssetKey([spec.name, stage]) for stage in stages] or None
    job = build_experiment(named).resolve_job_def(spec.name)
    tags = tags or ({} if stages else range_tags(configurations(spec)))
    own = dg.DagsterInstance.ephemeral() if instance is None else nullcontext(instance)
    with own as used, quickly():
        done = job.execute_in_process(
            instance=used, tags=tags, asset_selection=wanted, raise_on_error=False
        )
        return Run(done)


def succeeded(*given: Any, **options: Any) -> Run:
    """What `run` returns, of a run in which every step must succeed."""
    done = run(*given, **options)
    assert done.success, done.failure
    return done


def table_path(root: Location, experiment: str, stage: str) -> Location:
    """Where the table of a stage is, or would be."""
    return root / experiment / "tables" / f"{stage}.parquet"
