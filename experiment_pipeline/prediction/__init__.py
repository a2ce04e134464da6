"""Predict with an exported model for rows as delivered."""
