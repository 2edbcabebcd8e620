"""Datasets in the formats of other programs, read as labeled images."""
