"""How different colors look, also to color-blind viewers."""

import numpy as np
from jaxtyping import Bool, Float, UInt8

_RGB_TO_CONES = np.array(
    [
        [0.41222147, 0.53633254, 0.05144599],
        [0.21190350, 0.68069955, 0.10739696],
        [0.08830246, 0.28171884, 0.62997870],
    ]
)

_CONES_TO_OKLAB = np.array(
    [
        [0.21045426, 0.79361779, -0.00407205],
        [1.97799850, -2.42859221, 0.45059371],
        [0.02590404, 0.78277177, -0.80867577],
    ]
)

_COLOR_BLINDNESS = {
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
"""What linear RGB looks like to the color-blind (Machado, Oliveira and Fernandes 2009, severity 1)."""

_CLEAR, _CLEAR_TO_COLOR_BLIND = 0.1, 0.05
"""Distance in OKLab from which two colors can be told apart on a photograph, to whom all colors look different and to
whom some look alike. Half of it is left once they are blended with the photograph, and 0.02 can just be seen."""

_LIGHTNESS = 0.6
"""Weight of lightness where hue tells, too: the photograph's own light and shade hide differences in it."""


def oklab(rgb: UInt8[np.ndarray, "n 3"], vision: str | None = None) -> Float[np.ndarray, "n 3"]:
    """OKLab, where distances match perceived differences (Ottosson 2020, bottosson.github.io/posts/oklab).

    Computed in float64: two candidates for a palette's next color can be equally far within the rounding of float32,
    and then different processors would choose different colors.

    Args:
        rgb: sRGB colors.
        vision: "protanopia", "deuteranopia" or "tritanopia" for what a color-blind viewer sees.

    Returns:
        lightness in [0, 1], and the opponent axes green-red and blue-yellow.
    """
    srgb = rgb.astype(np.float64) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    if vision is not None:
        linear = (linear @ _COLOR_BLINDNESS[vision].T).clip(0, 1)
    return np.cbrt(linear @ _RGB_TO_CONES.T) @ _CONES_TO_OKLAB.T


def look_alike(colors: UInt8[np.ndarray, "n 3"], others: UInt8[np.ndarray, "n 3"]) -> Bool[np.ndarray, " n"]:
    """Which pairs of colors are hard to tell apart on a photograph, for most people or for the color-blind."""
    alike = np.linalg.norm((oklab(colors) - oklab(others)) * (_LIGHTNESS, 1, 1), axis=-1) < _CLEAR
    for vision in _COLOR_BLINDNESS:
        alike |= np.linalg.norm(oklab(colors, vision) - oklab(others, vision), axis=-1) < _CLEAR_TO_COLOR_BLIND
    return alike


def stripe_color(color: tuple[int, int, int]) -> tuple[int, int, int]:
    """RGB of stripes that can be seen on a color: dark ones on light colors, light ones on dark colors."""
    ink = 0 if oklab(np.array([color], np.uint8))[0, 0] > 0.7 else 255
    red, green, blue = ((value + ink) // 2 for value in color)
    return red, green, blue
