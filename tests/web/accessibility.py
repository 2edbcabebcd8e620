"""What axe-core finds on the page."""

from pathlib import Path
from typing import Any

from tests.web.site import Site

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
