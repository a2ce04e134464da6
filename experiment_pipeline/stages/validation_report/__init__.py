"""validation_report: the chosen configuration on rows nobody chose by, its gates, the decision."""
