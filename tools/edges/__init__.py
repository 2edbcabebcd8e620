"""Trains the edge refiner (`segvoc.inference.edges`), and writes its program."""
