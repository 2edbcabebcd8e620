"""How well a polygon's sides follow regions of photographs: straight ones, and those that snap to edges.

    python -m benchmarks.snapping [--photos ../shared/data/photos] [--corners N ...] [--shake PX]

The regions are those of `benchmarks.clicks`, without their holes. The annotator places so many corners on a region's
border, each of them shaken: `best`, where the corners of the best straight polygon are, or `spread`, equally far apart.
Needs Node and the packages of `make web`. One row for each number of corners:

- `straight`, `snapped`: mean IoU; `worse`: share of the regions in which snapping costs 0.02 or more, and `better`, in
  which it gives as much.
- `ms`: time of the clock for one snapping side.
"""

import argparse
import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from benchmarks.clicks import REGIONS, Wanted, wanted_regions
from benchmarks.machine import keep

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=Path("../shared/data/photos"))
    parser.add_argument("--corners", type=int, nargs="+", default=(6, 10, 16, 24))
    parser.add_argument("--shake", type=float, default=2.0, help="of the annotator's hand: standard deviation [px]")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        regions = [one for data, count in REGIONS.items() for one in wanted_regions(options.photos, data, count)]
        sizes = [write(wanted, folder / f"{number}.bin") for number, wanted in enumerate(regions)]
        (folder / "sizes.json").write_text(json.dumps(sizes), encoding="utf-8")
        measured = drawn(folder, options.corners, options.shake)
    rows: list[dict[str, object]] = []
    for placed in ("best", "spread"):
        for corners in options.corners:
            found = [one for one in measured if (one["placed"], one["corners"]) == (placed, corners)]
            straight, snapped, ms = (np.array([one[key] for one in found]) for key in ("straight", "snapped", "ms"))
            rows.append(
                {
                    "corners": corners,
                    "placed": placed,
                    "regions": len(found),
                    "straight": round(float(straight.mean()), 3),
                    "snapped": round(float(snapped.mean()), 3),
                    "worse": round(float((snapped <= straight - 0.02).mean()), 2),
                    "better": round(float((snapped >= straight + 0.02).mean()), 2),
                    "ms": round(float(ms.mean()), 1),
                }
            )
    keep("snapping", rows, shake=f"{options.shake:g} px")


def write(wanted: Wanted, path: Path) -> dict[str, int]:
    """Write the image, the largest piece of the region without holes, and what is labeled at all; its size."""
    pixels = np.asarray(wanted.photo.pixels())
    found: Any = ndimage.label(ndimage.binary_fill_holes(wanted.inside))
    pieces = found[0]
    inside = pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:])
    height, width = inside.shape
    rgba = np.dstack([pixels, np.full((height, width), 255, np.uint8)])
    path.write_bytes(rgba.tobytes() + inside.astype(np.uint8).tobytes() + wanted.known.astype(np.uint8).tobytes())
    return {"width": width, "height": height}


def drawn(folder: Path, corners: Sequence[int], shake: float) -> list[dict[str, float | str]]:
    """What the page's own functions make of it."""
    bundle = folder / "snapping.mjs"
    options = ["--bundle", "--platform=node", "--format=esm", "--log-level=error", f"--outfile={bundle}"]
    source = ROOT / "benchmarks" / "snapping.ts"
    subprocess.run([ROOT / "web" / "node_modules" / ".bin" / "esbuild", source, *options], check=True)
    counts = ",".join(map(str, corners))
    answer = subprocess.run(["node", bundle, folder, counts, str(shake)], check=True, stdout=subprocess.PIPE)
    return json.loads(answer.stdout)


if __name__ == "__main__":
    main()
