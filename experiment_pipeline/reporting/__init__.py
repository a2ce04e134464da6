"""Reports as data, rendered as HTML or Markdown; charts; numbers as text; rows of the
run record.
"""
