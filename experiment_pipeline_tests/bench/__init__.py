"""`make bench`: speed and memory against named alternatives, run side by side.

A benchmark, not a test: machines are noisy, so each figure is a ratio, the median of
pairs whose two halves ran one right after the other.
"""
