"""Write the table of docs/explanation/clicks.md from benchmarks/results/clicks.json.

python -m tools.clicks.page
"""

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "clicks.json"
PAGE = ROOT / "docs" / "explanation" / "clicks.md"


def table(rows: list[dict[str, Any]]) -> str:
    """The clicks of each data set, and of all."""
    lines = [
        "| data set | regions | clicks to IoU 0.8 | 0.85 | 0.9 | reach 0.9 in 20 clicks | IoU after 1, 3, 5 clicks |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        clicks = " | ".join(f"{row[f'clicks_{level}']:.1f}" for level in (0.8, 0.85, 0.9))
        ious = ", ".join(f"{row[f'iou_{number}']:.2f}" for number in (1, 3, 5))
        lines.append(f"| {row['set']} | {row['regions']} | {clicks} | {row['reached_0.9']:.0%} | {ious} |")
    return "\n".join(lines).replace("%", " %")


def main() -> None:
    """Write the table."""
    found = json.loads(RESULTS.read_text(encoding="utf-8"))
    text = PAGE.read_text(encoding="utf-8")
    new = f"<!-- clicks -->\n{table(found['rows'])}\n<!-- /clicks -->"
    text, count = re.subn(r"<!-- clicks -->.*<!-- /clicks -->", lambda _: new, text, flags=re.DOTALL)
    assert count == 1
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
