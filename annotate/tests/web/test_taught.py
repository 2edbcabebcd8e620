"""Taught words in the page: those of the exported model, and files that the reader gives it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from annotate.tests.web.conftest import OpenTab, serving_files
from annotate.tests.web.fake_service import tiny
from annotate.tests.web.site import Site
from segvoc.inference.exported.manifest import add_taught
from segvoc.inference.taught.taught_words import TaughtWords
from tests.inference.taught.drawn_examples import drawn_examples

WORDS = ["grass", "sky", "brick"]
MANY_WORDS = "rocket tower cloud building tree road person car sky fence light sign door window chair lamp".split()
MANY_WORDS += ["bird", "boat", "plane", "grass"]


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    """An image that no word was taught by."""
    path = tmp_path / "drawn.png"
    Image.fromarray(drawn_examples(6).images[5]).resize((128, 160)).save(path)
    return path


@pytest.fixture
def taught_site(open_tab: OpenTab, page_folder: Path, taught: TaughtWords, tmp_path: Path) -> Iterator[Site]:
    folder = Path(shutil.copytree(page_folder, tmp_path / "site"))
    add_taught(folder / "model", [taught])
    with serving_files(folder) as address:
        yield open_tab(address)


def give(site: Site, path: Path) -> None:
    site.tab.get_by_label("Add taught words").set_input_files(path)


def relabeled(site: Site, before: np.ndarray) -> np.ndarray:
    site.done()
    return site.labels_once(lambda labels: not np.array_equal(labels, before))


def test_an_exported_page_applies_its_words_by_itself(taught_site: Site, taught, drawn):
    site, better = taught_site, tiny().with_taught(taught)
    site.open()
    site.tab.context.set_offline(True)
    # it starts with its words
    site.drop(drawn)
    site.done()
    found = site.labels()
    assert (found == better.segment(drawn, WORDS).labels).mean() >= 0.999
    assert (found == tiny().segment(drawn, WORDS).labels).mean() < 0.9
    # a click on their row brings them back, and others weren't taught
    site.press("Remove all words")
    site.tab.get_by_role("list", name="Taught words").get_by_role("button").click()
    site.type("cat, wall")
    found = relabeled(site, found)
    assert (found == better.segment(drawn, [*WORDS, "cat", "wall"]).labels).mean() >= 0.999
    # words that would be dropped stay
    image = site.photos / "rocket.jpg"
    site.press("Remove all words", exact=True)
    site.press(f"Remove {drawn.name}")
    site.label(image, ", ".join(MANY_WORDS))
    expected = better.segment(image, MANY_WORDS)
    assert expected.selected.all() and not tiny().segment(image, MANY_WORDS).selected.all()
    assert (site.labels_of(MANY_WORDS) == expected.labels).mean() >= 0.999
    assert site.complaints == []


def test_files_are_given_kept_and_removed(site: Site, taught, drawn, tmp_path):
    path = tmp_path / "a.words.safetensors"
    taught.save(path)
    models = (tiny(), tiny().with_taught(taught))
    plain, better = (np.minimum(one.segment(drawn, WORDS).labels, 255) for one in models)  # 255: no word, in a file
    site.open()
    give(site, path)
    site.tab.get_by_role("button", name="Remove a.words.safetensors").wait_for()
    site.tab.reload()
    site.shows("The model is ready")
    site.label(drawn, ", ".join(WORDS))
    found = site.labels()
    assert (found == better).mean() >= 0.999
    site.press("Remove a.words.safetensors")
    assert (relabeled(site, found) == plain).mean() >= 0.999
    shutil.copy(site.photos / "coffee.jpg", tmp_path / "photograph.safetensors")
    give(site, tmp_path / "photograph.safetensors")
    site.tab.get_by_role("alert").filter(has_text="is no file of taught words").wait_for()


def test_a_service_lists_its_words_and_takes_no_files(served: Site, service, tmp_path, taught):
    service.taught = list(taught.words)
    served.open()
    served.shows("grass, sky, brick")
    assert served.tab.get_by_label("Add taught words").count() == 0
    path = tmp_path / "a.words.safetensors"
    taught.save(path)
    served.drop(path)
    served.tab.get_by_role("alert").filter(has_text="segvoc serve --taught").wait_for()
