"""raw_data: where the table is fetched, and how its bytes become one typed table."""
