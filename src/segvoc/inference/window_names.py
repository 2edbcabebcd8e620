"""The names of the ways to bring a picture to a network; apart from the ways themselves, which need PyTorch."""

from typing import Literal, get_args

Window = Literal["auto", "single", "official", "official-single", "tcl"]
"""Ours for the picture's size and shape; one pass over the squashed picture; the published test protocol; the released
code's path without sliding windows, its defects included; the protocol of TCL (Cha et al., CVPR 2023), by which
networks that learn from captions are compared, and which only they have."""

WINDOWS: tuple[Window, ...] = get_args(Window)

COMMON_WINDOWS: tuple[Window, ...] = WINDOWS[:4]
"""Those that every network has."""
