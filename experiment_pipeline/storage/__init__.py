"""Everything that touches a disk or a bucket, and the form in which things lie there.

What is stored is decided by the stages.
"""
