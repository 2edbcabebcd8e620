"""Reproduces published scores: available data, training, evaluation and the report."""
