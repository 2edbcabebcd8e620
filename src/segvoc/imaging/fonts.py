"""Fonts for names in any script: Pillow's default, system fonts, or code points as a fallback."""

import functools
import unicodedata

from PIL import Image, ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


_NOTO_SCRIPTS = (
    "Devanagari Arabic Thai Bengali Tamil Telugu Gujarati Gurmukhi Kannada Malayalam Sinhala Hebrew Armenian Georgian "
    "Ethiopic Khmer Lao Myanmar Symbols Symbols2"
).split()

SYSTEM_FONTS = (
    *("DejaVuSans.ttf", "NotoSans-Regular.ttf", "segoeui.ttf", "Arial Unicode.ttf", "Arial.ttf", "arial.ttf"),
    *("NotoSansCJK-Regular.ttc", "DroidSansFallbackFull.ttf", "wqy-microhei.ttc", "wqy-zenhei.ttc", "PingFang.ttc"),
    *("Hiragino Sans GB.ttc", "msyh.ttc", "msgothic.ttc", "malgun.ttf", "AppleSDGothicNeo.ttc", "Nirmala.ttc"),
    *("Nirmala.ttf", "Kohinoor.ttc", "Thonburi.ttc", "FreeSans.ttf"),
    *(f"NotoSans{script}-Regular.ttf" for script in _NOTO_SCRIPTS),
)
"""Fonts of Linux, macOS and Windows that together cover most scripts; Pillow knows the system folders."""


def drawable(name: str, size: int) -> tuple[str, Font]:
    """Return a drawable form of a name, and a font with all of its characters.

    Pillow's default font comes first, so that English looks the same everywhere. Other names use the first system font
    that covers them. Without such a font, accents are dropped, emoji and symbols become their Unicode names, and other
    characters their code points ("U+732B"), which keeps names distinct.
    """
    name = " ".join("".join(char if char.isprintable() else " " for char in name).split()) or "(blank)"
    for font_name in (None, *SYSTEM_FONTS):
        if all(_has_glyph(font_name, char) for char in set(name)):
            return name, _font(font_name, size) or default_font(size)
    decomposed = unicodedata.normalize("NFKD", name)
    without_accents = "".join(char for char in decomposed if not unicodedata.combining(char))
    plain = " ".join("".join(_spelled(char) for char in without_accents).split())
    return plain, default_font(size)


@functools.lru_cache(maxsize=64)
def default_font(size: int) -> Font:
    """Pillow's default font, which covers English, at a size [px]."""
    return ImageFont.load_default(size)


@functools.lru_cache(maxsize=64)
def _font(name: str | None, size: int) -> Font | None:
    if name is None:
        return default_font(size)
    try:
        return ImageFont.truetype(name, size)
    except (OSError, ValueError):
        return None


@functools.lru_cache(maxsize=4096)
def _has_glyph(font_name: str | None, char: str) -> bool:
    """Whether a font has a character: Pillow can't tell, so compare it with the glyph of a nonexistent character."""
    font = _font(font_name, 24)
    if font is None:
        return False
    drawings = []
    for text in (char, "\U0010fffe"):
        drawing = Image.new("L", (64, 64))
        ImageDraw.Draw(drawing).text((16, 16), text, 255, font)
        drawings.append(drawing.tobytes())
    return drawings[0] != drawings[1]


def _spelled(char: str) -> str:
    if _has_glyph(None, char):
        return char
    if unicodedata.category(char).startswith("S"):
        return f" {unicodedata.name(char, '').lower()} "
    return f" U+{ord(char):04X} "
