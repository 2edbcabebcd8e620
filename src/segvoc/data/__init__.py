"""Labelled pictures: folders of your own, and the benchmarks."""
