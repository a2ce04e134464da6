"""The three sets: train to fit on, test to choose on, validation to score the choice
on, once.
"""
