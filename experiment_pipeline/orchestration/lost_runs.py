"""Runs that have ended without a word: what Dagster and the memory then say of them.

A process that was killed tells nobody. Whoever looks next does: the next run, the sensor, and for
processes of this host the pages and commands that ask about runs. In: an instance, the metadata
database. Out: such a run is over in both, with the reason and the time of its last sign of life.
"""
