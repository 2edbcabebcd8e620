"""The names of the ways to bring a picture to a network; apart from the ways themselves, which need PyTorch."""

from typing import Literal, get_args

Window = Literal["auto", "single", "official", "official-single"]
"""Ours for the picture's size and shape; one pass over the squashed picture; the published test protocol; the released
code's path without sliding windows, its defects included."""

WINDOWS: tuple[Window, ...] = get_args(Window)
