"""Names of any script are drawn or spelled; they lie well inside their regions, or are left out."""

import numpy as np
import pytest
from PIL import Image

from segvoc.imaging.legend import drawable
from segvoc.imaging.overlay import class_regions, draw_names
from segvoc.imaging.palette import class_colors

Box = tuple[int, int, int, int]


def _written(
    labels: np.ndarray, *names: str, size: int = 14, covered: Box = (0, 0, 0, 0), level: int = 100
) -> list[Box]:
    """Bounding boxes (left, top, right, bottom) of what is written into each region; zeros for nothing."""
    overlay = Image.new("RGB", labels.shape[::-1], (level, level, level))
    regions = class_regions(labels.astype(np.uint16), names, class_colors(len(names)))
    boxes = []
    for entry in sorted(regions.entries, key=lambda entry: entry.region):
        regions.entries[:] = [entry]
        drawn = overlay.copy()
        draw_names(drawn, regions, (size, round(0.8 * size)), covered)
        rows, columns = np.nonzero((np.asarray(drawn) != level).any(axis=-1))
        boxes.append((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) if len(rows) else (0, 0, 0, 0))
    return boxes


def _within(box: Box, outer: Box) -> bool:
    return box[2] > 0 and all(box[i] >= outer[i] for i in (0, 1)) and all(box[i] <= outer[i] for i in (2, 3))


def test_a_name_lies_in_the_widest_part_of_its_region() -> None:
    labels = np.zeros((200, 300))
    labels[10:30, 10:290] = 1  # a long arm
    labels[30:150, 200:290] = 1
    labels[160:190, 20:60] = 1  # another region of the same word
    _, box = _written(labels, "wall", "astronaut")
    assert _within(box, (200, 10, 290, 150))


@pytest.mark.parametrize("name", ["cat", "a photograph of a cat", "x" * 41, "y" * 100_000])
def test_a_name_without_room_is_left_out(name: str) -> None:
    labels = np.zeros((200, 300))
    labels[100:112] = 1
    assert _written(labels, "wall", name)[1] == (0, 0, 0, 0)


def test_a_name_keeps_clear_of_the_legend_but_not_of_specks_and_cracks() -> None:
    (box,) = _written(np.zeros((200, 300)), "cat", covered=(0, 0, 200, 200))
    assert _within(box, (200, 0, 300, 200))
    assert _written(np.zeros((200, 300)), "cat", covered=(0, 0, 300, 200)) == [(0, 0, 0, 0)]
    labels = np.ones((200, 300))
    labels[::20, ::20] = labels[:, 150] = 0
    assert _written(labels, "dust", "cat")[1] != (0, 0, 0, 0)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_name_can_be_read_on_any_background(level: int) -> None:
    drawn = Image.new("L", (200, 100), level).convert("RGB")
    draw_names(drawn, class_regions(np.zeros((100, 200), np.uint16), ["cat"], class_colors(1)), (20,))
    values = np.asarray(drawn.convert("L"))
    assert (values > 240).any()
    assert (values < 40).any()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cat", "cat"),
        ("x\ny", "x y"),
        ("Zoë's café", "Zoe's cafe"),
        ("猫", "U+732B"),
        ("猫 house", "U+732B house"),
        ("🐱🐶", "cat face dog face"),
        ("\u200d", "(blank)"),
    ],
)
def test_without_a_font_names_are_spelled(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    monkeypatch.setattr("segvoc.imaging.legend.SYSTEM_FONTS", ())
    assert drawable(name, 20)[0] == text
