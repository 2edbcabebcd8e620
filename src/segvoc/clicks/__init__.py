"""Masks from clicks and boxes."""
