"""Videos on the page: their frames are added, and a draft says which frame it takes over from."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from annotate.tests.drawn_video import drawn_video
from annotate.tests.web.conftest import OpenTab
from annotate.tests.web.site import Site
from annotate.tests.web.test_shared_project import KilledService
from segvoc_annotate.projects.folder import ProjectFolder
from segvoc_annotate.projects.project import Project


@pytest.fixture
def site(tmp_path: Path, open_tab: OpenTab) -> Iterator[Site]:
    """An empty project on a service of its own, whose model a second process can open."""
    Project.create(tmp_path / "street", words=["blue disk", "red disk", "stripes"]).close()
    service = KilledService(tmp_path / "street")
    service.start()
    yield open_tab(service.address)
    service.kill()


def test_frames_are_added_and_take_over_from_one_that_is_done(site: Site, tmp_path: Path) -> None:
    site.open()
    site.tab.get_by_label("Choose images").set_input_files(drawn_video(tmp_path / "clip.mp4"))
    dialog = site.tab.get_by_role("dialog", name="Add frames of “clip.mp4”")
    dialog.get_by_label("Distance of the frames").fill("2")
    dialog.get_by_role("button", name="Add them").click()
    site.is_open("clip/frame_000000.jpg")
    site.done()
    assert site.tab.locator(".strip .caption").all_inner_texts() == ["0:00.0", "0:00.2"]
    site.paint_line("stripes", 0.2)
    site.stage_key("n")
    site.is_open("clip/frame_000002.jpg")
    site.shows("A draft: words and objects are taken over from another frame (0:00.0), which is done")
    site.all_saved()
    (first, second) = ProjectFolder(tmp_path / "street").states()[0]
    assert first.done and first.id in (second.answers or "")
    # the first stroke makes the frame its own
    site.paint_line("red disk", 0.8)
    site.tab.get_by_text("A draft: words and objects").wait_for(state="detached")
    assert site.complaints == []
