"""exported_model: the accepted model as a version of the registry, proven before it is visible."""
