"""Images of what a run has changed: overlays of a few validation images before its first step and after its best."""

from pathlib import Path

from PIL import Image

from segvoc.storage.atomic_writes import write_atomically

COMPARED_IMAGES = 6
"""Number of images."""

GAP = 8
"""White pixels between the two."""


def compare_in_images(run: Path, best: int) -> list[Path]:
    """Write before_after/NAME.png for the first validation images: the overlay before training, and that of a step.

    Args:
        run: the run folder, whose overlays are in images/step_NNNNNN.
        best: the step.

    Returns:
        The files.

    Raises:
        OutputError: a file can't be written.
    """
    before, after = (run / "images" / f"step_{step:06d}" for step in (0, best))
    written: list[Path] = []
    for path in sorted(before.rglob("*.png"))[:COMPARED_IMAGES]:
        name = path.relative_to(before)
        if not (after / name).exists():
            continue
        with Image.open(path) as one, Image.open(after / name) as other:
            pair = Image.new("RGB", (one.width + GAP + other.width, max(one.height, other.height)), "white")
            pair.paste(one, (0, 0))
            pair.paste(other, (one.width + GAP, 0))
        written.append(run / "before_after" / name)
        write_atomically(written[-1], lambda file, pair=pair: pair.save(file, "PNG"))
    return written
