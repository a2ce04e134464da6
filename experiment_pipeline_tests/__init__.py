"""Tests; the rooms are those of the package."""
