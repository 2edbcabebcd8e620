"""Color profiles: pixels of another color space than sRGB are converted to it, as browsers show them, or stay."""

import io
import warnings
from functools import lru_cache
from typing import Literal

import numpy as np
from PIL import Image, ImageCms

from segvoc.errors import ColorProfileWarning

Colors = Literal["srgb", "stored"]
"""Which colors the pixels of an image file have once it is read.

- "srgb": those that a browser shows: by the embedded profile, with white behind transparent pixels
- "stored": the numbers in the file, whatever its profile, without alpha. The test loaders of published protocols give
  these: detectron2's `read_image` applies the EXIF orientation and calls Pillow's `convert("RGB")`; mmcv's `imread` is
  OpenCV's with IMREAD_COLOR, which applies the orientation and drops alpha; transformers' `load_image` does what
  detectron2 does.
"""

_SAME_COLOR = 2
"""Max difference to sRGB at which pixels stay as they are [0, 255]: writers round sRGB's own profile differently."""

_SPACE = slice(16, 20)
_MODES = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK"}
"""Color space in the header of a profile, at these bytes (ICC.1:2022, 7.2.6) -> Pillow's mode of its pixels."""


def to_srgb(image: Image.Image, profile: bytes | None, name: str) -> Image.Image:
    """Convert an 8-bit image by its embedded ICC profile; alpha stays.

    Colors are mapped relative to white, with the darkest black as black, as photo editors do by default. The image is
    returned as it is if the profile is sRGB's, or missing.

    Args:
        image: an upright or stored image of any 8-bit mode; it isn't changed.
        profile: the bytes of its ICC profile; None: it has none.
        name: the image's in warnings, such as a file name in quotes.

    Warns:
        ColorProfileWarning: the profile is damaged, or of another kind of colors than the image; it is ignored.
    """
    if not profile:
        return image
    try:
        return _converted(image, profile)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, ImportError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        warnings.warn(
            f"the color profile of {name} is ignored ({reason}); export the image as sRGB if its colors look wrong",
            ColorProfileWarning,
            stacklevel=2,
        )
        return image


def _converted(image: Image.Image, profile: bytes) -> Image.Image:
    mode, transform = _transform(profile)
    if transform is None:
        return image
    alpha = None
    if image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
    if (mode == "CMYK") != (image.mode == "CMYK"):
        raise ValueError(f"it is a {mode} profile in an image of mode {image.mode}")
    if mode == "L" and image.mode not in ("1", "L", "LA", "RGBA"):
        raise ValueError(f"it is a gray profile in an image of mode {image.mode}")
    converted = transform.apply(image.convert(mode))
    if alpha is not None:
        converted.putalpha(alpha)
    return converted


@lru_cache(maxsize=8)
def _transform(profile: bytes) -> tuple[str, ImageCms.ImageCmsTransform | None]:
    """The mode of a profile's pixels and their transform to sRGB, which is None if it changes nothing."""
    opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    mode = _MODES.get(profile[_SPACE])
    if mode is None:
        raise ValueError(f"it describes {profile[_SPACE].decode('ascii', 'replace').strip()} colors")
    transform = ImageCms.ImageCmsTransform(
        opened,
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")),
        mode,
        "RGB",
        intent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    return mode, None if mode != "CMYK" and _keeps_colors(transform, mode) else transform


def _keeps_colors(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether a transform of gray or RGB leaves a grid of colors as it is."""
    levels = np.linspace(0, 255, 18).astype(np.uint8)
    axes = [levels] * len(mode)
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(1, -1, len(axes))
    before = Image.fromarray(grid if mode == "RGB" else grid[..., 0])
    difference = np.asarray(transform.apply(before), np.int16) - np.asarray(before.convert("RGB"), np.int16)
    return bool(np.abs(difference).max() <= _SAME_COLOR)
