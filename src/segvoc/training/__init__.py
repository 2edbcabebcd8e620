"""Losses, optimizer groups and recipes."""
