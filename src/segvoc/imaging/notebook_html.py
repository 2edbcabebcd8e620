"""HTML for notebooks: small images and tables, without scripts."""

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape

from PIL import Image

MOST_PIXELS = 200_000
"""Maximum number of pixels of an image in a notebook, which stores its outputs; larger images are downscaled."""


def figure(image: Image.Image, caption: str) -> str:
    """An RGB image with a caption (plain text), as a JPEG embedded in the HTML."""
    content = io.BytesIO()
    scale = min(1.0, (MOST_PIXELS / max(1, image.width * image.height)) ** 0.5)
    shown = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
    shown.save(content, "JPEG", quality=85)
    address = f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"
    label = escape(caption)
    return (
        f'<figure style="margin:0;flex:0 1 420px"><img src="{address}" alt="{label}" style="max-width:100%">'
        f"<figcaption>{label}</figcaption></figure>"
    )


def side_by_side(*parts: str) -> str:
    """Pieces of HTML in a wrapping row."""
    return f'<div style="display:flex;flex-wrap:wrap;gap:12px;align-items:flex-start">{"".join(parts)}</div>'


def table(header: Sequence[str], rows: Iterable[Sequence[str]], colors: Sequence[Sequence[int]] | None = None) -> str:
    """A table of plain text, all but the first column right-aligned; `colors` are RGB of a swatch ahead of each row."""

    def cells(texts: Sequence[str], tag: str, color: Sequence[int] | None = None) -> str:
        swatch = ""
        if color is not None:
            red, green, blue = (int(value) for value in color)
            swatch = (
                '<span style="display:inline-block;width:0.9em;height:0.9em;margin-right:0.5em;'
                f'background:rgb({red},{green},{blue})"></span>'
            )
        first, *others = (escape(text) for text in texts)
        return (
            f'<tr><{tag} style="text-align:left">{swatch}{first}</{tag}>'
            + "".join(f'<{tag} style="text-align:right">{other}</{tag}>' for other in others)
            + "</tr>"
        )

    listed = list(rows)
    swatches = [None] * len(listed) if colors is None else colors
    body = "".join(cells(row, "td", color) for row, color in zip(listed, swatches, strict=True))
    return f"<table><thead>{cells(header, 'th')}</thead><tbody>{body}</tbody></table>"


def line(text: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{escape(text)}</p>"


def one_digit(value: float | None) -> str:
    """A value in percent with one digit; a dash if unknown."""
    return "–" if value is None else f"{value:.1f}"


def two_digits(value: float | None) -> str:
    """A value in [0, 1] with two digits; a dash if unknown."""
    return "–" if value is None else f"{value:.2f}"
