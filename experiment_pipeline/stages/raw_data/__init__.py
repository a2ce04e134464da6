"""raw_data: fetch the files of the user's table, and read their bytes into one typed
table.
"""
