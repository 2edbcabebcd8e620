"""axe-core's rules, on every state of the page, in light and dark."""

from pathlib import Path
from typing import Any

import pytest

from tests.web.conftest import SIZES
from tests.web.site import SAMPLES, Site

AXE = Path(__file__).resolve().parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"


def check(site: Site, state: str) -> None:
    """No serious or critical finding."""
    site.tab.evaluate(AXE.read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = site.tab.evaluate("async () => (await axe.run()).violations")
    bad = [
        f"{state}: {one['impact']}: {one['help']}: {node['html'][:150]}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]
    assert bad == []


@pytest.mark.skipif(not AXE.is_file(), reason="axe-core is missing: run 'npm ci' in web/")
@pytest.mark.parametrize("colors", ["light", "dark"])
@pytest.mark.parametrize("screen", SIZES)
def test_no_state_of_the_page_breaks_a_rule(site: Site, colors: str):
    site.tab.emulate_media(color_scheme=colors)
    site.open()
    check(site, "empty")
    site.drop(SAMPLES / "rocket.jpg")
    site.label(SAMPLES / "coffee.jpg", "cup = mug, table, spoon, dog")
    site.press("Compare before and after")
    site.press("Brush")
    site.press("Hide table")
    site.tab.get_by_label("Pixels below it are background").check()
    check(site, "labelled")
    site.press("Give a region another word")
    site.click(0.02, 0.02)
    site.tab.get_by_role("dialog").wait_for()
    check(site, "region")
    site.tab.keyboard.press("Escape")
    site.press("Polygon", exact=True)
    for button in ("cup", "Help", "Camera", "Clear all"):
        site.tab.get_by_role("button", name=button).first.click()
        site.tab.get_by_role("dialog").wait_for()
        check(site, button)
        site.tab.keyboard.press("Escape")
        site.tab.get_by_role("dialog").wait_for(state="detached")
    site.type("cup")
    site.drop(Path(__file__))
    check(site, "errors")
