"""Arrays of numbers in NumPy's file format, which are never pickled."""

import io

import numpy as np


def npy(array: np.ndarray) -> bytes:
    """Return an array as the bytes of an .npy file; ValueError for Python objects."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def array_of(content: bytes) -> np.ndarray:
    """Return the array that `npy` wrote."""
    return np.load(io.BytesIO(content), allow_pickle=False)
