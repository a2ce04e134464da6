"""The pure core: tables and specifications in, frozen results out.

No Dagster, no disk, no network, no clock (but to measure what a fit costs), no global random
state. One module or package per stage, named as its twin in `assets/`; what several stages
share stands beside them.
"""
