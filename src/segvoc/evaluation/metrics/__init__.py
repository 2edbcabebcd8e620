"""Scores of one image and of many."""
