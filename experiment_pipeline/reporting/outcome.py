"""What a stage has to say, once: its table, its version, facts, notes and checks, as data.

A stage's pure modules build an `Outcome`; the one function `report` in `orchestration/assets/shared.py` tells it
to Dagster, so that a fact, a check or a sentence in the log is declared where it is found out.
In: results. Out: frozen values, which know nothing of Dagster.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Self

import pandas as pd

from experiment_pipeline.errors import ExperimentPipelineError
from experiment_pipeline.reporting.run_record import RecordRow

Severity = Literal["error", "warning"]


@dataclass(frozen=True, eq=False)
class Rows:
    """A table to look at, best first: a long one is cut off."""

    frame: pd.DataFrame


@dataclass(frozen=True, eq=False)
class ColumnTypes:
    """The names and types of a table's columns."""

    frame: pd.DataFrame


@dataclass(frozen=True)
class Notes:
    """Sentences as a list; `none` for none. Names and values of the table in them stay texts."""

    lines: Sequence[str]


@dataclass(frozen=True)
class Markdown:
    """Text that is Markdown already: what came from a table is escaped in it."""

    text: str


@dataclass(frozen=True)
class Pictures:
    """Title → PNG."""

    images: Mapping[str, bytes]


@dataclass(frozen=True)
class PagePath:
    """Where something is: a path or URL to copy."""

    path: str


# A number is shown as long as a reader needs it; `undefined` where it is not finite.
Fact = bool | int | float | str | None | Rows | ColumnTypes | Notes | Markdown | Pictures | PagePath


@dataclass(frozen=True, eq=False)
class Check:
    """What was held against a limit, and what came of it.

    Attributes:
        name: of the asset check; stable.
        passed: whether it holds.
        means: what came of it, for people.
        severity: an error can stop the run, a warning is for people to judge.
        value: what was measured, where it is one number.
        limit: what the value was held against.
        facts: what it rests on.
        problems: why it failed, each said in the log as well.
        caveats: for people to judge, said as warnings; they fail nothing.
        notes: said, and nothing more.
        refusal: what ends the run, with what to do about it.
    """

    name: str
    passed: bool
    means: str
    severity: Severity = "error"
    value: float | None = None
    limit: float | None = None
    facts: Mapping[str, Fact] = field(default_factory=dict)
    problems: Sequence[str] = ()
    caveats: Sequence[str] = ()
    notes: Sequence[str] = ()
    refusal: ExperimentPipelineError | None = None

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
        value: float | None = None,
        limit: float | None = None,
    ) -> Self:
        """Passed when there is no problem, and says what `holds` then; else the problems.

        Caveats and notes stand below.
        """
        return cls(
            name,
            passed=not problems,
            means="\n".join([*(problems or [holds]), *caveats, *notes]),
            severity=severity,
            value=value,
            limit=limit,
            problems=problems,
            caveats=caveats,
            notes=notes,
        )


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of a stage.

    Attributes:
        facts: name → fact, in the order in which they are read.
        value: what is handed on, a table or a record around one; None where there is nothing.
        version: changes with what later stages depend on; None where the table's own will do.
        notes: sentences for the log.
        warnings: sentences for the log that somebody should look at.
        tags: name → value, of the event of a partition.
        checks: what was held against limits.
        record: rows for the metadata database.
    """

    facts: Mapping[str, Fact]
    value: object = None
    version: str | None = None
    notes: Sequence[str] = ()
    warnings: Sequence[str] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    checks: Sequence[Check] = ()
    record: Sequence[RecordRow] = ()
