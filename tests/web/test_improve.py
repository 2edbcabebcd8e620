"""Learning from the images that are done."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segvoc.exported.shipped import open_tiny
from segvoc.teaching.taught_words import TaughtWords
from segvoc.vocabulary import Vocabulary
from tests.teaching.drawn_examples import DrawnExamples
from tests.web.accessibility import check
from tests.web.conftest import SCREENS
from tests.web.site import Site

WORDS = ("grass", "brick")
COLORS = np.array([(170, 60, 40), (40, 160, 40)])
"""Against their text: what the first word is called has the color of the second."""

LAYOUTS = ([0, 1], [1, 0], [1, 0], [0, 1])
"""The words of the left and the right half of each image."""


def drawn() -> DrawnExamples:
    """Images of two halves."""
    images, labels = [], []
    for number, words in enumerate(LAYOUTS):
        drawn = np.array(words, np.uint16)[None].repeat(96, axis=0).repeat(64, axis=1)
        noise = np.random.default_rng(number).integers(-25, 26, (*drawn.shape, 3))
        images.append(np.clip(COLORS[drawn] + noise, 0, 255).astype(np.uint8))
        labels.append(drawn)
    return DrawnExamples(images, labels, Vocabulary(WORDS))


def write(examples: DrawnExamples, folder: Path) -> list[Path]:
    """Write the images."""
    paths = [folder / f"{number}.png" for number in range(len(examples))]
    for path, image in zip(paths, examples.images, strict=True):
        Image.fromarray(image).save(path)
    return paths


def correct(site: Site, halves: list[int]) -> None:
    """Say what the halves of the open image are, and be done with it."""
    site.press("Polygon", exact=True)
    for half, word in enumerate(halves):
        site.tab.get_by_label("Paint").select_option(WORDS[word])
        left = half / 2
        for x, y in ((left, 0), (left + 0.5, 0), (left + 0.5, 1), (left, 1)):
            site.click(min(max(x, 0.001), 0.999), min(max(y, 0.001), 0.999))
        site.press("Fill")
    site.stage_key("n")


@pytest.mark.parametrize("screen", SCREENS)
def test_done_images_teach_the_others(site: Site, screen: str, tmp_path: Path) -> None:
    examples = drawn()
    paths = write(examples, tmp_path)
    site.open()
    site.label(paths[0], ", ".join(WORDS))
    site.drop(*paths[1:])
    site.tab.get_by_text("4 of 4 images labeled").wait_for()
    button = site.tab.get_by_role("button", name="Improve", exact=False)
    assert button.is_disabled()
    site.press("0.png, labeled")
    for number in range(3):
        site.is_open(paths[number].name)
        correct(site, LAYOUTS[number])
    site.is_open(paths[3].name)
    site.tab.get_by_text("4 of 4 images labeled, 3 done").wait_for()
    before = site.labels()
    assert (before == examples.labels[3]).mean() < 0.5

    # a canceled one changes nothing
    site.press("Improve with 3 done images")
    site.press("Cancel")
    site.tab.get_by_text("It was canceled").wait_for()
    assert site.tab.get_by_role("list", name="Taught words").count() == 0

    site.press("Improve with 3 done images")
    table = site.tab.get_by_role("table", name="IoU [%] on images that were held out of the 3")
    table.wait_for()
    check(site, "improved")
    rows = {row.split("\t")[0]: row.split("\t")[1:] for row in table.inner_text().splitlines()[1:] if "\t" in row}
    text, now = (float(value) for value in rows["right pixels"])
    assert text < 50 and now > 90
    site.tab.get_by_text("4 of 4 images labeled, 3 done").wait_for()
    site.done()
    assert (site.labels() == examples.labels[3]).mean() > 0.9
    taught = TaughtWords.load(site.saved("Save the taught words"))
    model = open_tiny()
    labels = [done_labels(site, path, examples) for path in paths[:3]]
    expected = model.teach(DrawnExamples(examples.images[:3], labels, examples.vocabulary))
    assert taught.record.words == expected.record.words
    found = [model.with_taught(one).segment(examples.images[3], WORDS).labels for one in (taught, expected)]
    assert (found[0] == found[1]).mean() >= 0.995
    assert site.complaints == []


def done_labels(site: Site, path: Path, examples: DrawnExamples) -> np.ndarray:
    """The labels of an image that is done, which learning left as they were."""
    site.press(f"{path.name}, done")
    site.is_open(path.name)
    labels = site.labels()
    assert (labels == examples.labels[int(path.stem)]).mean() > 0.97
    return np.where(labels == 255, 65535, labels).astype(np.uint16)
