"""What every `asset.py` shares: names of assets, checks, failures, and results as metadata."""
