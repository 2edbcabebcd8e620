"""Taught words in the page: those of the exported model, and files that the reader gives it."""

import functools
import http.server
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from annotate.tests.web.accessibility import AXE, check
from annotate.tests.web.conftest import opened
from annotate.tests.web.pages import PageFiles
from annotate.tests.web.site import SAMPLES, Site
from segvoc.exported.manifest import add_taught
from segvoc.exported.shipped import open_tiny
from segvoc.inference.segmenter import Segmenter
from segvoc.records import to_json
from segvoc.teaching.feature_pyramid import FeaturePyramid, pyramid_shapes
from segvoc.teaching.taught_words import TaughtWords, write_taught_file
from tests.teaching.drawn_examples import DrawnExamples, drawn_examples

WORDS = ["grass", "sky", "brick"]
MANY_WORDS = ["rocket", "tower", "cloud", "building", "tree", "road", "person", "car", "sky", "fence", "light", "sign"]
MANY_WORDS += "door window chair lamp bird boat plane train pole roof river bridge sand snow water grass".split()


@pytest.fixture(scope="module")
def tiny() -> Segmenter:
    return open_tiny()


@pytest.fixture(scope="module")
def taught(tiny: Segmenter) -> TaughtWords:
    return tiny.teach(drawn_examples(4))


@pytest.fixture(scope="module")
def swapped(tiny: Segmenter) -> TaughtWords:
    """The same words by examples in which their colors are swapped."""
    examples = drawn_examples(4)
    labels = [2 - one for one in examples.labels]
    return tiny.teach(DrawnExamples(examples.images, labels, examples.vocabulary), keep_worse=True)


@pytest.fixture(scope="module")
def tuned(taught: TaughtWords) -> TaughtWords:
    """Two words as fine-tuning gives them, with a network of random weights."""
    generator, channels, count = np.random.default_rng(0), 16, taught.record.channels
    shapes = pyramid_shapes(channels, count["appearance"], sum(count[name] for name in ("tap_0", "tap_1")))
    drawn = {name: generator.standard_normal(shape) / np.sqrt(np.prod(shape[1:])) for name, shape in shapes.items()}
    drawn |= {name: drawn[name] + 1 for name in drawn if name.endswith("norm")}
    words = tuple(replace(one, before=None, after=None) for one in taught.record.words if one.name != "brick")
    missing = dict.fromkeys(("penalty", "miou", "miou_before", "accuracy", "accuracy_before"))
    return replace(
        taught,
        record=replace(taught.record, words=words, pyramid_channels=channels, share=0.0, **missing),
        weights=generator.normal(0, 3, (2, channels)).astype(np.float16),
        bias=taught.bias[:2],
        toward=None,
        pyramid=FeaturePyramid(**{name: one.astype(np.float16) for name, one in drawn.items()}),
    )


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    """An image that no word was taught by."""
    path = tmp_path / "drawn.png"
    Image.fromarray(drawn_examples(6).images[5]).resize((256, 320)).save(path)
    return path


@pytest.fixture
def taught_site(browser: Any, page_folder: Path, taught: TaughtWords, tmp_path: Path) -> Iterator[Site]:
    """A page of `tiny` that was exported with taught words."""
    folder = Path(shutil.copytree(page_folder, tmp_path / "site"))
    add_taught(folder / "model", [taught])
    handler = functools.partial(PageFiles, directory=str(folder))
    with opened(browser, http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler), tmp_path, "desktop") as site:
        yield site


def give(site: Site, path: Path) -> None:
    """Choose a file of taught words."""
    site.tab.get_by_label("Add taught words").set_input_files(path)


def relabeled(site: Site, before: np.ndarray) -> np.ndarray:
    """The labels, once they are others than before."""
    for _ in range(200):
        site.done()
        found = site.labels()
        if not np.array_equal(found, before):
            return found
        site.tab.wait_for_timeout(100)
    raise AssertionError("the labels stay the same")


def test_an_exported_page_applies_its_words_by_itself(taught_site: Site, tiny, taught, drawn):
    site, better = taught_site, tiny.with_taught(taught)
    site.open()
    assert site.tab.get_by_role("list", name="Taught words").inner_text().split("\n") == [
        "grass, sky, brick",
        "3 words",
    ]
    site.tab.context.set_offline(True)
    site.label(drawn, ", ".join(WORDS))
    found = site.labels()
    assert (found == better.segment(drawn, WORDS).labels).mean() >= 0.999
    assert (found == tiny.segment(drawn, WORDS).labels).mean() < 0.9
    site.type("cat, wall")  # which weren't taught
    found = relabeled(site, found)
    assert (found == better.segment(drawn, [*WORDS, "cat", "wall"]).labels).mean() >= 0.999
    # words that would be dropped stay
    image = SAMPLES / "rocket.jpg"
    site.press("Remove all words")
    site.press(f"Remove {drawn.name}")
    site.label(image, ", ".join(MANY_WORDS))
    expected = better.segment(image, MANY_WORDS)
    assert expected.selected.all() and not tiny.segment(image, MANY_WORDS).selected.all()
    assert (site.labels_of(MANY_WORDS) == expected.labels).mean() >= 0.999
    assert site.complaints == []


