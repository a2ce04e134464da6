"""Tests of the memory of experiments."""
