"""Reports a run to Dagster: outcomes become results, checks and log lines.

An error that a user can act on becomes a `dg.Failure` with its message and the pages
that say more; a bug is raised as it is.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from logging import Logger
from types import MappingProxyType
from typing import Any

import dagster as dg

from experiment_pipeline.errors import (
    ExperimentPipelineError,
    StorageError,
    reported_as,
)
from experiment_pipeline.orchestration.instance import GuardedInstance, noted, one_batch
from experiment_pipeline.orchestration.metadata import metadata_of
from experiment_pipeline.reporting.outcome import Check, Fact, Outcome, PagePath
from experiment_pipeline.reporting.run_record import RunFacts
from experiment_pipeline.storage.processes import user_name
from experiment_pipeline.storage.registry import RECORD
from experiment_pipeline.table.features import NamedColumns
from experiment_pipeline.tracking.database import recording
from experiment_pipeline.tracking.server import page_url

# Tags by which Dagster records what started a run.
FROM_UI = "dagster/from_ui"
SCHEDULE = "dagster/schedule_name"
SENSOR = "dagster/sensor_name"
BACKFILL = "dagster/backfill"
# The beginning of the text that explains a failed run; the console shows that text
# alone.
FAILED = "FAILED\n\n"
REFUSED = "what to do"  # metadata of a failed check: the same text
# Ctrl-C and "Terminate".
INTERRUPTED = (KeyboardInterrupt, dg.DagsterExecutionInterruptedError)
# Pages with more on a failure, the most specific first.
_READ_ON = ("report", RECORD.removesuffix(".md"), "runs")
_MOST_PAGES = 2
_NO_FACTS: Mapping[str, Fact] = MappingProxyType({})


@dataclass(frozen=True)
class DagsterReporter:
    """The `Reporter` of a Dagster step."""

    context: dg.AssetExecutionContext
    named: NamedColumns
    # name → page of all runs; the store writes them when it ends the run
    pages: Mapping[str, Fact] = field(default_factory=dict)
    _versions: dict[dg.AssetKey, dict[str, str]] = field(default_factory=dict)

    @property
    def log(self) -> Logger:
        """Dagster's log of the run."""
        return self.context.log

    @contextmanager
    def at_work(self, stage: str) -> Iterator[None]:  # noqa: ARG002
        """Report errors and interruptions of a stage to the user."""
        try:
            with reported_as(lambda error: failure(error, self.pages)):
                yield
        except INTERRUPTED as error:
            reason = str(error) or recording.CANCELLED
            message = f"{reason}; the next run reuses what is stored"
            text = with_pages([message], self.pages)
            raise dg.DagsterExecutionInterruptedError(text) from None
        run = self.context.instance.get_run_by_id(self.context.run.run_id)
        if run is None or noted(run.run_id, run.tags) is None:
            # Another executor does not close the record: a run of selected stages would
            # count as killed.
            with suppress(StorageError):
                recording.end_open(record_id(self.context.run), "partial")

    def concluded(self, outcomes: Sequence[tuple[str, Outcome]]) -> None:
        """Materialize configurations, each a partition of `trained_model`."""
        models = dg.AssetKey([self.named.spec.name, "trained_model"])
        with one_batch(self.context.instance):
            for key, outcome in outcomes:
                self.materialized(models, outcome, partition=key)

    def materialized(
        self, key: dg.AssetKey, outcome: Outcome, partition: str | None = None
    ) -> None:
        """Log a materialization that is not returned as a result.

        It gets the tags that Dagster adds to a returned result, and later compares to
        detect staleness.
        """
        code_version = self.context.assets_def.specs_by_key[key].code_version
        tags = {
            "dagster/data_version": outcome.version or "",
            "dagster/data_version_is_user_provided": "true",
            "dagster/code_version": code_version or self.context.run.run_id,
        }
        self.context.log_event(
            dg.AssetMaterialization(
                asset_key=key,
                partition=partition,
                description="; ".join(outcome.notes) or None,
                metadata=self._metadata(outcome.facts),
                tags={**outcome.tags, **tags, **self._input_versions(key)},
            )
        )

    def _input_versions(self, key: dg.AssetKey) -> Mapping[str, str]:
        """Return the tags that name the data versions of an asset's inputs."""
        if key not in self._versions:
            tags = self._versions[key] = {}
            for upstream in self.context.assets_def.asset_deps[key]:
                name = upstream.to_user_string()
                records = self.context.instance.fetch_materializations(
                    upstream, limit=1
                ).records
                if records and (event := records[0].asset_materialization):
                    version = (event.tags or {}).get("dagster/data_version", "INITIAL")
                    tags[f"dagster/input_data_version/{name}"] = version
                    pointer = str(records[0].storage_id)
                    tags[f"dagster/input_event_pointer/{name}"] = pointer
        return self._versions[key]

    def _metadata(self, facts: Mapping[str, Fact]) -> dict[str, Any]:
        """Metadata whose links stay right if the server of the reports moves."""
        redirects = isinstance(self.context.instance, GuardedInstance)
        return metadata_of(facts, self.named.dictionary, redirects=redirects)

    def result(
        self, key: dg.AssetKey, outcome: Outcome, pages: Mapping[str, Fact] = _NO_FACTS
    ) -> dg.MaterializeResult:
        """Log an outcome's lines; return the rest as the asset's result.

        `pages`: those of all runs, if the outcome ended this one.
        """
        outcome.log_to(self.log)
        facts = {**pages, **outcome.facts, **pages}  # in this order, with their values
        version = outcome.version
        # An argument that is left out means an asset without a value.
        value: dict[str, Any] = {}
        if outcome.value is not None:
            value["value"] = outcome.value
        return dg.MaterializeResult(
            asset_key=key,
            data_version=None if version is None else dg.DataVersion(version),
            metadata=self._metadata(facts),
            check_results=[
                check_result(self.log, key, check, facts) for check in outcome.checks
            ],
            **value,
        )


