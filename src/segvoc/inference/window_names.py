"""The names of the protocols; apart from the protocols themselves, which need PyTorch."""

from typing import Literal, get_args

Window = Literal["auto", "single", "official", "official-single", "tcl"]
"""How an image is brought to a network.

- "auto": our best trade for the image's size and shape
- "single": one pass over the squashed image
- "official": the published test protocol
- "official-single": the released code's path without sliding windows, its defects included
- "tcl": the protocol of TCL (Cha et al., CVPR 2023), by which networks that learn from captions are compared; only
  they have it
"""

WINDOWS: tuple[Window, ...] = get_args(Window)

COMMON_WINDOWS: tuple[Window, ...] = WINDOWS[:4]
"""Those that every network has."""
