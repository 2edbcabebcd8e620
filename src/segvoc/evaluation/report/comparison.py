"""Our scores next to those that papers report for the same network."""

from collections.abc import Mapping
from typing import Any

from segvoc.evaluation.report.markdown import PART_COLUMNS


def comparison(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each published score: "table", "score", and its values "published" and "here" in percent."""
    rows = []
    for entry in report["published"]:
        for name, published in entry["scores"].items():
            if entry["protocol"] is None:
                here, title = report[name], "mIoU"
            else:
                # PCA-Seg follows PartCATSeg
                here = report["parts"][entry["protocol"]]["part-cat-seg"][name]
                title = next(head for head, protocol, of in PART_COLUMNS if (protocol, of) == (entry["protocol"], name))
            rows.append({"table": entry["table"], "score": title, "published": published, "here": here})
    return rows