def check_result(
    log: Logger, key: dg.AssetKey, check: Check, facts: Mapping[str, Fact] = _NO_FACTS
) -> dg.AssetCheckResult:
    """Return a check's result.

    One that ends the run logs why, with the pages among `facts`.
    """
    metadata: dict[str, Fact] = {}
    if check.value is not None:
        metadata["value"] = check.value
    if check.limit is not None:
        metadata["limit"] = check.limit
    if check.ends_run:
        reasons = [f"{check.name}: {problem}" for problem in check.problems]
        if check.refusal is not None:
            reasons = [check.refusal.with_class]
        text = with_pages(reasons or [check.means], facts)
        metadata[REFUSED] = text
        log.error(f"{FAILED}{text}\n")
    severity = dg.AssetCheckSeverity.WARN
    if check.severity == "error":
        severity = dg.AssetCheckSeverity.ERROR
    return dg.AssetCheckResult(
        check_name=check.name,
        asset_key=key,
        passed=check.passed,
        severity=severity,
        description=check.means,
        metadata=metadata_of({**metadata, **check.facts}),
    )


def reported_to_the_user() -> AbstractContextManager[None]:
    """Turn the package's own errors into a Failure; bugs are raised unchanged."""
    return reported_as(failure)


def failure(
    error: ExperimentPipelineError, facts: Mapping[str, Fact] = _NO_FACTS
) -> dg.Failure:
    """Return an error as a failure that is not retried, with the pages among
    `facts`.
    """
    return dg.Failure(
        description=with_pages([error.with_class], facts),
        metadata={"culprit": error.culprit, "rule": error.rule, "fix": error.fix},
        allow_retries=False,
    )


def with_pages(messages: Sequence[str], facts: Mapping[str, Fact]) -> str:
    """Return why a run ended, with the paths and addresses of pages that say more."""
    pages = [facts.get(name) for name in _READ_ON]
    paths = [page.path for page in pages if isinstance(page, PagePath)]
    lines = [*messages]
    for path in paths[:_MOST_PAGES]:
        lines.append(f"  page: {path}")
        if url := page_url(path):
            lines.append(f"        {url}")
    return "\n".join(lines)


def record_id(run: dg.DagsterRun) -> str:
    """Return the id of a run's record; all runs of a backfill share the backfill's."""
    return run.tags.get(BACKFILL, run.run_id)


def started_by(run: dg.DagsterRun) -> RunFacts:
    """Return what started a run.

    A person's re-execution also inherits the tags of the first run.
    """
    by_person = FROM_UI in run.tags
    if SCHEDULE in run.tags and not by_person:
        return RunFacts(triggered_by="schedule", trigger_name=run.tags[SCHEDULE])
    if SENSOR in run.tags and not by_person:
        return RunFacts(triggered_by="sensor", trigger_name=run.tags[SENSOR])
    # The webserver and the daemon record the code location of the runs that they start.
    by_command = run.remote_job_origin is None and not by_person
    name = run.tags.get("user")
    if name is None and by_command:
        name = user_name()
    return RunFacts(
        triggered_by="command line" if by_command else "person", trigger_name=name
    )
