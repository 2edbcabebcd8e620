"""Fonts for names in any script: Pillow's own, which looks the same everywhere, then a font of the system."""

import functools
import unicodedata

from PIL import Image, ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

SYSTEM_FONTS = ("DejaVuSans.ttf", "NotoSansCJK-Regular.ttc", "Arial Unicode.ttf", "segoeui.ttf")
"""The broadest fonts of Linux, macOS and Windows; Pillow knows the system folders."""


def drawable(name: str, size: int) -> tuple[str, Font]:
    """Return a drawable form of a name, and a font [px] with all of its characters.

    If no font has them all, accents are dropped, emoji and symbols become their Unicode names, and other characters
    their code points ("U+732B"), which keeps names distinct.
    """
    name = " ".join("".join(char if char.isprintable() else " " for char in name).split()) or "(blank)"
    for font_name in (None, *SYSTEM_FONTS):
        font = load_font(font_name, size)
        if font is not None and all(_has_glyph(font_name, char) for char in set(name)):
            return name, font
    letters = (char for char in unicodedata.normalize("NFKD", name) if not unicodedata.combining(char))
    return " ".join("".join(map(_spelled, letters)).split()), default_font(size)


def default_font(size: int) -> Font:
    """Pillow's default font, which covers English, at a size [px]."""
    return ImageFont.load_default(size)


@functools.lru_cache(maxsize=64)
def load_font(name: str | None, size: int) -> Font | None:
    """A font of the system, or Pillow's default font; None if it isn't installed."""
    try:
        return default_font(size) if name is None else ImageFont.truetype(name, size)
    except (OSError, ValueError):
        return None


@functools.lru_cache(maxsize=4096)
def _has_glyph(font_name: str | None, char: str) -> bool:
    """Whether a font has a character: Pillow can't tell, so compare it with the glyph of a nonexistent character."""
    drawings = []
    for text in (char, "\U0010fffe"):
        drawing = Image.new("L", (64, 64))
        ImageDraw.Draw(drawing).text((16, 16), text, 255, load_font(font_name, 24))
        drawings.append(drawing.tobytes())
    return drawings[0] != drawings[1]


def _spelled(char: str) -> str:
    if _has_glyph(None, char):
        return char
    symbol = unicodedata.category(char).startswith("S")
    return f" {unicodedata.name(char, '').lower()} " if symbol else f" U+{ord(char):04X} "
