"""The version of segvoc, also used for the package metadata."""

__version__ = "0.1.0"
