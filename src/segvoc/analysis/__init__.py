"""The papers' figures and tables, computed for the networks of this package."""
