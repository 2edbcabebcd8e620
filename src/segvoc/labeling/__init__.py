"""Labeling many images into a folder: journals of what is done, and processes that share the work."""
