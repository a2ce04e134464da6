"""The three sets: train to fit on, test to choose on, validation to look at once at the end.

Which row is in which is decided in `table.membership`; here are the sets as tables, the early-stopping
set, and what must hold about them, in words.
"""
