"""A page of `tiny`, served from this machine and opened in headless Chromium."""

import functools
import http.server
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from annotate.tests.web.fake_service import HEADERS, ISOLATION, FakeService, PageFiles
from annotate.tests.web.site import Site
from segvoc.inference.exported.segmenter import copy_tiny
from segvoc_annotate.static_page import write_page

SIZES: dict[str, dict[str, Any]] = {
    "phone": {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True},
    "desktop": {"viewport": {"width": 1280, "height": 860}},
}

SCREENS = ["desktop", pytest.param("phone", marks=pytest.mark.slow)]
"""The same, for tests that do the same on all."""


UNUSED_FEATURES = ("WebUIOmniboxPopup", "WebUIOmniboxAimPopup", "AimEnabled", "MediaRouter", "OptimizationHints")
"""Parts of Chromium's own window that cost more than the page: its address field loads two pages of its own for each
tab, half of what a short test takes."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium; the tests skip where it, or Playwright, is missing.

    It closes after a file's tests: Playwright's event loop runs as long, and there may be only one in a thread.
    """
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is missing: pip install playwright")
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no Chromium: install Debian's package chromium, or name the program in CHROMIUM")
    with playwright.sync_playwright() as driver:
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


@contextmanager
def opened(browser: Any, server: http.server.ThreadingHTTPServer, folder: Path, screen: str) -> Iterator[Site]:
    """A tab for what a server serves; the page isn't opened yet."""
    with server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        context = browser.new_context(**SIZES[screen], accept_downloads=True, reduced_motion="reduce")
        context.set_default_timeout(120_000)
        site = Site(context.new_page(), f"http://127.0.0.1:{server.server_port}/", folder)
        site.tab.on("request", lambda request: site.requests.append(request.url))
        site.tab.on("pageerror", lambda error: site.complaints.append(str(error)))
        site.tab.on(
            "console", lambda line: site.complaints.append(line.text) if line.type in ("error", "warning") else None
        )
        yield site
        context.close()
        server.shutdown()


@pytest.fixture
def screen() -> str:
    return "desktop"


@pytest.fixture
def isolated() -> bool:
    return False


@pytest.fixture
def site(browser: Any, page_folder: Path, tmp_path: Path, isolated: bool, screen: str) -> Iterator[Site]:
    """The page with the network inside of it."""
    headers = HEADERS | (ISOLATION if isolated else {})
    handler = functools.partial(PageFiles, directory=str(page_folder), headers_too=headers)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    with opened(browser, server, tmp_path, screen) as site:
        yield site


@pytest.fixture
def service(page_folder: Path) -> FakeService:
    return FakeService(page_folder)


@pytest.fixture
def served(browser: Any, service: FakeService, tmp_path: Path, screen: str) -> Iterator[Site]:
    with opened(browser, service.server(), tmp_path, screen) as site:
        yield site
