"""Takes the images of the web page: docs/images/page.jpg, page_phone.jpg and objects.jpg.

Usage: python tools/make_web_image.py PAGE, a folder that `segvoc page tiny PAGE` wrote. Needs Chromium.
"""

import functools
import http.server
import io
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "images"


def labeled(tab: Any, photograph: str, words: str) -> Callable[[float, float], tuple[float, float]]:
    """Label a sample, and return what turns shares of the stage into places of the window."""
    tab.get_by_text("The model is ready").wait_for(timeout=120_000)
    tab.locator("input[type=file][accept='image/*']").first.set_input_files(ROOT / "samples" / photograph)
    tab.get_by_label("Words to look for").fill(words)
    tab.keyboard.press("Enter")
    tab.get_by_role("status").filter(has_text=" labeled ").wait_for(timeout=120_000)
    tab.evaluate("document.activeElement.blur()")
    box = tab.locator(".stage canvas").bounding_box()
    return lambda x, y: (box["x"] + x * box["width"], box["y"] + y * box["height"])


def desktop(tab: Any) -> None:
    """A cup on a table, with the pointer on it."""
    tab.mouse.move(*labeled(tab, "coffee.jpg", "cup of coffee, wooden table")(0.42, 0.4))


def phone(tab: Any) -> None:
    """A rocket, around which a polygon is drawn."""
    place = labeled(tab, "rocket.jpg", "rocket, sky, tower, grass")
    tab.get_by_role("button", name="Polygon", exact=True).click()
    for corner in ((0.46, 0.35), (0.54, 0.35), (0.56, 0.88), (0.44, 0.88)):
        tab.mouse.click(*place(*corner))
    tab.mouse.move(*place(0.43, 0.6))


def objects(tab: Any) -> None:
    """A cup as objects, one of which is cut by a line."""
    place = labeled(tab, "coffee.jpg", "cup, table, spoon")
    tab.get_by_role("button", name="Objects", exact=True).click()
    tab.get_by_role("button", name="Make objects of cup").click()
    tab.mouse.move(*place(0.33, 0.1))
    tab.mouse.down()
    for at in ((0.42, 0.5), (0.36, 0.9)):
        tab.mouse.move(*place(*at), steps=4)
    tab.mouse.up()
    tab.mouse.move(1, 1)


class _Isolated(http.server.SimpleHTTPRequestHandler):
    """Lets the page use several threads."""

    def end_headers(self) -> None:
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Be quiet."""


def take(page: Path) -> dict[str, Image.Image]:
    """The images, by file name."""
    handler = functools.partial(_Isolated, directory=str(page))
    taken = {}
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, sync_playwright() as driver:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, show, size, scheme in (
            ("page.jpg", desktop, (1140, 640), "light"),
            ("objects.jpg", objects, (1140, 640), "light"),
            ("page_phone.jpg", phone, (390, 844), "dark"),
        ):
            context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)  # pyright: ignore[reportArgumentType]
            tab = context.new_page()
            tab.goto(f"http://127.0.0.1:{server.server_port}/")
            show(tab)
            tab.wait_for_timeout(500)
            taken[name] = Image.open(io.BytesIO(tab.screenshot())).convert("RGB")
            context.close()
        browser.close()
        server.shutdown()
    return taken


if __name__ == "__main__":
    for name, image in take(Path(sys.argv[1])).items():
        image.save(IMAGES / name, quality=60, optimize=True, progressive=True)
        print(f"{name}: {(IMAGES / name).stat().st_size} bytes")
