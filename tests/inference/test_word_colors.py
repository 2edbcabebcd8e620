"""Of words for one kind of thing in several colors, regions get the one whose color their pixels have."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segvoc.encoders.lexicon import COLORS, trained_lexicon
from segvoc.inference.decision import Decision, Rules
from segvoc.inference.label_options import LabelOptions
from segvoc.inference.word_colors import ColoredWords, color_names, colored_words, with_colors
from segvoc.models.shipped import open_tiny

TINY = open_tiny()
PHOTO = Path(__file__).resolve().parents[2] / "samples/coffee.jpg"

MANY = ", ".join(f"word {number}" for number in range(28)) + ", table"

EXAMPLES = {
    "black": ((0, 0, 0), (30, 28, 33)),
    "gray": ((128, 128, 128), (95, 100, 104), (170, 168, 165)),
    "white": ((255, 255, 255), (225, 228, 230), (250, 246, 238)),
    "red": ((200, 20, 30), (120, 15, 20), (255, 0, 0)),
    "orange": ((255, 140, 0), (230, 110, 40)),
    "brown": ((110, 70, 40), (90, 50, 20)),
    "yellow": ((255, 220, 0), (240, 230, 90)),
    "green": ((30, 130, 40), (120, 180, 90), (0, 255, 0)),
    "blue": ((20, 60, 180), (90, 160, 230), (0, 0, 255)),
    "purple": ((110, 40, 140), (90, 30, 90)),
    "pink": ((250, 150, 180), (255, 80, 200)),
}


@pytest.mark.parametrize("color", COLORS)
def test_pixels_have_the_colors_that_people_name(color: str) -> None:
    pixels = np.array(EXAMPLES[color], np.float32).T[:, None]
    assert [COLORS[name] for name in color_names(pixels)[0]] == [color] * pixels.shape[2]


def test_words_for_one_kind_of_thing_in_several_colors_form_a_group() -> None:
    words = "red car, sky, white shirt, black sedan, green grass, blue car, white cap, red man, black man, white shirts"
    facts = [trained_lexicon().of(word) for word in words.split(", ")]
    cars = ColoredWords((0, 3, 5), (COLORS.index("red"), COLORS.index("black"), COLORS.index("blue")))
    assert colored_words(facts) == (cars,)
    assert colored_words(facts[1:3]) == ()


def drawn() -> tuple[np.ndarray, np.ndarray]:
    """Maps of two words for cars, road, and a third one for cars, and the colors: a red and a blue car, one wrong."""
    maps = np.zeros((4, 6, 8), np.float32)
    maps[2] = 1
    maps[0, 1:3, 1:4], maps[1, 1:3, 1:4], maps[0, 1, 1] = 3, 2, 5
    maps[1, 4:6, 5:8], maps[0, 4:6, 5:8] = 4, 3
    names = np.full((12, 16), COLORS.index("gray"), np.int32)
    names[2:6, 2:8], names[8:12, 10:16] = COLORS.index("blue"), COLORS.index("red")
    return maps, names


def test_a_region_gets_the_word_of_its_color_and_nothing_else_changes() -> None:
    maps, names = drawn()
    cars = ColoredWords((0, 1, 3), tuple(map(COLORS.index, ("red", "blue", "green"))))
    found = with_colors(maps, np.arange(4), [cars], names, 4)
    expected = np.full((6, 8), 2)
    expected[1:3, 1:4], expected[4:6, 5:8] = 1, 0
    assert np.array_equal(found.argmax(0), expected)
    assert np.array_equal(found.max(0), maps.max(0)), "the label is as likely as before"
    assert np.array_equal(np.sort(found, axis=0), np.sort(maps, axis=0))


def test_pixels_that_an_unasked_word_wins_do_not_count() -> None:
    cars = ColoredWords((0, 1), (COLORS.index("gray"), COLORS.index("blue")))
    maps, names = np.zeros((3, 24, 32), np.float32), np.full((48, 64), COLORS.index("gray"), np.int32)
    maps[0], names[16:32, 16:32] = 3, COLORS.index("blue")
    assert with_colors(maps, np.arange(3), [cars], names, 2)[:, 8, 8].argmax() == 0
    maps[2], maps[2, 8:16, 8:16] = 4, 0
    assert (with_colors(maps, np.arange(3), [cars], names, 2)[:, 8:16, 8:16].argmax(0) == 1).all()


def test_things_of_two_colors_may_touch_and_have_small_parts_of_others() -> None:
    cars = ColoredWords((0, 1, 2), tuple(map(COLORS.index, ("white", "red", "black"))))
    maps, names = np.zeros((3, 24, 32), np.float32), np.full((24, 32), COLORS.index("white"), np.int32)
    maps[2], names[:, 16:], names[10:13, 6:9] = 1, COLORS.index("red"), COLORS.index("black")
    found = with_colors(maps, np.arange(3), [cars], names, 3).argmax(0)
    assert (found[:, :13] == 0).all() and (found[:, 16:] == 1).all()


def test_a_color_that_no_pixel_has_and_a_word_that_was_dropped_change_nothing() -> None:
    maps, names = drawn()
    neither = ColoredWords((0, 1), (COLORS.index("pink"), COLORS.index("green")))
    assert np.array_equal(with_colors(maps, np.arange(4), [neither], names, 4), maps)
    cars = ColoredWords((0, 1, 4), tuple(map(COLORS.index, ("green", "pink", "blue"))))
    names[8:12, 10:16] = COLORS.index("blue")
    assert np.array_equal(with_colors(maps, np.array([0, 1, 2, 5]), [cars], names, 5), maps)


@functools.cache
def painted(color: tuple[int, int, int]) -> np.ndarray:
    """A photograph of a cup, painted."""
    photo = np.asarray(Image.open(PHOTO).convert("RGB")).astype(np.float32)
    cup = TINY.segment(PHOTO, "cup, table").labels == 0
    photo[cup] = (photo.mean(axis=2, keepdims=True) / 255 * np.array(color) * 1.2)[cup]
    return photo.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("tile", [None, 512])
def test_a_cup_is_the_one_of_its_color(tile: int | None) -> None:
    words = "red cup, blue cup, green cup, white cup, table"
    colors = [(230, 30, 30), (40, 70, 230), (40, 180, 60), (255, 255, 255)]
    for number, color in enumerate(colors[: 2 if tile else 4]):
        counts = np.bincount(TINY.segment(painted(color), words, tile=tile).labels.ravel())
        assert max(range(4), key=lambda cup: counts[cup]) == number


@pytest.mark.parametrize(("words", "least"), [("red cup, table", 16), ("red cup, blue cup, " + MANY, 31)])
def test_no_word_is_dropped_where_colors_decide(words: str, least: int) -> None:
    selection = TINY.job(words, LabelOptions()).protocol.selection
    assert selection is not None and selection.least == least


def test_taught_words_and_other_networks_know_colors_by_themselves() -> None:
    decision = TINY.traits.decision
    call: dict[str, Any] = {"window": "auto", "is_single_word": False}
    assert Rules.of(decision, None, None, **call).decision.compares_colors
    assert not Rules.of(decision, None, None, **call, is_taught=True).decision.compares_colors
    assert not Decision().compares_colors
    assert not decision.of_other_weights().compares_colors
