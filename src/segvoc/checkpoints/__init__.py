"""Reading and writing weights: segvoc's own format and the official ones."""
