"""The page of what tiny can and can't do: every figure comes from the record, the drawn images or the benchmark."""

from pathlib import Path

import pytest

from segvoc.errors import UsageError
from tools.make_tiny_page import Sources, check_outside, check_size, page, region_sizes, wrapped
from tools.tiny.drawn_images import DrawnImage, WordScore, as_json


def score(miou: float, accuracy: float) -> dict[str, object]:
    return {"miou": miou, "miou_error": 0.5, "pixel_accuracy": accuracy, "pixel_accuracy_error": 0.25}


def image(number: int, data_set: str, accuracy: float, words: dict[str, tuple[float, float]]) -> DrawnImage:
    return DrawnImage(
        image=f"{number:02}.png",
        data_set=data_set,
        file=f"{number}.jpg",
        pixel_accuracy=accuracy,
        words=tuple(WordScore(word=word, fraction=fraction, iou=iou) for word, (fraction, iou) in words.items()),
        background_pixels=100 if data_set == "voc" else 0,
        background_found=75,
        word_pixels=50,
        word_pixels_lost=20,
    )


IMAGES = [
    image(1, "voc", 91, {"cat": (0.4, 70.0), "sofa": (0.1, 50.0)}),
    image(2, "pantry", 42, {"oil": (0.019, 0.0)}),
    image(3, "voc", 12, {}),
]
ROW = {"runs": 5, "standard_error": 0.26}
FINE_TUNING = [
    {"photographs": 0, "score": "mIoU, within the parts", "against": 1.0, "shipped": 1.44, "difference": 0.44, **ROW},
    {"photographs": 20, "score": "mIoU, all pixels", "against": 20.0, "shipped": 21.5, "difference": 1.5, **ROW},
    {"photographs": 20, "score": "pixel accuracy, all pixels", "against": 9, "shipped": 9, "difference": 0.0, **ROW},
]


@pytest.fixture
def sources() -> Sources:
    record = {
        "bytes": {"a": 30_000_000, "b": 4_600_000},
        "origin": {"photographs": {"voc": "571 photographs of somewhere"}},
        "scores": {
            "protocol": "cross-validation of five folds",
            "held_out": {
                "pantry": score(11.25, 28.9) | {"before": score(3.8, 12.4), "difference": score(7.45, 16.5)},
                "voc": score(61.7, 81.2) | {"before": score(62.0, 71.6), "difference": score(-0.3, 9.6)},
                "other": score(20.0, 30.0),
            },
            "unseen_words": {"20 words of voc": score(24.1, 26.4) | {"difference": score(-1.1, 0.0)}},
        },
    }
    sets = {"voc": {"words": 20, "held_out": 100}, "pantry": {"words": 110, "held_out": 1900}}
    drawn = {"seed": 7, "weights": "ab", "held_out": 2000, "data_sets": sets, "images": as_json(IMAGES)}
    return Sources(record=record, drawn=drawn, fine_tuning=FINE_TUNING)


def text_of(sources: Sources) -> str:
    return "\n".join(page(sources))


def test_scores_are_listed_best_first_beside_those_of_before(sources: Sources):
    lines = page(sources)
    start = next(number for number, line in enumerate(lines) if line.startswith("| data set"))
    assert lines[start] == "| data set | what it shows | words | mIoU | before | pixel accuracy | before |"
    rows = lines[start + 2 : start + 5]
    assert [row.split("`")[1] for row in rows] == ["voc", "other", "pantry"]
    assert rows[2].endswith("| 110 | 11.2 ± 0.5 | 3.8 ± 0.5 | 28.9 ± 0.2 | 12.4 ± 0.2 |")
    assert rows[1] == "| `other` |  |  | 20.0 ± 0.5 |  | 30.0 ± 0.2 |  |"
    now = "mIoU is now higher on pantry; about the same on voc (within two standard errors of the difference)."
    assert now in " ".join(lines[start + 6 : start + 9])
    assert "mIoU is now lower on 20 words of voc." in lines
    assert "| 20 words of voc | 24.1 ± 0.5 | 26.4 ± 0.2 |" in lines


