"""leaderboard: the configurations ranked on the test set, and the choice with its
reason.
"""
