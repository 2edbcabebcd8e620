"""Making a release: its files, and proof that what is in them works."""
