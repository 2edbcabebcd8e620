"""The legend of an overlay: a panel with the color, the name and the share of each class."""

import functools
import importlib.util
import math
import shutil
import subprocess
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

SYSTEM_FONTS = (
    *("DejaVuSans.ttf", "NotoSans-Regular.ttf", "segoeui.ttf", "Arial Unicode.ttf", "Arial.ttf", "arial.ttf"),
    *("NotoSansCJK-Regular.ttc", "DroidSansFallbackFull.ttf", "wqy-microhei.ttc", "wqy-zenhei.ttc", "PingFang.ttc"),
    *("Hiragino Sans GB.ttc", "msyh.ttc", "msgothic.ttc", "malgun.ttf", "AppleSDGothicNeo.ttc", "Nirmala.ttc"),
    *("Nirmala.ttf", "NotoSansDevanagari-Regular.ttf", "NotoSansArabic-Regular.ttf", "NotoSansThai-Regular.ttf"),
    *("Kohinoor.ttc", "Thonburi.ttc", "FreeSans.ttf"),
)
"""Fonts of Linux, macOS and Windows that draw most scripts between them; Pillow knows where the systems keep them."""


def drawable(name: str, size: int) -> tuple[str, Font]:
    """A text that shows a name, and a font that has all its characters.

    Pillow's own font comes first, so that English looks the same everywhere. Other names take the first font found on
    the system that draws them. Where there is none, accents are dropped, emoji and symbols become their Unicode names,
    and other characters their code points ("U+732B"), which still tell the names apart.
    """
    name = " ".join("".join(char if char.isprintable() else " " for char in name).split()) or "(blank)"
    for font_name in _font_names(name):
        if _draws(font_name, name):
            return name, _font(font_name, size) or default_font(size)
    decomposed = unicodedata.normalize("NFKD", name)
    without_accents = "".join(char for char in decomposed if not unicodedata.combining(char))
    plain = " ".join("".join(_spelled(char) for char in without_accents).split())
    return plain, default_font(size)


@functools.lru_cache(maxsize=64)
def default_font(size: int) -> Font:
    """Pillow's own font, which draws English, at a size [pixels]."""
    return ImageFont.load_default(size)


def _font_names(text: str) -> Iterator[str | None]:
    yield None
    yield from SYSTEM_FONTS
    yield from _fontconfig_files(frozenset(text))
    yield from _matplotlib_files()


@functools.lru_cache(maxsize=256)
def _fontconfig_files(chars: frozenset[str]) -> tuple[str, ...]:
    """Files of the fonts that have these characters, by fontconfig, where it is installed (Linux, mostly)."""
    command = shutil.which("fc-list")
    if command is None:
        return ()
    points = " ".join(f"{ord(char):x}" for char in sorted(chars) if not char.isspace())
    try:
        done = subprocess.run([command, f":charset={points}", "file"], capture_output=True, text=True, timeout=5)
    except (OSError, ValueError, subprocess.SubprocessError):
        return ()
    files = sorted(line.rstrip(": ") for line in done.stdout.splitlines() if line.strip())
    # regular faces first: a legend in bold italics is harder to read
    return tuple(sorted(files, key=lambda file: ("Regular" not in file, len(file), file)))


