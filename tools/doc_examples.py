"""Writes the Python blocks of the README and the docs as one script a page, for pyright and for the tests.

    python -m tools.doc_examples build/doc_examples

The blocks of a page are one script, in their order; what a page takes for granted comes first.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)

_MODEL = 'import segvoc\n\nmodel = segvoc.load("tiny")\nwords = ["cat", "sofa", "wall"]\n'

TAKEN_FOR_GRANTED = {
    "docs/how_to/big_images.md": _MODEL,
    "docs/how_to/formats.md": 'photos = ["photo.jpg"]\n',
    "docs/how_to/maps.md": _MODEL,
    "docs/how_to/parts.md": _MODEL,
    "docs/how_to/videos.md": _MODEL,
}
"""What comes before the blocks of a page."""


def scripts() -> dict[str, str]:
    """The script of each page that has Python blocks, by the page's path."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    found = {page.relative_to(ROOT).as_posix(): _BLOCK.findall(page.read_text(encoding="utf-8")) for page in pages}
    return {
        page: "\n".join([f'"""The Python blocks of {page}."""\n', TAKEN_FOR_GRANTED.get(page, ""), *blocks])
        for page, blocks in found.items()
        if blocks
    }


def main() -> None:
    """Write all scripts into the folder that was given."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for page, script in scripts().items():
        name = re.sub(r"\W+", "_", page.removesuffix(".md"))
        (folder / f"{name}.py").write_text(script, encoding="utf-8")


if __name__ == "__main__":
    main()
