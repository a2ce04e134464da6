"""Values that stand for a missing one: ?, unknown, blanks, -999.

A text counts by what it says. A number counts when it is one of the usual ones, lies at an
end of the column, repeats, and is further from its neighbour than half of the other values
are spread; a -1 also when all other values are not negative.
"""

from experiment_pipeline.stages.data_analysis.facts import Edge, NumberFacts, TextFacts
from experiment_pipeline.stages.data_analysis.finding import (
    Finding,
    Rule,
    Severity,
    count,
    percent,
    shown,
    some_of,
)
from experiment_pipeline.stages.data_analysis.subject import Subject

RULE = Rule(
    "placeholder_values",
    "Placeholders for missing values",
    "If these values mean that nothing is known, declare them as missing.",
)
_NUMBERS = {
    *(-1, -9, -99, -999, -9999, -99999, -999999, -32768, -2147483648),
    *(0, 99, 999, 9999, 99999, 999999, 9999999, 32767, 65535, 2147483647),
    *(-99.9, -999.9, -999.99, 999.9),
}
_FEWEST_ROWS = 2
# Columns with fewer distinct values are codes, whose values are apart by nature.
_FEWEST_DISTINCT = 10


def check(subject: Subject) -> Finding:
    """Compare the share of rows that hold such values with the threshold."""
    judged = subject.numbers | subject.texts_and_target
    if not judged:
        return RULE.not_applicable("There is no number or text feature.")
    limit = subject.threshold(RULE.code)
    values = {column: _values(facts) for column, facts in judged.items()}
    shares = {c: sum(values[c].values()) / max(facts.rows, 1) for c, facts in judged.items()}
    found = {c: list(values[c]) for c in judged if values[c] and shares[c] >= limit}
    if not found:
        return RULE.not_found("No column holds one of the usual placeholders.", threshold=limit)
    return _found(subject, found, shares)


def _found(
    subject: Subject, found: dict[str, list[str | float]], shares: dict[str, float]
) -> Finding:
    columns = sorted(found, key=lambda c: -shares[c])
    each = some_of(
        [
            f"{shown(c)} ({', '.join(repr(v) for v in found[c])}: {percent(shares[c])})"
            for c in columns
        ]
    )
    # A class that says unknown is meant to be none, and -999 no number. 0 and -1 may be
    # numbers all the same, and a text among texts harms little.
    certain = subject.spec.target in found or any(
        not isinstance(value, str) and value not in {0, -1}
        for values in found.values()
        for value in values
    )
    severity: Severity = "condition" if certain else "note"
    return RULE.found(
        severity,
        f"{count(len(columns), 'column')} with placeholders: {each}.",
        columns=columns,
        number=shares[columns[0]],
        threshold=subject.threshold(RULE.code),
        fix={"preparation": {"missing_values": {c: found[c] for c in columns}}},
    )


def _values(facts: NumberFacts | TextFacts) -> dict[str | float, int]:
    """Placeholders of a column, and how many rows hold each."""
    if isinstance(facts, NumberFacts):
        return _placeholder_numbers(facts)
    return _placeholder_texts(facts)


def _placeholder_texts(facts: TextFacts) -> dict[str | float, int]:
    rows = zip(facts.texts, facts.counts.tolist(), facts.placeholders, strict=True)
    return {text: n for text, n, mark in rows if mark}


def _placeholder_numbers(facts: NumberFacts) -> dict[str | float, int]:
    if facts.distinct < _FEWEST_DISTINCT:
        return {}
    edges = [edge for edge in (facts.lowest, facts.highest) if _stands_apart(edge)]
    if facts.lowest.value == -1 and facts.lowest.gap >= 1 and facts.lowest not in edges:
        edges.append(facts.lowest)
    return {
        int(edge.value) if edge.value.is_integer() else edge.value: edge.rows
        for edge in edges
        if edge.rows >= _FEWEST_ROWS
    }


def _stands_apart(edge: Edge) -> bool:
    return edge.value in _NUMBERS and edge.gap > edge.spread > 0
