"""The legend of an overlay: a panel with the color, name and share of each class."""

import functools
import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

PANEL_COLOR = (18, 20, 24)
"""RGB of the legend and of rims, nearly black."""

_PANEL, _TEXT, _FAINT_TEXT = (*PANEL_COLOR, 205), (255, 255, 255, 255), (255, 255, 255, 160)


_LEAST_NAME = 12
"""Width to which names may be cut [text sizes], about 24 letters; a legend with less room is drawn outside."""


@dataclass(frozen=True, kw_only=True)
class LegendEntry:
    """One line of a legend."""

    region: int
    """Index of the region in the map."""
    name: str
    color: tuple[int, int, int]
    fraction: float
    """Share of the image's pixels, in [0, 1]."""
    of_part: bool = False
    """Whether this is a part, which is listed below its object and indented."""


def share_text(fraction: float) -> str:
    """A share as people read it: "<1%" is more than nothing."""
    return "<1%" if 0 < fraction < 0.01 else f"{fraction:.0%}"


def line_height(size: int) -> int:
    """Height of a legend's line [pixels] for a text size [pixels]."""
    return round(1.5 * size)


def draw_legend(
    entries: Sequence[LegendEntry],
    width: int,
    height: int,
    size: int,
    *,
    notes: Sequence[str] = (),
    columns: int = 1,
    shorten: bool = True,
    shares: bool = True,
) -> Image.Image | None:
    """Draw a legend as an RGBA panel of at most this width and height [px], with text of this size [px].

    `notes` are lines without a color below the classes, wrapped. `shorten` cuts very long names with an ellipsis, and
    counts the classes that don't fit in a last line. `shares` writes the share of each class after its name. None if
    not even a single class fits, or, without `shorten`, if not all fit uncut.
    """
    line, padding, gap = line_height(size), round(0.6 * size), size if shares else 0
    faint = ImageFont.load_default(size)
    notes = [row for note in notes for row in _wrapped(note, faint, width // columns - 2 * padding)]
    room = (height - 2 * padding) // line * columns - len(notes)
    shown = entries[: room if len(entries) <= room else max(0, room - 1)]
    left_out = len(entries) - len(shown)
    if not shown or (left_out and not shorten):
        return None
    lines: list[LegendEntry | str] = [*shown, *([f"+ {left_out} more"] if left_out else []), *notes]
    texts = [drawable(item if isinstance(item, str) else item.name, size) for item in lines]
    indents = [line if isinstance(item, LegendEntry) and item.of_part else 0 for item in lines]
    fractions = [item.fraction if shares and isinstance(item, LegendEntry) else None for item in lines]
    percents = ["" if share is None else share_text(share) for share in fractions]
    rows = math.ceil(len(lines) / min(columns, len(lines)))
    columns = math.ceil(len(lines) / rows)
    # swatch, name, gap and share
    beside_name = 2 * padding + line + gap + round(max(map(faint.getlength, percents)))
    lengths = [indent + math.ceil(font.getlength(text)) for (text, font), indent in zip(texts, indents, strict=True)]
    # notes have the whole width
    widest = max(
        length - (beside_name - 2 * padding) * isinstance(item, str)
        for length, item in zip(lengths, lines, strict=True)
    )
    name_width = min(width // columns - beside_name, widest)
    if name_width < widest and (name_width < _LEAST_NAME * size or not shorten):
        return None
    column_width = beside_name + name_width
    places = [(index // rows * column_width + padding, padding + index % rows * line) for index in range(len(lines))]
    swatches = [
        (left + indent, top, item.color)
        for (left, top), indent, item in zip(places, indents, lines, strict=True)
        if isinstance(item, LegendEntry)
    ]
    panel = _panel((columns * column_width, 2 * padding + line * rows), swatches, line, padding)
    draw = ImageDraw.Draw(panel)
    for (x, top), item, (text, font), indent, share in zip(places, lines, texts, indents, percents, strict=True):
        start, ink = (x, _FAINT_TEXT) if isinstance(item, str) else (x + line + indent, _TEXT)
        middle = top + line // 2
        room = name_width - indent if isinstance(item, LegendEntry) else column_width - 2 * padding
        draw.text((start, middle), _shortened(text, font, room), ink, font, anchor="lm")
        draw.text((x + column_width - 2 * padding, middle), share, _FAINT_TEXT, faint, anchor="rm")
    return panel


def _wrapped(note: str, font: Font, width: int) -> list[str]:
    rows = [""]
    for word in note.split():
        longer = f"{rows[-1]} {word}".strip()
        if rows[-1] and font.getlength(longer) > width:
            rows.append(word)
        else:
            rows[-1] = longer
    return rows


def _panel(
    size: tuple[int, int], swatches: Sequence[tuple[int, int, tuple[int, int, int]]], line: int, padding: int
) -> Image.Image:
    """A panel with rounded corners and swatches (left, top of the line, color)."""
    # Pillow's round corners are jagged, which is visible on small panels: supersample these
    scale = max(1, 72 // line)
    large = Image.new("RGBA", (size[0] * scale, size[1] * scale), (*PANEL_COLOR, 0))
    draw = ImageDraw.Draw(large)
    draw.rounded_rectangle((0, 0, large.width - 1, large.height - 1), padding * scale * 0.8, _PANEL)
    side, outline = line * scale * 0.62, max(1, scale // 2)
    for left, top, color in swatches:
        x, y = left * scale, (top + line / 2) * scale - side / 2
        draw.rounded_rectangle((x, y, x + side, y + side), side * 0.2, color, _FAINT_TEXT, outline)
    return large.resize(size, Image.Resampling.BOX)


def _shortened(text: str, font: Font, width: int) -> str:
    if font.getlength(text) <= width:
        return text
    text = text[: max(1, width)]  # no letter is narrower than a pixel
    while len(text) > 1 and font.getlength(text.rstrip() + "…") > width:
        text = text[:-1]
    return text.rstrip() + "…"


# ---- fonts: Pillow's own, which looks the same everywhere, then a font of the system

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
    return " ".join("".join(map(_spelled, letters)).split()), ImageFont.load_default(size)


@functools.lru_cache(maxsize=64)
def load_font(name: str | None, size: int) -> Font | None:
    """A font of the system, or Pillow's default font; None if it isn't installed."""
    try:
        return ImageFont.load_default(size) if name is None else ImageFont.truetype(name, size)
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
