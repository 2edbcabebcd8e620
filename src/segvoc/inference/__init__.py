"""Inference: from images and words to label maps."""
