"""Serves a project to several people who label its images in their browsers."""
