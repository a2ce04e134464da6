"""What a user's YAML and `dg scaffold` reach: the component, its scaffolder."""
