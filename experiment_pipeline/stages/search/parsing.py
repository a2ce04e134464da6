"""One parse at a time, on those Pythons that cannot parse in several threads at once.

Before 3.11.8 CPython counted the depth of `ast.parse` in one place for all threads (gh-106905):
where a collection of garbage in the midst of one parse let another thread parse, the first one
ended with `SystemError: AST constructor recursion depth mismatch`. Fits parse without saying so:
numpy reads the header of an array with `ast.literal_eval`, pandas its `eval`, `inspect` the
signatures of compiled functions, and users' estimators may do anything.
"""

import ast
import sys
import threading
from functools import cache, wraps
from typing import Any

# 3.12 collects no garbage in the midst of a parse.
FIRST_SAFE = (3, 11, 8)


@cache
def parse_one_at_a_time() -> None:
    """Let the threads of this process wait for each other to parse, from now on."""
    if sys.version_info >= FIRST_SAFE:
        return
    parse = ast.parse
    # A finalizer may parse in the midst of its own thread's parse: it must not wait for itself.
    turn = threading.RLock()

    @wraps(parse)
    def parse_in_turn(*args: Any, **kwargs: Any) -> Any:
        with turn:
            return parse(*args, **kwargs)

    ast.parse = parse_in_turn
