"""Tracking: the record of every run in a database, and what is asked of it from Python, the command
line and the pages.
"""
