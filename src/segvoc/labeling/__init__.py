"""Labeling many images into a folder: journals of finished work, and worker processes."""
