"""Captioned images: noun phrases of captions, and cached image features."""
