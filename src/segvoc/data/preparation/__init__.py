"""Conversion of original downloads to label maps, with a manifest of the files written."""
