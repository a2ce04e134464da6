"""Everything that touches a disk or a bucket, and the format of what is stored there.

The stages decide what to store.
"""
