"""The outcome of a stage as data: its table, version, facts, notes and checks.

A stage's pure modules build an `Outcome`; `orchestration/reporter.py` reports it to
Dagster. In: results. Out: frozen values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from logging import Logger
from typing import Literal, Self

import pandas as pd

from experiment_pipeline.errors import ExperimentPipelineError
from experiment_pipeline.reporting.run_record import RecordRow

Severity = Literal["error", "warning"]


@dataclass(frozen=True, eq=False)
class Rows:
    """A table to show, the best row first; long tables are cut."""

    frame: pd.DataFrame


@dataclass(frozen=True, eq=False)
class ColumnTypes:
    """The names and types of a table's columns."""

    frame: pd.DataFrame


@dataclass(frozen=True)
class Notes:
    """Sentences shown as a list, or `none`; names in them are shown as plain text."""

    lines: Sequence[str]


@dataclass(frozen=True)
class Markdown:
    """Text that is Markdown already, with names and values escaped."""

    text: str


@dataclass(frozen=True)
class PagePath:
    """A path or URL to copy."""

    path: str


# A number is rounded for display; `undefined` where it is not finite.
Fact = (
    bool | int | float | str | None | Rows | ColumnTypes | Notes | Markdown | PagePath
)


@dataclass(frozen=True, eq=False)
class Check:
    """The result of a check."""

    name: str  # of the asset check; stable
    passed: bool
    means: str  # the result in words
    severity: Severity = "error"  # an error can stop the run, a warning cannot
    value: float | None = None  # the measured number, if there is one
    limit: float | None = None  # what the value was compared with
    # what the result is based on
    facts: Mapping[str, Fact] = field(default_factory=dict)
    problems: Sequence[str] = ()  # why it failed; also logged
    caveats: Sequence[str] = ()  # logged as warnings; the check passes nevertheless
    notes: Sequence[str] = ()  # logged
    refusal: ExperimentPipelineError | None = None  # the error that ends the run

    @classmethod
    def of(
        cls,
        name: str,
        problems: Sequence[str],
        severity: Severity = "error",
        *,
        holds: str,
        caveats: Sequence[str] = (),
        notes: Sequence[str] = (),
    ) -> Self:
        """Return a check that passes without problems; `holds` is its result then."""
        return cls(
            name,
            passed=not problems,
            means="\n".join([*(problems or [holds]), *caveats, *notes]),
            severity=severity,
            problems=problems,
            caveats=caveats,
            notes=notes,
        )

    @property
    def ends_run(self) -> bool:
        """Whether it ends the run."""
        return not self.passed and self.severity == "error"

    def log_to(self, log: Logger) -> None:
        """Log its lines, without its problems if it ends the run: they are its error's
        text.
        """
        problems = () if self.ends_run else self.problems
        for line in (*problems, *self.caveats):
            log.warning(f"{self.name}: {line}")
        for note in self.notes:
            log.info(f"{self.name}: {note}")


@dataclass(frozen=True, eq=False)
class Outcome:
    """The outcome of a stage."""

    facts: Mapping[str, Fact]  # name → fact, in the order in which they are shown
    # the asset's value: a table or a dataclass with one; None: no value
    value: object = None
    version: str | None = None  # the asset's data version, if any
    notes: Sequence[str] = ()  # sentences for the log
    warnings: Sequence[str] = ()  # likewise, logged as warnings
    tags: Mapping[str, str] = field(default_factory=dict)  # of a partition's event
    checks: Sequence[Check] = ()  # the checks of the asset
    record: Sequence[RecordRow] = ()  # rows for the metadata database

    def log_to(self, log: Logger) -> None:
        """Log warnings, notes and the lines of the checks."""
        for warning in self.warnings:
            log.warning(warning)
        for note in self.notes:
            log.info(note)
        for check in self.checks:
            check.log_to(log)
