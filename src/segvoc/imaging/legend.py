"""The legend of an overlay: a panel with the color, the name and the share of each class."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from segvoc.imaging.fonts import Font, default_font, drawable

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
    notes: Sequence[str] = (),
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
        notes: lines without a color below the classes.
        columns: number of columns, filled one after the other.
        shorten: cut long names with an ellipsis, and count the classes that don't fit in a last line.
        shares: write the share of each class behind its name.

    Returns:
        The panel; None if not even one class fits, or not all as they are without `shorten`.
    """
    line, padding, gap = line_height(size), round(0.6 * size), size if shares else 0
    rows = (height - 2 * padding) // line
    lines = _lines(entries, rows * columns - len(notes), size, shares=shares)
    if not lines or lines[0].color is None or (len(lines) < len(entries) and not shorten):
        return None
    lines += [_Line(*drawable(note, size)) for note in notes]
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
