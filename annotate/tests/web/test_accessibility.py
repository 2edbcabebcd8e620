"""axe-core's rules, on every state of the page, in light and dark."""

from pathlib import Path

import pytest

from annotate.tests.web.site import AXE, SAMPLES, Site, check


@pytest.mark.skipif(not AXE.is_file(), reason="axe-core is missing: run 'npm ci' in annotate/web")
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
    served.press("Brush")
    served.press("Hide table")
    served.tab.get_by_label("Pixels below it are background").check()
    served.press("Find images")
    check(served, "labeled")
    served.press("Give a region another word")
    served.click(0.02, 0.02)
    served.tab.get_by_role("dialog").wait_for()
    check(served, "region")
    served.tab.keyboard.press("Escape")
    served.press("Polygon", exact=True)
    for button in ("cup", "Help", "Progress", "Clear all"):
        served.tab.get_by_role("button", name=button).first.click()
        served.tab.get_by_role("dialog").wait_for()
        check(served, button)
        served.tab.keyboard.press("Escape")
        served.tab.get_by_role("dialog").wait_for(state="detached")
    served.type("cup")
    served.drop(Path(__file__))
    check(served, "errors")
