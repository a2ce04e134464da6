"""Tracking: the record of every run in a database, and queries of it from Python, the
command line and the pages.
"""
