"""A whole experiment: as one plain function, and as steps that store and record their
results.
"""
