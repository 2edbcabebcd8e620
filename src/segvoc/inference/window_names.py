"""Names of the protocols."""

from typing import Literal, get_args

Window = Literal["auto", "single", "official", "official-single", "tcl"]
"""The protocol by which an image is segmented.

- "auto": our best trade-off for the image's size and aspect ratio
- "single": one pass over the squashed image
- "official": the published test protocol
- "official-single": the released code's path without sliding windows, including its defects
- "tcl": the protocol of TCL (Cha et al., CVPR 2023), the standard for comparing networks trained on captions; only
  these networks have it
"""

WINDOWS: tuple[Window, ...] = get_args(Window)

COMMON_WINDOWS: tuple[Window, ...] = WINDOWS[:4]
"""Windows that every network has."""
