"""Limits of the threads of numerical libraries."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from experiment_pipeline.statistics.threads import one_openmp_thread, one_thread
from experiment_pipeline_tests.fresh_process import printed_by

IMPORTED_LATER = """
import numpy
from threadpoolctl import threadpool_info, threadpool_limits
from experiment_pipeline.statistics.threads import one_thread

threadpool_limits(limits=2)
with one_thread("openmp"):
    pass
import sklearn.linear_model
threadpool_limits(limits=2)
with one_thread("openmp"):
    print({library["num_threads"] for library in threadpool_info()
           if library["user_api"] == "openmp"})
"""


def threads_of(user_api: str) -> set[int]:
    return {
        library["num_threads"]
        for library in threadpool_info()
        if library["user_api"] == user_api
    }


def test_one_thread_until_the_context_ends():
    """BLAS has one thread within the context, and its former number after it."""
    assert np.eye(2).any()
    with threadpool_limits(limits=2):
        with one_thread("blas"):
            assert threads_of("blas") == {1}
        assert threads_of("blas") == {2}


def test_as_a_decorator_it_limits_each_call_only():
    """A decorated function limits threads while it runs, not from its import on."""
    with threadpool_limits(limits=2):
        limited = one_thread("blas")(lambda: threads_of("blas"))
        assert threads_of("blas") == {2}
        assert [limited(), limited()] == [{1}, {1}]
        assert threads_of("blas") == {2}


def test_a_library_that_is_imported_later_is_limited_too():
    """A limit holds for a library that came after the first limit of the process."""
    assert printed_by(IMPORTED_LATER).strip() == "{1}"


def test_a_worker_thread_is_limited_for_its_life():
    """Each task of a worker thread has one OpenMP thread, other threads keep theirs."""
    import sklearn.linear_model  # noqa: F401

    with threadpool_limits(limits=2, user_api="openmp"):
        with ThreadPoolExecutor(1, initializer=one_openmp_thread) as pool:
            assert [pool.submit(threads_of, "openmp").result() for _ in "ab"] == [
                {1}
            ] * 2
        assert threads_of("openmp") == {2}
