"""Captioned pictures: noun phrases out of captions, and features of pictures that are computed once."""