def test_sentences_take_their_figures_from_the_sources(sources: Sources):
    text = " ".join(text_of(sources).split())
    assert "with 35 MB of weights" in text
    assert "Cross-validation of five folds. mIoU is" in text
    assert "best on `voc` (81 % of the pixels right) and `other` (30 % of the pixels right)" in text
    assert "cover at least 10 % of an image have a mean IoU of 60 % in the images below (2 words" in text
    assert (
        "cover less than 2 % of an image have a mean IoU of 0 % in the images below (1 words in all images, 1 of"
        in text
    )
    assert "mIoU is 11 % on `pantry` (110 words)." in text
    assert "finds 75 % of the background of the 2 images below that have any, and takes 40 % of their other" in text
    assert "Of the parts of cars, which it hasn't learned, mIoU is 1.4 %" in text
    assert "A seed (7) drew them from 2,000 photographs" in text
    assert "42 % in the median image, 12 % in the worst and 91 % in the best" in text
    assert "- `voc`: 571 photographs of somewhere" in text


def test_each_image_is_shown_with_its_figures(sources: Sources):
    lines = page(sources)
    assert "![Label maps of voc, 1.jpg: truth and prediction](../images/tiny/01.png)" in lines
    assert "`voc`, 20 words: pixel accuracy 91 %. IoU: cat 70, sofa 50." in lines
    assert "`voc`, 20 words: pixel accuracy 12 %. None of the words is in it." in lines


def test_fine_tuning_is_told_only_if_it_was_measured(sources: Sources):
    assert "| 20 | mIoU, all pixels | 20.0 | 21.5 | +1.5 ± 0.3 |" in page(sources)
    assert not any("pixel accuracy, all pixels" in line for line in page(sources))
    without = text_of(Sources(record=sources.record, drawn=sources.drawn))
    assert "parts of cars" not in without
    assert "Expect little of other parts" in without


def test_a_record_without_scores_of_before_has_no_such_columns(sources: Sources):
    for entry in sources.record["scores"]["held_out"].values():
        entry.pop("before", None)
        entry.pop("difference", None)
    assert "| data set | what it shows | words | mIoU | pixel accuracy |" in page(sources)
    assert "*Before*" not in text_of(sources)


@pytest.mark.parametrize("missing", ["held_out", "unseen_words"])
def test_a_record_of_another_shape_is_refused(sources: Sources, missing: str):
    del sources.record["scores"][missing]
    with pytest.raises(UsageError, match=f"no scores under '{missing}'; make the weights again"):
        page(sources)


def test_words_are_grouped_by_the_area_that_they_cover():
    small, middle, large = region_sizes(IMAGES)
    assert [[word.word for word in group] for group in (small, middle, large)] == [["oil"], [], ["cat", "sofa"]]


def test_only_prose_is_wrapped():
    row = "| " + "x " * 100 + "|"
    text = f"# {'word ' * 40}\n\n{row}\n\n{'word ' * 40}\n\n- {'item ' * 40}\n- short"
    lines = wrapped(text).splitlines()
    assert row in lines
    assert lines[-1] == "- short"
    assert all(len(line) <= 120 for line in lines if line.startswith(("word", "-", " ")))
    assert any(line.startswith("  item") for line in lines)


def test_no_line_of_prose_is_longer_than_the_others(sources: Sources):
    assert [line for line in page(sources) if len(line) > 120 and not line.startswith(("|", "!"))] == []


def test_photographs_may_not_be_written_into_the_repository(tmp_path: Path):
    check_outside(tmp_path / "elsewhere", root=tmp_path / "repository")
    check_outside(tmp_path / "repository" / "build" / "x", root=tmp_path / "repository")
    with pytest.raises(UsageError, match="is in the repository, where no photograph may be"):
        check_outside(tmp_path / "repository" / "build" / ".." / "docs", root=tmp_path / "repository")


def test_maps_that_are_too_large_are_refused(tmp_path: Path):
    (tmp_path / "01.png").write_bytes(b"x" * 100)
    check_size(tmp_path, most=100)
    with pytest.raises(UsageError, match="draw fewer or smaller ones"):
        check_size(tmp_path, most=99)
