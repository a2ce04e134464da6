"""Predict, explain and watch with an exported model, for rows as delivered."""
