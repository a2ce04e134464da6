"""An exported model on rows as delivered: its signature, the reading, predictions, the files.

Stands before the leaderboard in the order of packages: the champion predicts too.
"""
