"""Trains the network that lets maps of words follow the edges in an image, and writes its program."""
