"""A report as data, one page, one Markdown, how pictures are drawn, and how counts read."""
