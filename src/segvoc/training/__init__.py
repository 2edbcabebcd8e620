"""Losses, optimiser groups and recipes."""
