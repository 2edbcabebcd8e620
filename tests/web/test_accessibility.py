"""axe-core's rules, on every state of the page, in light and dark."""

from pathlib import Path
from typing import Any

import pytest

from segvoc.exported.shipped import open_tiny
from tests.teaching.drawn_examples import drawn_examples
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
@pytest.mark.parametrize(
    ("screen", "colors"),
    [
        ("desktop", "light"),
        pytest.param("phone", "dark", marks=pytest.mark.slow),
        pytest.param("desktop", "dark", marks=pytest.mark.slow),
        pytest.param("phone", "light", marks=pytest.mark.slow),
    ],
)
def test_no_state_of_the_page_breaks_a_rule(served: Site, colors: str):
    served.tab.emulate_media(color_scheme=colors)
    served.open()
    check(served, "empty")
    served.drop(SAMPLES / "rocket.jpg")
    served.label(SAMPLES / "coffee.jpg", "cup = mug, table, spoon, dog")
    served.press("Compare before and after")
    served.press("Brush")
    served.press("Hide table")
    served.tab.get_by_label("Pixels below it are background").check()
    check(served, "labeled")
    served.press("Give a region another word")
    served.click(0.02, 0.02)
    served.tab.get_by_role("dialog").wait_for()
    check(served, "region")
    served.tab.keyboard.press("Escape")
    served.press("Polygon", exact=True)
    for button in ("cup", "Help", "Camera", "Clear all"):
        served.tab.get_by_role("button", name=button).first.click()
        served.tab.get_by_role("dialog").wait_for()
        check(served, button)
        served.tab.keyboard.press("Escape")
        served.tab.get_by_role("dialog").wait_for(state="detached")
    served.type("cup")
    served.drop(Path(__file__))
    check(served, "errors")


@pytest.mark.skipif(not AXE.is_file(), reason="axe-core is missing: run 'npm ci' in web/")
def test_taught_words_break_no_rule(site: Site, tmp_path: Path):
    path = tmp_path / "street.words.safetensors"
    open_tiny().teach(drawn_examples(2)).save(path)
    site.open()
    site.tab.get_by_label("Add taught words").set_input_files(path)
    site.tab.get_by_role("list", name="Taught words").wait_for()
    check(site, "taught")
    card = site.tab.get_by_role("region", name="Words", exact=True)
    assert card.evaluate("card => card.scrollWidth <= card.clientWidth")
