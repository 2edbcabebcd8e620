"""Captioned images: noun phrases of captions, and image features that are computed once."""
