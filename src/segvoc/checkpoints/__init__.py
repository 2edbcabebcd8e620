"""Reading and writing weights: our format, the official formats, the shipped files."""
