"""The page as it is deployed: behind nginx with the site of deploy/, by TLS and with API keys."""

import base64
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from annotate.tests.services import listening
from annotate.tests.web.conftest import OpenTab
from annotate.tests.web.fake_service import tiny
from annotate.tests.web.site import Site, has_line
from annotate.tests.web.test_shared_project import new_project
from benchmarks.service import behind_nginx
from segvoc_annotate.projects.folder import ProjectFolder
from segvoc_annotate.settings import WEB
from tests.serving.services import png

KEYS = {name: name[0] * 24 for name in ("anna", "ben")}

_UPLOAD = """async ([key, image, sizes]) => {
    const form = new FormData(), drawn = Uint8Array.from(atob(image), (one) => one.charCodeAt(0));
    for (const size of sizes)
        form.append("image", new Blob([drawn, new Uint8Array(size)]), `${size}.png`);
    const headers = { Authorization: `Bearer ${key}` };
    const answer = await fetch("v1/project/images", { method: "POST", headers, body: form });
    return [answer.status, await answer.json()];
}"""
"""Sends images that have few pixels and many bytes, which is cheap for whoever reads them."""


@pytest.fixture
def street(tmp_path: Path, photos: Path) -> Path:
    return new_project(tmp_path / "street", photos)


@pytest.fixture
def address(street: Path, tmp_path: Path) -> Iterator[str]:
    if shutil.which("nginx") is None:
        pytest.skip("there is no nginx: install Debian's package nginx")
    keys = tmp_path / "keys"
    keys.write_text("".join(f"{name}: {key}\n" for name, key in KEYS.items()), encoding="utf-8")
    with (
        listening(tiny(), page=WEB, project=street, api_key_file=keys) as port,
        behind_nginx(f"http://127.0.0.1:{port}", tls=True) as front,
    ):
        yield f"{front}/"


def test_two_people_open_paint_upload_and_export_through_the_proxy(open_tab: OpenTab, address: str, street: Path):
    def signed_in(name: str) -> Site:
        site = open_tab(address)
        site.tab.goto(address)
        site.tab.get_by_label("API key of the service").fill(KEYS[name])
        site.press("Use it")
        site.tab.locator(".strip .thumbnail").first.wait_for()
        site.complaints.clear()  # that the page was refused without a key
        return site

    anna = signed_in("anna")
    anna.type("cup, table")
    anna.done()
    ben = signed_in("ben")
    ben.done()
    anna.paint_line("table", 0.3)
    anna.all_saved()
    ben.shows_line(0.3, 1)
    project = ProjectFolder(street)
    assert has_line(project.work("coffee.jpg")[1].labels, 0.3, 1)
    assert project.state(project.image("coffee.jpg")).by == "anna"
    # in one request: more than other addresses take, and an image of it has more bytes than the service takes
    image = base64.b64encode(png(np.full((16, 16, 3), 90, np.uint8))).decode()
    status, answer = anna.tab.evaluate(_UPLOAD, [KEYS["anna"], image, [8_500_000, 21_000_000]])
    (added,), (problem,) = answer["added"], answer["problems"]
    assert (status, added["image"]) == (200, "8500000.png") and problem.startswith("'21000000.png' has 21")
    assert (street / "images/8500000.png").stat().st_size > 8_500_000
    ben.shows("3 of 3 images labeled")
    with zipfile.ZipFile(ben.saved("YOLO segmentation")) as archive:
        assert {"data.yaml", "labels/coffee.txt", "images/coffee.jpg"} <= set(archive.namelist())
    # both pages label what waits for labels, and the service refuses those that come second
    assert not [line for line in anna.complaints + ben.complaints if "412 (Precondition Failed)" not in line]
