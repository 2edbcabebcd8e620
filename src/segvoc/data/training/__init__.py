"""Labeled images as training batches."""
