"""The legend of an overlay: a panel with the colour, the name and the share of each class."""

import functools
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_PANEL = (18, 20, 24, 205)
_TEXT = (255, 255, 255, 255)
_FAINT_TEXT = (255, 255, 255, 160)

_WIDE_FONTS = (
    *("DejaVuSans.ttf", "NotoSans-Regular.ttf", "segoeui.ttf", "Arial Unicode.ttf", "Arial.ttf", "arial.ttf"),
    *("NotoSansCJK-Regular.ttc", "DroidSansFallbackFull.ttf", "wqy-microhei.ttc", "wqy-zenhei.ttc", "PingFang.ttc"),
    *("Hiragino Sans GB.ttc", "msyh.ttc", "msgothic.ttc", "malgun.ttf", "AppleSDGothicNeo.ttc", "Nirmala.ttc"),
    *("Nirmala.ttf", "NotoSansDevanagari-Regular.ttf", "NotoSansArabic-Regular.ttf", "NotoSansThai-Regular.ttf"),
    *("Kohinoor.ttc", "Thonburi.ttc", "FreeSans.ttf"),
)
"""Fonts of Linux, macOS and Windows that, together, draw most scripts; looked for where the system keeps fonts."""


@dataclass(frozen=True, kw_only=True)
class LegendEntry:
    """One line of a legend; `name` may be any text, `label` (the class's index) stands in where no font draws it.

    of_part: the line of a part, which stands below its object's and is set in; `label` is the part's index.
    """

    label: int | None
    name: str
    color: tuple[int, int, int]
    fraction: float
    of_part: bool = False


def draw_legend(entries: Sequence[LegendEntry], width: int, height: int, size: int) -> Image.Image | None:
    """Draw a legend as an RGBA panel.

    Args:
        entries: the classes, in the order in which they are listed; those that don't fit are counted in a last line.
        width: of the panel at most [pixels]; longer names are cut with an ellipsis.
        height: of the panel at most [pixels].
        size: of the text [pixels].

    Returns: the panel, or None if not even one class fits.
    """
    line, padding = round(1.5 * size), round(0.6 * size)
    room = (height - 2 * padding) // line
    shown = list(entries[: room if len(entries) <= room else room - 1])
    if not shown:
        return None
    shares = [_share(entry.fraction) for entry in shown]
    plain = ImageFont.load_default(size)
    share_width = round(max(plain.getlength(share) for share in shares))
    name_left, gap = padding + line, size
    name_room = width - name_left - gap - share_width - padding
    if name_room < 3 * size:
        return None
    # what belongs to another line is set in by the width of a swatch
    indents = [line if entry.of_part else 0 for entry in shown]
    names = [
        _shortened(*_drawable(entry, size), name_room - indent) for entry, indent in zip(shown, indents, strict=True)
    ]
    if len(shown) < len(entries):
        names.append((f"+ {len(entries) - len(shown)} more", plain))
        indents.append(0)
    name_width = round(max(font.getlength(name) + indent for (name, font), indent in zip(names, indents, strict=True)))
    panel_size = (name_left + name_width + gap + share_width + padding, 2 * padding + line * len(names))
    panel = _panel(panel_size, [entry.color for entry in shown], indents, line, padding)
    draw = ImageDraw.Draw(panel)
    for row, ((name, font), indent) in enumerate(zip(names, indents, strict=True)):
        middle = padding + row * line + line // 2
        if row < len(shown):
            draw.text((name_left + indent, middle), name, _TEXT, font, anchor="lm")
            draw.text((panel_size[0] - padding, middle), shares[row], _FAINT_TEXT, plain, anchor="rm")
        else:
            draw.text((name_left, middle), name, _FAINT_TEXT, font, anchor="lm")
    return panel


def _panel(
    size: tuple[int, int], colors: Sequence[tuple[int, int, int]], indents: Sequence[int], line: int, padding: int
) -> Image.Image:
    """A panel with rounded corners and one swatch a line."""
    # Pillow draws round corners jagged: small panels, where it shows, are drawn larger and averaged.
    scale = max(1, 72 // line)
    large = Image.new("RGBA", (size[0] * scale, size[1] * scale), (*_PANEL[:3], 0))
    draw = ImageDraw.Draw(large)
    draw.rounded_rectangle((0, 0, large.width - 1, large.height - 1), padding * scale * 0.8, _PANEL)
    swatch, outline = line * scale * 0.62, max(1, scale // 2)
    for row, color in enumerate(colors):
        left = (padding + indents[row]) * scale
        top = (padding + row * line + line / 2) * scale - swatch / 2
        draw.rounded_rectangle((left, top, left + swatch, top + swatch), swatch * 0.2, color, _FAINT_TEXT, outline)
    return large.resize(size, Image.Resampling.BOX)


def _share(fraction: float) -> str:
    return f"{fraction:.0%}" if fraction >= 0.01 else "<1%"


def _drawable(entry: LegendEntry, size: int) -> tuple[str, Font]:
    """The name and a font that has all its characters.

    Pillow's own font comes first, so that the common case looks the same everywhere; it draws English alone. Other
    names take the first font of the system that draws them; failing all, the name without its accents, and else
    its index.
    """
    name = " ".join("".join(char if char.isprintable() else " " for char in entry.name).split())
    plain = unicodedata.normalize("NFKD", name)
    without_accents = "".join(char for char in plain if not unicodedata.combining(char))
    for text, fonts in ((name, (None, *_WIDE_FONTS)), (without_accents, (None,))):
        for font_name in fonts:
            font = _font(font_name, size)
            if text and font is not None and all(_has_glyph(font_name, char) for char in set(text)):
                return text, font
    return f"{'part' if entry.of_part else 'class'} {entry.label}", ImageFont.load_default(size)


@functools.lru_cache(maxsize=64)
def _font(name: str | None, size: int) -> Font | None:
    if name is None:
        return ImageFont.load_default(size)
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


@functools.lru_cache(maxsize=4096)
def _has_glyph(font_name: str | None, char: str) -> bool:
    """Whether a font draws a character: Pillow doesn't tell, but a missing one looks like one that never exists."""
    font = _font(font_name, 24)
    if font is None:
        return False
    drawings = []
    for text in (char, "\U0010fffe"):
        drawing = Image.new("L", (64, 64))
        ImageDraw.Draw(drawing).text((16, 16), text, 255, font)
        drawings.append(drawing.tobytes())
    return drawings[0] != drawings[1]


def _shortened(text: str, font: Font, width: int) -> tuple[str, Font]:
    if font.getlength(text) <= width:
        return text, font
    # Lengths grow with the text: search the longest beginning that fits.
    shortest, longest = 0, min(len(text), width)
    while shortest < longest:
        middle = (shortest + longest + 1) // 2
        if font.getlength(text[:middle].rstrip() + "…") <= width:
            shortest = middle
        else:
            longest = middle - 1
    return text[:shortest].rstrip() + "…", font
