"""An image that the browser doesn't decode: tiles of the service, clicks, strokes that send the rows they changed."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from annotate.tests.web.conftest import OpenTab
from annotate.tests.web.site import SAMPLES, has_line
from segvoc_annotate.projects.folder import ProjectFolder
from segvoc_annotate.projects.project import Project

WIDTH, HEIGHT = 5100, 3400


@pytest.fixture
def street(tmp_path: Path) -> Path:
    folder = tmp_path / "street"
    (folder / "images").mkdir(parents=True)
    with Image.open(SAMPLES / "coffee.jpg") as image:
        image.resize((WIDTH, HEIGHT)).save(folder / "images/coffee.jpg", quality=90)
    Project.create(folder).close()
    return folder


@pytest.mark.slow
def test_a_large_image_is_shown_labeled_clicked_painted_and_saved(open_tab: OpenTab, address: str, street: Path):
    site = open_tab(address)
    site.tab.goto(address)
    site.type("cup, table, spoon")
    site.done()
    site.all_saved()
    assert any("/v1/project/tiles/" in request and "level=" in request for request in site.requests)
    assert not any("/v1/project/images/" in request for request in site.requests)
    shown = site.image_once()
    assert shown.reshape(-1, 3).std(axis=0).min() > 20

    def stored() -> tuple[np.ndarray, np.ndarray]:
        work = ProjectFolder(street).work("coffee.jpg")[1]
        assert work.corrections is not None and work.draft is not None
        assert work.labels.shape == (HEIGHT, WIDTH) and work.draft.size <= 16e6
        return work.labels, work.corrections

    before, corrections = stored()
    assert not corrections.any()
    count = len(site.requests)
    site.paint_line("spoon", 0.3)
    site.all_saved()
    assert any("&draft=kept&rows=" in request for request in site.requests[count:])
    after, corrections = stored()
    assert has_line(after, 0.3, 2) and (after[corrections == 0] == before[corrections == 0]).all()
    assert 0 < (corrections > 0).mean() < 0.1
    site.press("Click an object")
    site.click(0.4, 0.5)
    site.tab.locator(".options button:enabled", has_text="Give the word").wait_for()
    site.press("Give the word")
    site.all_saved()
    clicked, corrections = stored()
    assert (corrections > 0).mean() > 0.01
    for _ in range(2):
        site.tab.keyboard.press("Control+z")
    site.all_saved()
    assert (stored()[0] == before).all()
    site.tab.keyboard.press("Control+y")
    site.all_saved()
    site.tab.reload()
    site.done()
    assert (site.labels() == np.minimum(after, 255)).all()
    site.press("Done", exact=True)
    site.all_saved()
    state = ProjectFolder(street).work("coffee.jpg")[0]
    assert state.done and sum(state.pixels.values()) + state.unlabeled == WIDTH * HEIGHT
    assert clicked.shape == after.shape and not site.complaints
