"""raw_data: where the table is fetched, and how its bytes become one typed table.

Here: `sources` (fetching), `contents` (what a file is), `csv_text` (text → columns of text), `table`
(columns → types, the stage), `page` (for the UI). Cleaning values belongs to `table.preparation`.
"""
