"""The table of models, and how each is built, loaded and converted."""
