"""Labeled images: your own folders, and the benchmarks."""
