"""One thread for a computation: its last bits do not depend on the machine's cores."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from threadpoolctl import ThreadpoolController


@contextmanager
def one_thread(user_api: str | None = None) -> Iterator[None]:
    """Limit BLAS ("blas"), OpenMP ("openmp") or both (None) to one thread.

    BLAS has one limit for all threads of a process, OpenMP one for each thread that
    calls it.
    """
    with _loaded_libraries(len(sys.modules)).limit(limits=1, user_api=user_api):
        yield


def one_openmp_thread() -> None:
    """Limit a worker thread to one OpenMP thread for as long as it lives."""
    _loaded_libraries(len(sys.modules)).limit(limits=1, user_api="openmp")


@lru_cache(maxsize=1)
def _loaded_libraries(_: int) -> ThreadpoolController:
    """Find the libraries that have threads.

    It takes 3 ms, as long as a small fit, so it is done again only after another module
    was imported, which may have brought a library.
    """
    return ThreadpoolController()
