"""A page of `tiny`, served from this machine and opened in headless Chromium."""

import functools
import http.server
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from PIL import Image

from annotate.tests.services import listening
from annotate.tests.web.fake_service import HEADERS, ISOLATION, FakeService, PageFiles, tiny
from annotate.tests.web.site import SAMPLES, TIMEOUT, Site
from segvoc.models.shipped import copy_tiny
from segvoc_annotate.projects.project import Project
from segvoc_annotate.settings import WEB
from segvoc_annotate.static_page import write_page
from tests.serving.services import Model

SIZES: dict[str, dict[str, Any]] = {
    "phone": {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True},
    "desktop": {"viewport": {"width": 1280, "height": 860}},
}

SCREENS = ["desktop", pytest.param("phone", marks=pytest.mark.slow)]
"""The same, for tests that do the same on all."""

UNUSED_FEATURES = ("WebUIOmniboxPopup", "WebUIOmniboxAimPopup", "AimEnabled", "MediaRouter", "OptimizationHints")
"""Parts of Chromium's own window that cost more than the page: its address field loads two pages of its own for each
tab, half of what a short test takes."""


@pytest.fixture(scope="package")
def driver() -> Iterator[Any]:
    """Playwright; its event loop runs until the last test of this folder, and there may be only one in a thread."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is missing: pip install playwright")
    with playwright.sync_playwright() as driver:
        yield driver


@pytest.fixture(scope="package")
def chromium() -> str:
    """The program; the tests skip where it is missing."""
    found = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if found is None:
        pytest.skip("there is no Chromium: install Debian's package chromium, or name the program in CHROMIUM")
    return found


@pytest.fixture(scope="package")
def browser(driver: Any, chromium: str) -> Iterator[Any]:
    """Headless Chromium, one for all tests of this folder."""
    bare = f"--disable-features={','.join(UNUSED_FEATURES)}"
    # containers have no user namespaces, which Chromium's sandbox needs
    opened = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", bare])
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def page_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page") / "tiny"
    write_page(folder, copied_tiny)
    return folder


def copied_tiny(folder: Path) -> None:
    folder.mkdir()
    copy_tiny(folder)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The samples with few pixels, which the network, the page and the browser's canvas need less time for."""
    folder = tmp_path_factory.mktemp("photos")
    for path in SAMPLES.glob("*.jpg"):
        with Image.open(path) as image:
            image.thumbnail((240, 240))
            image.save(folder / path.name, quality=95)
    return folder


OpenTab = Callable[[str], Site]
"""Opens a window for an address, without going there."""


@pytest.fixture
def open_tab(browser: Any, photos: Path, tmp_path: Path, screen: str) -> Iterator[OpenTab]:
    contexts = []

    def opened(address: str) -> Site:
        context = browser.new_context(
            **SIZES[screen],
            accept_downloads=True,
            reduced_motion="reduce",
            ignore_https_errors=True,  # a proxy's certificate is made for a test
        )
        contexts.append(context)
        context.set_default_timeout(TIMEOUT)
        site = Site(context.new_page(), address, tmp_path, photos)
        site.tab.on("request", lambda request: site.requests.append(request.url))
        site.tab.on("pageerror", lambda error: site.complaints.append(str(error)))
        site.tab.on(
            "console", lambda line: site.complaints.append(line.text) if line.type in ("error", "warning") else None
        )
        return site

    yield opened
    for context in contexts:
        context.close()


@contextmanager
def serving(server: http.server.ThreadingHTTPServer) -> Iterator[str]:
    """The address of a server that runs in a thread."""
    with server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@contextmanager
def serving_files(folder: Path, more: Mapping[str, str] = MappingProxyType({})) -> Iterator[str]:
    """The address of a static page, with more headers."""
    handler = functools.partial(PageFiles, directory=str(folder), headers_too=HEADERS | more)
    with serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)) as address:
        yield address


@pytest.fixture
def screen() -> str:
    return "desktop"


@pytest.fixture
def isolated() -> bool:
    return False


@pytest.fixture
def site(open_tab: OpenTab, page_folder: Path, isolated: bool) -> Iterator[Site]:
    """The page with the network inside of it."""
    with serving_files(page_folder, ISOLATION if isolated else {}) as address:
        yield open_tab(address)


@pytest.fixture
def street(photos: Path, tmp_path: Path) -> Path:
    """A project of two photographs."""
    folder = tmp_path / "street"
    (folder / "images").mkdir(parents=True)
    for name in ("coffee.jpg", "rocket.jpg"):
        shutil.copy(photos / name, folder / "images" / name)
    Project.create(folder).close()
    return folder


@contextmanager
def serving_project(folder: Path, model: Model | None = None, **settings: Any) -> Iterator[str]:
    """The address of a service with a project, in a thread of this process; without a model, a small one labels."""
    with listening(model, page=WEB, project=folder, **settings) as port:
        yield f"http://127.0.0.1:{port}/"


@pytest.fixture
def address(street: Path) -> Iterator[str]:
    with serving_project(street) as address:
        yield address


@pytest.fixture
def service(page_folder: Path) -> FakeService:
    return FakeService(page_folder)


@pytest.fixture
def by_tiny(service: FakeService) -> None:
    """Images get the labels of the embedded model."""
    service.model = tiny()


@pytest.fixture
def served(open_tab: OpenTab, service: FakeService) -> Iterator[Site]:
    with serving(service.server()) as address:
        yield open_tab(address)
