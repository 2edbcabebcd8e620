"""The site's search finds pages where the site was opened from a folder, without a server."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools.doc_examples import ROOT

CONFIG = """
site_name: small
use_directory_urls: false
theme: {name: material, font: false, logo: logo.svg, favicon: logo.svg}
extra: {generator: false, polyfills: [javascripts/iframe-worker.js]}
plugins: [search, offline]
"""


@pytest.mark.slow
def test_search_works_from_files(tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    pytest.importorskip("material")
    if (chromium := os.environ.get("CHROMIUM") or shutil.which("chromium")) is None:
        pytest.skip("there is no Chromium: install Debian's package chromium, or name the program in CHROMIUM")
    for line in ("polyfills: [javascripts/iframe-worker.js]", "- offline"):  # as in the site itself
        assert line in (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    shutil.copytree(ROOT / "docs/javascripts", tmp_path / "docs/javascripts")
    shutil.copy(ROOT / "docs/images/logo.svg", tmp_path / "docs/logo.svg")
    (tmp_path / "docs/deeper").mkdir()
    (tmp_path / "docs/index.md").write_text("# Home\n")
    (tmp_path / "docs/deeper/page.md").write_text("# Deeper\n\nAn aardvark.\n")
    (tmp_path / "mkdocs.yml").write_text(CONFIG)
    silent = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    subprocess.run([sys.executable, "-m", "mkdocs", "build", "--quiet"], cwd=tmp_path, env=silent, check=True)
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        for place in ("index.html", "deeper/page.html"):
            page.goto((tmp_path / "site" / place).as_uri())
            page.locator("input.md-search__input").focus()
            page.locator("input.md-search__input").press_sequentially("aardvark", delay=50)
            page.wait_for_selector(".md-search-result__item", timeout=60_000)
        browser.close()
