"""Labeling image collections too large for a machine: from any storage to any storage, on Ray."""