def test_files_are_given_kept_and_removed(site: Site, tiny, taught, swapped, drawn, tmp_path):
    files = tmp_path / "a.words.safetensors", tmp_path / "b.words.safetensors"
    taught.save(files[0])
    swapped.save(files[1])
    plain, one, both = (
        tiny.with_taught(*words).segment(drawn, WORDS).labels for words in ((), (taught,), (taught, swapped))
    )
    site.open()
    site.label(drawn, ", ".join(WORDS))
    found = site.labels()
    assert (found == plain).mean() >= 0.999
    give(site, files[0])
    found = relabeled(site, found)
    assert (found == one).mean() >= 0.999
    site.drop(files[1])
    found = relabeled(site, found)
    assert (found == both).mean() >= 0.999 > (one == both).mean()

    site.tab.reload()
    site.done()
    entries = site.tab.get_by_role("list", name="Taught words").get_by_role("listitem")
    assert [text.split("\n")[0] for text in entries.all_inner_texts()] == [path.name for path in files]
    assert np.array_equal(site.labels(), found)
    site.press("Remove b.words.safetensors")
    found = relabeled(site, found)
    assert (found == one).mean() >= 0.999
    site.press("Remove a.words.safetensors")
    assert (relabeled(site, found) == plain).mean() >= 0.999
    assert site.complaints == []


@pytest.mark.slow
def test_regions_and_networks_on_features_give_the_labels_of_python(site: Site, tiny, taught, tuned, drawn, tmp_path):
    assert taught.record.share > 0
    regions = replace(taught, weights=np.zeros_like(taught.weights), bias=np.zeros_like(taught.bias))
    site.open()
    site.label(drawn, ", ".join(WORDS))
    found, known = site.labels(), list[TaughtWords]()
    for name, file in (("regions", regions), ("tuned", tuned)):
        before = tiny.with_taught(*known).segment(drawn, WORDS).labels
        known.append(file)
        file.save(tmp_path / f"{name}.words.safetensors")
        give(site, tmp_path / f"{name}.words.safetensors")
        found = relabeled(site, found)
        labels = tiny.with_taught(*known).segment(drawn, WORDS).labels
        assert (found == labels).mean() >= 0.999 > (before == labels).mean()
    if AXE.is_file():
        check(site, "taught")
    card = site.tab.get_by_role("region", name="Words", exact=True)
    assert card.evaluate("card => card.scrollWidth <= card.clientWidth")
    site.type("cat, wall")  # which weren't taught
    found = relabeled(site, found)
    assert (found == tiny.with_taught(*known).segment(drawn, [*WORDS, "cat", "wall"]).labels).mean() >= 0.999
    assert site.complaints == []


def test_files_that_the_page_cannot_apply_are_refused(site: Site, taught, tmp_path):
    names = ("newer.words.safetensors", "theirs.words.safetensors", "photograph.safetensors")
    newer, theirs, photograph = (tmp_path / name for name in names)
    write_taught_file(newer, to_json(taught.record) | {"depth": 2}, taught.arrays())
    replace(taught, record=replace(taught.record, model="theirs"), probe=1.2 * taught.probe).save(theirs)
    shutil.copy(SAMPLES / "coffee.jpg", photograph)
    site.open()
    alert = site.tab.get_by_role("alert")
    for path, message in (
        (newer, "“depth”, which this page can't apply"),
        (theirs, "taught to “theirs”, and the “tiny” of this page has other weights"),
        (photograph, "“photograph.safetensors” is no file of taught words"),
    ):
        give(site, path)
        alert.filter(has_text=message).wait_for()
    assert site.tab.get_by_role("list", name="Taught words").count() == 0


def test_a_service_lists_its_words_and_takes_no_files(served: Site, service, tmp_path, taught):
    service.taught = list(taught.words)
    served.open()
    served.tab.get_by_text("grass, sky, brick").wait_for()
    assert served.tab.get_by_label("Add taught words").count() == 0
    path = tmp_path / "a.words.safetensors"
    taught.save(path)
    served.drop(path)
    served.tab.get_by_role("alert").filter(has_text="segvoc serve --taught").wait_for()
