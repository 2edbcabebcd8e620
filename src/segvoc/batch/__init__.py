"""Labeling what no folder and no machine holds: images from any storage to any storage, on Ray Data."""