@functools.cache
def _matplotlib_files() -> tuple[str, ...]:
    """DejaVu Sans, which comes with Matplotlib: Cyrillic, Greek, Arabic, Hebrew and more, on any system."""
    found = importlib.util.find_spec("matplotlib")
    if found is None or found.origin is None:
        return ()
    return (str(Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"),)


def _draws(font_name: str | None, text: str) -> bool:
    return all(_has_glyph(font_name, char) for char in set(text))


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
    """Whether a font has a character: Pillow doesn't say, but a missing one looks like one that never exists."""
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


PANEL_COLOR = (18, 20, 24)
"""RGB of the panel, nearly black."""

_PANEL = (*PANEL_COLOR, 205)
_TEXT = (255, 255, 255, 255)
_FAINT_TEXT = (255, 255, 255, 160)


@dataclass(frozen=True, kw_only=True)
class LegendEntry:
    """One line of a legend."""

    region: int
    """Index of the region in the map that is drawn."""
    name: str
    """Any text, in any script."""
    color: tuple[int, int, int]
    fraction: float
    """Share of the image's pixels, in [0, 1]."""
    of_part: bool = False
    """Whether this is a part, which is listed below its object and indented."""


@dataclass(frozen=True)
class _Line:
    """One line as it is drawn; without a color it is the count of the classes that don't fit."""

    text: str
    font: Font
    share: str = ""
    color: tuple[int, int, int] | None = None
    indent: int = 0


def line_height(size: int) -> int:
    """Height of a legend's line [pixels] for a text size [pixels]."""
    return round(1.5 * size)


def draw_legend(
    entries: Sequence[LegendEntry],
    width: int,
    height: int,
    size: int,
    *,
    columns: int = 1,
    shorten: bool = True,
    shares: bool = True,
) -> Image.Image | None:
    """Draw a legend as an RGBA panel.

    Args:
        entries: the classes, in the order in which they are listed.
        width: of the panel at most [pixels].
        height: of the panel at most [pixels].
        size: of the text [pixels].
        columns: number of columns, filled one after the other.
        shorten: cut long names with an ellipsis, and count the classes that don't fit in a last line.
        shares: write the share of each class behind its name.

    Returns:
        The panel; None if not even one class fits, or not all as they are without `shorten`.
    """
    line, padding, gap = line_height(size), round(0.6 * size), size if shares else 0
    rows = (height - 2 * padding) // line
    lines = _lines(entries, rows * columns, size, shares=shares)
    if not lines or lines[0].color is None or (len(lines) < len(entries) and not shorten):
        return None
    columns = min(columns, len(lines))
    rows = math.ceil(len(lines) / columns)
    columns = math.ceil(len(lines) / rows)
    share_width = round(max(default_font(size).getlength(item.share) for item in lines))
    # swatch, name, gap and share
    room = width // columns - 2 * padding - line - gap - share_width
    widths = [item.indent + math.ceil(item.font.getlength(item.text)) for item in lines]
    if max(widths) > room and (room < 3 * size or not shorten):
        return None
    name_width = min(room, max(widths))
    column_width = 2 * padding + line + name_width + gap + share_width
    swatches = [
        (index // rows * column_width + padding + item.indent, padding + index % rows * line, item.color)
        for index, item in enumerate(lines)
        if item.color is not None
    ]
    panel = _panel((columns * column_width, 2 * padding + line * rows), swatches, line, padding)
    draw = ImageDraw.Draw(panel)
    for index, item in enumerate(lines):
        left, middle = index // rows * column_width, padding + index % rows * line + line // 2
        text = _shortened(item.text, item.font, name_width - item.indent)
        start = left + padding + (line if item.color is not None else 0) + item.indent
        draw.text((start, middle), text, _FAINT_TEXT if item.color is None else _TEXT, item.font, anchor="lm")
        draw.text((left + column_width - padding, middle), item.share, _FAINT_TEXT, default_font(size), anchor="rm")
    return panel


def _lines(entries: Sequence[LegendEntry], room: int, size: int, *, shares: bool) -> list[_Line]:
    """The lines of the entries, of which the last one counts those that don't fit into `room` lines."""
    shown = entries[: room if len(entries) <= room else max(0, room - 1)]
    lines = [
        _Line(
            *drawable(entry.name, size),
            share=_share(entry.fraction) if shares else "",
            color=entry.color,
            indent=line_height(size) if entry.of_part else 0,
        )
        for entry in shown
    ]
    if len(shown) < len(entries):
        lines.append(_Line(f"+ {len(entries) - len(shown)} more", default_font(size)))
    return lines


def _panel(
    size: tuple[int, int], swatches: Sequence[tuple[int, int, tuple[int, int, int]]], line: int, padding: int
) -> Image.Image:
    """A panel with rounded corners and swatches (left, top of the line, color)."""
    # Pillow draws round corners jagged: small panels, where it shows, are drawn larger and averaged
    scale = max(1, 72 // line)
    large = Image.new("RGBA", (size[0] * scale, size[1] * scale), (*PANEL_COLOR, 0))
    draw = ImageDraw.Draw(large)
    draw.rounded_rectangle((0, 0, large.width - 1, large.height - 1), padding * scale * 0.8, _PANEL)
    side, outline = line * scale * 0.62, max(1, scale // 2)
    for line_left, line_top, color in swatches:
        left, top = line_left * scale, (line_top + line / 2) * scale - side / 2
        draw.rounded_rectangle((left, top, left + side, top + side), side * 0.2, color, _FAINT_TEXT, outline)
    return large.resize(size, Image.Resampling.BOX)


def _share(fraction: float) -> str:
    return f"{fraction:.0%}" if fraction >= 0.01 else "<1%"


def _shortened(text: str, font: Font, width: int) -> str:
    if font.getlength(text) <= width:
        return text
    # lengths grow with the text: search for the longest beginning that fits
    shortest, longest = 0, min(len(text), max(0, width))
    while shortest < longest:
        middle = (shortest + longest + 1) // 2
        if font.getlength(text[:middle].rstrip() + "…") <= width:
            shortest = middle
        else:
            longest = middle - 1
    return text[:shortest].rstrip() + "…"
