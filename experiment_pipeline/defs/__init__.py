"""One folder per experiment: defs.yaml beside its schema.yaml. `dg scaffold` adds
folders here.
"""
