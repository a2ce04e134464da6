"""A report as data, one page, one Markdown, plots, and how counts read."""
