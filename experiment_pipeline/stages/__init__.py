"""A plain library: one package per stage, in the order of the flow, with pure functions
and their page.

`registry` lists the stages.
"""
