"""Labeling images that don't fit into memory: reading and writing by windows, and going on after a stop."""
