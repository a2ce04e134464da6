"""The three sets: train to fit on, test to choose on, validation to look at once at the end."""
