"""Tests of the metadata database, on SQLite and on a real PostgreSQL."""
