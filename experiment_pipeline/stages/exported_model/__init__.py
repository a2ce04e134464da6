"""exported_model: the accepted model as a version in the registry, checked before it
becomes visible.
"""
