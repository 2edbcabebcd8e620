"""Learning from the images that are done."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from annotate.tests.web.conftest import SIZES
from annotate.tests.web.real_service import RealService
from annotate.tests.web.site import Site, check
from segvoc.vocabulary import Vocabulary
from segvoc_annotate.projects.folder import ProjectFolder
from segvoc_annotate.projects.project import Project
from segvoc_annotate.projects.work_files import LabelWork
from tests.inference.taught.drawn_examples import DrawnExamples

WORDS = ("grass", "brick")
COLORS = np.array([(170, 60, 40), (40, 160, 40)])
"""Against their text: what the first word is called has the color of the second."""

LAYOUTS = ([0, 1], [1, 0], [1, 0], [0, 1])
"""The words of the left and the right half of each image."""


def drawn() -> DrawnExamples:
    images, labels = [], []
    for number, words in enumerate(LAYOUTS):
        drawn = np.array(words, np.uint16)[None].repeat(96, axis=0).repeat(64, axis=1)
        noise = np.random.default_rng(number).integers(-25, 26, (*drawn.shape, 3))
        images.append(np.clip(COLORS[drawn] + noise, 0, 255).astype(np.uint8))
        labels.append(drawn)
    return DrawnExamples(images, labels, Vocabulary(WORDS))


def write(examples: DrawnExamples, folder: Path) -> list[Path]:
    paths = [folder / f"{number}.png" for number in range(len(examples))]
    for path, image in zip(paths, examples.images, strict=True):
        Image.fromarray(image).save(path)
    return paths


@pytest.fixture
def painted(tmp_path: Path, page_folder: Path) -> Iterator[RealService]:
    """A service whose project has three images that are done, and another; `page_folder` has files that it needs."""
    examples = drawn()
    project = Project.create(tmp_path / "halves", words=WORDS)
    for number, path in enumerate(write(examples, tmp_path)):
        project.add(path.name, path.read_bytes())
        if number < 3:
            state = project.write(path.name, LabelWork.of_labels(examples.labels[number]), expected=0)
            project.set_done(path.name, True, expected=state.revision)
    service = RealService(project.folder)
    project.close()
    service.start()
    yield service
    service.kill()


@pytest.mark.slow
@pytest.mark.parametrize("screen", SIZES)
def test_done_images_teach_the_service_and_everybody_on_it(
    browser: Any, painted: RealService, screen: str, tmp_path: Path
) -> None:
    examples, project = drawn(), ProjectFolder(painted.folder)
    done = {name: project.work_content(f"{name}.png") for name in range(3)}
    context = browser.new_context(**SIZES[screen], accept_downloads=True, reduced_motion="reduce")
    context.set_default_timeout(120_000)
    anna, ben = (Site(context.new_page(), painted.address, tmp_path) for _ in range(2))
    for site in (anna, ben):
        site.tab.goto(site.address)
        site.tab.get_by_text("4 of 4 images labeled, 3 done").wait_for()
    anna.press("Improve with 3 done images")
    anna.tab.get_by_role("table", name="IoU [%] on corrected images that were held out of the 3").wait_for()
    check(anna, "improved on the service")
    for site in (anna, ben):
        site.tab.get_by_title("grass, brick").wait_for()
        site.tab.get_by_text("4 of 4 images labeled, 3 done").wait_for()
        site.press("3.png, labeled")
        site.is_open("3.png")
        for _ in range(100):
            if (site.labels() == examples.labels[3]).mean() > 0.9:
                break
            site.tab.wait_for_timeout(200)
        assert (site.labels() == examples.labels[3]).mean() > 0.9
    assert {name: project.work_content(f"{name}.png") for name in range(3)} == done
    assert project.record.options.taught == ("taught/improved.words.safetensors",)
    # another change of the project keeps its taught words
    ben.type("sky")
    ben.tab.get_by_text("All changes are saved").wait_for()
    assert project.record.options.taught == ("taught/improved.words.safetensors",)
    context.close()
