"""Trains the edge refiner (`segvoc.inference.edges`)."""
