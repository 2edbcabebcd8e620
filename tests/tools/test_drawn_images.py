"""Held-out photographs are drawn by a seed alone, measured, and shown as maps without the photographs."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segvoc.errors import UsageError
from segvoc.imaging.label_maps import UNLABELED
from segvoc.imaging.palette import class_colors
from tools.tiny.drawn_images import (
    BACKGROUND_COLOR,
    GAP,
    WIDTH,
    WordScore,
    data_set_at,
    draw_by_seed,
    draw_maps,
    find_photograph,
    measured,
    read_held_out,
)

HELD_OUT = [("voc", f"{n}.jpg") for n in range(50)] + [("pantry", f"{n}.jpg") for n in range(10)] + [("lvis", "0.jpg")]
WORDS = ("background", "cat", "sofa")


def maps(truth: list[list[int]], prediction: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array(truth, np.uint16), np.array(prediction, np.uint16)


def test_the_seed_alone_decides_what_is_drawn():
    drawn = draw_by_seed(HELD_OUT, 12, seed=1)
    assert draw_by_seed([*reversed(HELD_OUT), HELD_OUT[0]], 12, seed=1) == drawn
    assert draw_by_seed(HELD_OUT, 12, seed=2) != drawn
    assert len(set(drawn)) == 12


def test_data_sets_take_turns_while_they_have_photographs():
    drawn = draw_by_seed(HELD_OUT, 12, seed=1)
    assert sorted(name for name, _ in drawn[:3]) == ["lvis", "pantry", "voc"]
    counts = Counter(name for name, _ in drawn)
    assert counts["lvis"] == 1
    assert abs(counts["voc"] - counts["pantry"]) <= 1
    assert set(draw_by_seed(HELD_OUT, len(HELD_OUT), seed=1)) == set(HELD_OUT)


def test_more_than_there_are_cannot_be_drawn():
    with pytest.raises(UsageError, match="62 photographs can't be drawn from 61"):
        draw_by_seed(HELD_OUT, 62, seed=0)


@pytest.mark.parametrize("text", ["", "{}", "[]", '["voc"]', '[["voc"]]', '[["voc", 1]]', '[["voc", "1.jpg", "x"]]'])
def test_any_other_list_is_refused(tmp_path: Path, text: str):
    path = tmp_path / "fold.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"fold\.json"):
        read_held_out(path)


def test_only_labeled_pixels_are_measured():
    truth, prediction = maps([[1, 1, 2, UNLABELED], [0, 0, 0, 0]], [[1, 2, 2, 1], [0, 0, 0, 1]])
    counts, scores = measured(truth, prediction, WORDS, "background")
    assert counts["pixel_accuracy"] == round(100 * 5 / 7, 1)
    assert (counts["background_pixels"], counts["background_found"]) == (4, 3)
    assert (counts["word_pixels"], counts["word_pixels_lost"]) == (3, 0)
    assert scores == (WordScore(word="cat", fraction=0.25, iou=33.3), WordScore(word="sofa", fraction=0.125, iou=50.0))


def test_an_image_without_labels_has_figures_too():
    truth, prediction = maps([[UNLABELED]], [[1]])
    assert measured(truth, prediction, WORDS, None) == (
        {"pixel_accuracy": 0.0, "background_pixels": 0, "background_found": 0, "word_pixels": 0, "word_pixels_lost": 0},
        (),
    )


def test_maps_lie_side_by_side_in_the_same_colors():
    truth, prediction = maps([[0, 2]] * 2, [[2, 2]] * 2)
    image = draw_maps(truth, prediction, WORDS, "background")
    assert image.width == 2 * WIDTH + GAP
    pixels, sofa = np.asarray(image), tuple(class_colors(1)[0].tolist())
    row = 60
    assert tuple(pixels[row, WIDTH // 4].tolist()) == BACKGROUND_COLOR
    assert tuple(pixels[row, 3 * WIDTH // 4].tolist()) == sofa
    assert tuple(pixels[row, WIDTH + GAP + WIDTH // 4].tolist()) == sofa


def test_a_photograph_is_found_by_its_file_name(tmp_path: Path):
    for folder in ("images", "labels"):
        (tmp_path / "set" / folder).mkdir(parents=True)
        Image.new("L", (4, 4)).save(tmp_path / "set" / folder / "a.png")
    for words, background in ((["cat"], None), (["cat", "background"], "background")):
        (tmp_path / "set" / "classes.json").write_text(json.dumps(words))
        assert data_set_at(tmp_path, "set").background == background
    images = data_set_at(tmp_path, "set")
    assert find_photograph(images, "a.png").stem == "a"
    with pytest.raises(UsageError, match=r"'b\.png' is not among the 1 photographs"):
        find_photograph(images, "b.png")
