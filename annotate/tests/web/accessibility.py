"""What axe-core finds on the page."""

from pathlib import Path
from typing import Any

from annotate.tests.web.site import Site

AXE = Path(__file__).resolve().parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"


def check(site: Site, state: str) -> None:
    """No serious or critical finding, and nothing beside the window."""
    hidden = site.tab.evaluate("() => document.documentElement.scrollWidth - visualViewport.width")
    assert hidden <= 0, f"{state}: {hidden:g} pixels are beyond the side of the window"
    site.tab.evaluate(AXE.read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = site.tab.evaluate("async () => (await axe.run()).violations")
    bad = [
        f"{state}: {one['impact']}: {one['help']}: {node['html'][:150]}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]
    assert bad == []
