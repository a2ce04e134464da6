"""The stages as assets: read, call the pure functions of the stage, store, report."""
