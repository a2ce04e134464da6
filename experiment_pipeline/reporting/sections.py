"""Tables and sentences that several pages show the same way. In: results. Out: blocks, texts."""

from collections.abc import Iterable, Mapping, Sequence

from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.document import Block, Cell, Paragraph, TableBlock
from experiment_pipeline.statistics.interval import Interval

# At first use on every page: most of the field swaps the names of test and validation set.
HOLD_OUT = "validation set (final hold-out)"


def facts(known: Mapping[str, Cell | None]) -> Block:
    """Return name and value of what is known."""
    rows = tuple((name, value) for name, value in known.items() if value)
    return TableBlock(("", ""), rows) if rows else Paragraph("Not recorded.")


def first_rows(
    header: Sequence[str], rows: Sequence[tuple[Cell, ...]], most: int, what: str
) -> list[Block]:
    """Return a table of the first rows, and how many more there are of `what` (singular)."""
    table, more = TableBlock(tuple(header), tuple(rows[:most])), len(rows) - most
    return [
        table,
        *([Paragraph(f"And {numbers.counted(more, f'more {what}')}.")] if more > 0 else []),
    ]


def sets_table(sets: Iterable[tuple[str, int, str]]) -> TableBlock:
    """Return (name, number of rows, sha256) of each set."""
    rows = tuple((name, f"{count:,}", digest[:16]) for name, count, digest in sets)
    return TableBlock(("set", "rows", "sha256 begins"), rows)


def gates_table(gates: Iterable[tuple[str, float | None, float | None, str]]) -> TableBlock:
    """Return (rule, value, limit, outcome) of each acceptance gate."""
    rows = tuple(
        (rule, known(value), known(limit), outcome) for rule, value, limit, outcome in gates
    )
    return TableBlock(("gate", "value", "limit", "outcome"), rows)


def scores_table(scores: Iterable[tuple[str, str, Interval, float | None]]) -> TableBlock:
    """Return (set, metric, estimate with interval, baseline) of each score."""
    header = ("set", "metric", "estimate", "95 % interval", "baseline")
    return TableBlock(
        header,
        tuple(
            (name, metric, numbers.score(of.estimate), numbers.bounds(of), known(baseline, ""))
            for name, metric, of, baseline in scores
        ),
    )


def known(value: float | None, otherwise: str = "undefined") -> str:
    """Return a score, or a word where there is none."""
    return otherwise if value is None else numbers.score(value)
