"""What a wrong name is told: the right ones. In: a name and those that exist. Out: a clause."""

import difflib
from collections.abc import Iterable

SHOWN_NAMES = 12


def did_you_mean(name: str, names: Iterable[object]) -> str:
    """Return "did you mean 'x'?", or the names there are when none comes close."""
    known = [str(other) for other in names]
    return guessed(name, known).rstrip() or f"there are {listed(known)}"


def guessed(name: str, names: Iterable[str]) -> str:
    """Return "did you mean 'x'? ", for the list of names to follow; "" when none comes close."""
    close = difflib.get_close_matches(name, list(names), n=1)
    return f"did you mean {close[0]!r}? " if close else ""


def listed(names: Iterable[object]) -> str:
    """Return the first names in quotes, and how many more there are."""
    known = [repr(str(name)) for name in names]
    if not known:
        return "none"
    more = len(known) - SHOWN_NAMES
    return ", ".join(known[:SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")
