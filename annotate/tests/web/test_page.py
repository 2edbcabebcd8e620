"""The page in a browser, beside the same model in Python; and axe-core's rules on its states, in light and dark."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from annotate.tests.web.conftest import SCREENS
from annotate.tests.web.site import AXE, SAMPLES, Site, check, in_python

WORDS = ["cat", "blanket", "wall", "dog", "sofa", "grass"]
MANY_WORDS = ["rocket", "sky", "tower", "cloud", *(f"{color} thing" for color in "red blue gray pink".split())]
MANY_WORDS += "tree person building road car grass water snow sand fence door window chair lamp bird boat".split()
MANY_WORDS += "plane train sign wire pole light roof mountain river bridge".split()


# Opening a page with the network inside of it takes seconds of CPU, so each test does several things in one.
# With threads it also labels in test_annotating.py.
@pytest.mark.parametrize("isolated", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["plain", "isolated"])
def test_a_dropped_image_gets_the_labels_of_python_with_the_network_cut(site: Site, isolated: bool):
    site.open()
    site.tab.context.set_offline(True)
    site.label(site.photos / "chelsea.jpg", ", ".join(WORDS))
    label_map = site.saved("Label map")
    assert label_map.name == "chelsea.png"
    result = in_python(site.photos / "chelsea.jpg", WORDS)
    assert (site.labels() == result.labels).mean() >= 0.999
    site.tab.mouse.move(*site.place(0.5, 0.5))
    word, share = site.reading().removesuffix(" %").rsplit(" ", 1)
    middle = result.height // 2, result.width // 2
    assert word == result.words[result.labels[middle]]
    assert abs(float(share) / 100 - result.confidence[middle]) < 0.02
    report = json.loads(site.saved("Shares").read_text(encoding="utf-8"))
    assert [entry["name"] for entry in report["classes"]] == WORDS
    counts = np.bincount(np.array(Image.open(label_map)).ravel(), minlength=len(WORDS))
    assert [entry["pixels"] for entry in report["classes"]] == counts.tolist()
    with Image.open(site.saved("Overlay")) as overlay:
        assert overlay.size == (report["width"], report["height"])
    assert site.tab.evaluate("crossOriginIsolated") == isolated
    # a single word leaves the rest of the image unlabeled
    site.press("Remove all words", exact=True)
    site.press("Remove chelsea.jpg")
    site.label(site.photos / "dogs.jpg", "dog")
    labels = in_python(site.photos / "dogs.jpg", ["dog"]).labels
    assert 0.05 < (labels == 0).mean() < 0.6
    assert (site.labels_of(["dog"]) == np.minimum(labels, 255)).mean() >= 0.999
    assert site.complaints == []
    assert all(request.startswith((site.address, "blob:", "data:")) for request in site.requests)


@pytest.mark.slow
def test_turned_transparent_and_upright_images_and_selected_words_get_the_labels_of_python(site: Site, tmp_path: Path):
    upright, turned, transparent = (tmp_path / name for name in ("upright.png", "turned.jpg", "transparent.png"))
    with Image.open(SAMPLES / "rocket.jpg") as image:
        # of upright images, Pillow takes the columns first unless it is told otherwise
        image.resize((210, 140)).transpose(Image.Transpose.ROTATE_90).save(upright)
    with Image.open(SAMPLES / "coffee.jpg") as photograph:
        image = photograph.resize((150, 100))
        exif = Image.Exif()
        exif[0x0112] = 6
        image.save(turned, exif=exif, quality=95)
        image.putalpha(Image.linear_gradient("L").resize(image.size))
        image.save(transparent)
    site.open()
    site.label(upright, ", ".join(MANY_WORDS))
    assert (site.labels_of(MANY_WORDS) == in_python(upright, MANY_WORDS).labels).mean() >= 0.999
    site.press("Remove all words")
    site.press("Remove upright.png")
    words = ["cup", "table", "spoon", "wall"]
    site.type(", ".join(words))
    for path in (turned, transparent):
        site.drop(path)
        site.tab.get_by_role("button", name=f"{path.name}, labeled").click()
        site.done()
        assert (site.labels_of(words) == in_python(path, words).labels).mean() >= 0.999


def test_a_page_without_its_model_says_so(site: Site):
    site.tab.route("**/words.onnx", lambda route: route.abort())
    site.tab.goto(site.address)
    site.tab.get_by_role("alert").wait_for()
    assert "words.onnx can't be reached" in site.tab.get_by_role("alert").inner_text()


@pytest.mark.skipif(not AXE.is_file(), reason="axe-core is missing: run 'npm ci' in annotate/web")
@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("colors", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_no_state_of_the_page_breaks_a_rule(served: Site, colors: str):
    served.tab.emulate_media(color_scheme=colors)
    served.open()
    check(served, "empty")
    served.drop(served.photos / "rocket.jpg")
    served.label(served.photos / "coffee.jpg", "cup = mug, table, spoon, dog")
    served.press("Brush")
    served.press("Hide table")
    served.tab.get_by_label("Pixels below it are background").check()
    served.press("Find images")
    check(served, "labeled")
    served.press("Give a region another word")
    served.click(0.02, 0.02)
    served.tab.get_by_role("dialog").wait_for()
    check(served, "region")
    served.tab.keyboard.press("Escape")
    served.press("Polygon", exact=True)
    for button in ("cup", "Export", "Help", "Progress", "Clear all"):
        served.tab.get_by_role("button", name=re.compile(f"^{button}")).first.click()
        served.tab.get_by_role("dialog").wait_for()
        check(served, button)
        served.tab.keyboard.press("Escape")
        served.tab.get_by_role("dialog").wait_for(state="detached")
    served.type("cup")
    served.drop(Path(__file__))
    check(served, "errors")
