"""One module per stage: read, call the pure functions of the stage, store, report."""
