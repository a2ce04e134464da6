"""Parts of the Dagster instance that `dagster.yaml` names, and what a run tells that instance.

Here: how its databases are set up, and which process a run lives in. Not here: experiments.
Loaded whenever Dagster opens the instance, so nothing heavy is imported.
"""
