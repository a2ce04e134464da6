"""When a schedule is due: a cron expression of five fields, as crontab(5) has them.

It is judged in words, without the scheduler that will read it. In: a text. Out: nothing, or an
error that says what is wrong.
"""

import re

_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
# Field → smallest, largest, names of the values from the smallest on.
_FIELDS: dict[str, tuple[int, int, list[str]]] = {
    "minute": (0, 59, []),
    "hour": (0, 23, []),
    "day of month": (1, 31, []),
    "month": (1, 12, _MONTHS),
    "day of week": (0, 7, _DAYS),
}
_DAYS_OF_MONTH = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
_PART = re.compile(r"(?:\*|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>\d+))?")


def check_cron(expression: str) -> None:
    """Raise ValueError when the expression is not five valid fields, or names a day that never is.

    >>> check_cron("0 6 * * mon-fri")
    """
    texts = expression.split()
    if len(texts) != len(_FIELDS):
        raise ValueError(
            f"{expression!r} is no cron expression; write five fields ({', '.join(_FIELDS)}), "
            "such as '0 6 * * *' for every day at 6"
        )
    values = {name: _values(text.lower(), name) for text, name in zip(texts, _FIELDS, strict=True)}
    longest = max(_DAYS_OF_MONTH[month - 1] for month in values["month"])
    if min(values["day of month"]) > longest:
        raise ValueError(f"{expression!r} names a day that never comes; correct day or month")


def _values(text: str, name: str) -> set[int]:
    """All values that one field matches."""
    return {value for part in text.split(",") for value in _part_values(part, name)}


def _part_values(part: str, name: str) -> range:
    low, high, names = _FIELDS[name]
    match = _PART.fullmatch(part)
    wrong = ValueError(
        f"{part!r} is no {name} of a cron expression; allowed: * or {low} to {high}"
        f"{' or ' + names[0] + ' to ' + names[-1] if names else ''}, as 1,2 or 1-5 or */2"
    )
    if match is None:
        raise wrong
    if match["first"] is not None:
        known = {text: number for number, text in enumerate(names, start=low)}
        ends = [
            known.get(text, int(text) if text.isdecimal() else -1)
            for text in (match["first"], match["last"] or match["first"])
        ]
        if not low <= ends[0] <= ends[1] <= high:
            raise wrong
        # Vixie cron: a step after a single value counts up to the largest.
        low, high = ends[0], ends[1] if match["last"] or not match["step"] else high
    step = int(match["step"] or 1)
    if step < 1:
        raise wrong
    return range(low, high + 1, step)
