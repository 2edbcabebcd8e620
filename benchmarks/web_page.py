"""The web page in headless Chromium: its first view, what it loads, and masks from the service and from itself.

    python -m benchmarks.web_page [--repeats N]

One row for `segvoc serve tiny` ("service"), one for `segvoc page tiny OUT` ("page"), where the browser may use
threads:

- `first_view_s`: from the navigation to the first paint with contents; `first_view_kb`: what was loaded for it, without
  the model.
- `masks_s`: from typing words to the photograph with masks, the shortest of N; `first_masks_s` is the first one. The
  photograph is sent with each request.
- `download_mb`: all that the page loads.
- `ready_s`: from the start of `segvoc serve`, after one that was killed with SIGKILL, to the first answer of /readyz.
"""

import argparse
import functools
import http.server
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

from annotate.tests.web.pages import HEADERS, ISOLATION, PageFiles
from annotate.tests.web.site import SAMPLES, Site
from benchmarks.machine import keep
from tests.processes import free_port

MODEL = ("/model/", ".wasm")
"""Parts of the addresses of the model and of what runs it."""

PAINTED = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
PHOTO, WORDS = SAMPLES / "chelsea.jpg", ("cat, wall", "cat, blanket, wall", "cat, wall, grass", "cat, sofa, wall")


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=len(WORDS))
    repeats = parser.parse_args().repeats
    rows: list[dict[str, object]] = []
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with (
        sync_playwright() as driver,
        driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"]) as browser,
    ):
        with served() as (address, ready):
            rows.append({"engine": "service", **visit(browser, address, repeats), "ready_s": round(ready, 2)})
        with exported() as address:
            rows.append({"engine": "page", **visit(browser, address, repeats), "ready_s": None})
    keep("web_page", rows)


def visit(browser: Browser, address: str, repeats: int) -> dict[str, object]:
    """Open the page as a new visitor, and label a photograph several times."""
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    context.set_default_timeout(60_000)
    site = Site(context.new_page(), address, Path(tempfile.gettempdir()))
    sizes: dict[str, int] = {}

    def arrived(request: Any) -> None:
        found = request.sizes()
        sizes[request.url] = found["responseBodySize"] + found["responseHeadersSize"]

    site.tab.on("requestfinished", arrived)
    site.tab.goto(address)
    while (painted := site.tab.evaluate(PAINTED)) is None:
        time.sleep(0.01)
    site.tab.get_by_text("The model is ready").wait_for()
    seconds = []
    for number in range(repeats):
        if number:
            site.press(f"Remove {PHOTO.name}")
            site.press("Remove all words")
        site.drop(PHOTO)
        site.tab.get_by_role("button", name=f"{PHOTO.name}, ").last.wait_for()
        start = time.perf_counter()
        site.type(WORDS[number % len(WORDS)])
        site.done()
        seconds.append(time.perf_counter() - start)
    context.close()
    first = sum(size for url, size in sizes.items() if not any(part in url for part in MODEL) and "/v1/" not in url)
    return {
        "first_view_s": round(painted / 1e3, 2),
        "first_view_kb": round(first / 1e3),
        "first_masks_s": round(seconds[0], 2),
        "masks_s": round(min(seconds), 2),
        "download_mb": round(sum(sizes.values()) / 1e6, 1),
    }


@contextmanager
def served() -> Iterator[tuple[str, float]]:
    """`segvoc serve tiny`, killed and started again: its address, and the seconds until it was ready again."""
    port = free_port()
    address = f"http://127.0.0.1:{port}/"
    first, _ = _started(address, port)
    first.send_signal(signal.SIGKILL)
    first.wait()
    second, seconds = _started(address, port)
    try:
        yield address, seconds
    finally:
        second.terminate()
        second.wait(60)


def _started(address: str, port: int) -> tuple[subprocess.Popen[bytes], float]:
    start = time.perf_counter()
    command = [sys.executable, "-m", "segvoc", "serve", "tiny", "--port", str(port)]
    service = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while time.perf_counter() - start < 120 and service.poll() is None:
        try:
            urllib.request.urlopen(address + "readyz", timeout=1).close()
            return service, time.perf_counter() - start
        except OSError:
            time.sleep(0.02)
    service.kill()
    sys.exit(f"segvoc serve wasn't ready: exit code {service.wait()}")


@contextmanager
def exported(files: type[PageFiles] = PageFiles) -> Iterator[str]:
    """`segvoc page tiny OUT`, on a server that lets the page have threads: its address."""
    with tempfile.TemporaryDirectory() as folder:
        out = str(Path(folder) / "page")
        subprocess.run([sys.executable, "-m", "segvoc", "page", "tiny", out], check=True)
        handler = functools.partial(files, directory=out, headers_too=HEADERS | ISOLATION)
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield f"http://127.0.0.1:{server.server_port}/"
            server.shutdown()


if __name__ == "__main__":
    main()
