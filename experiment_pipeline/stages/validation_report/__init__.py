"""validation_report: the choice on rows that were not used to make it, its gates, the
decision.
"""
