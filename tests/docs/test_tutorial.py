"""docs/tutorials/own_model.md runs as printed, in small; the site's search works from a folder, without a server."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.loopback_hub import loopback_hub
from tests.papers.test_other_pages import commands, parsed
from tests.processes import printed
from tools.doc_examples import ROOT

PAGE = (ROOT / "docs" / "tutorials" / "own_model.md").read_text(encoding="utf-8")
COMMANDS = [command for command, whole in commands(PAGE) if whole]
FACADES = ROOT / "samples" / "facades"
FEW_STEPS = "--steps 2 --set views=1 --set crop_size=64 --set short_sides=64 --set num_val_images=2 --set num_workers=0"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_one_of_the_command_line(command: str) -> None:
    assert parsed(shlex.split(command), whole=True)[1]


@pytest.mark.slow
def test_its_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in FACADES.glob("*/*"):
        target = tmp_path / folder.relative_to(FACADES.parent)
        target.mkdir(parents=True)
        for path in sorted(folder.iterdir())[:4]:
            shutil.copy(path, target)
    shutil.copy(FACADES / "classes.json", tmp_path / "facades")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    with loopback_hub() as hub:
        monkeypatch.setenv("HF_TOKEN", hub.repositories.token)
        monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        for command in COMMANDS:
            words = shlex.split(command)[1:]
            if words[0] == "annotate":
                continue  # serves until it is stopped
            printed("-m", "segvoc", *words, *(FEW_STEPS.split() if words[0] == "train" else ()))
    for folder in ("exported", "from-hub"):
        assert len(list(Path(folder).glob("*.overlay.png"))) == 4


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
