"""Everything that touches a disk or a bucket. What is stored is decided in `core/`."""
