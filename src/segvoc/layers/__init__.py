"""Modules that two or more networks share."""
