"""Big images with `segvoc segment --tile`: time, peak memory, seams between tiles, and going on after kills.

    python -m benchmarks.big_images [--side 30000] [--jpeg 16000x12500] [--panorama 12000x800] [--tile 2048] [--kills 3]
                        [--only geotiff panorama jpeg kills] [--folder build/big_images] [--out RESULTS.json]

The images are mosaics of the photographs in samples/, made by a seed: a GeoTIFF of --side pixels a side, a panorama
that wraps round, and a JPEG. Each is labeled by the command in a process of its own, whose peak memory is the
system's. The time of a JPEG's tiles is that of `model.segment` on some of them, one by one, times their number. Seams:
how many of the neighboring pixels differ in their label within two pixels of the lines where a tile begins, ends, or
has half of the weight, and how many elsewhere. With kills, a smaller GeoTIFF is labeled, killed so many times and
resumed; its labels have to be those of an unbroken run.
"""

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from jaxtyping import UInt8
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import from_origin

from benchmarks.seams import seams
from segvoc.exported.shipped import open_tiny
from segvoc.imaging.label_maps import read_label_map
from segvoc.inference.tile_grid import TileAxis, Tiling
from segvoc.storage.resume import RESUME_FOLDER

ROOT = Path(__file__).parents[1]
WORDS = "cat, cup, table, spoon, person, space suit, flag, rocket, sky, tower, wall, blanket, window, coffee, building"
CELL = 1500
"""Side of a photograph in a mosaic [px]."""
ORIGIN, METRES = (500_000.0, 5_400_000.0), 0.5
"""Corner and pixel size of the GeoTIFF, in UTM zone 33 north."""


class Mosaic:
    """Photographs in a grid of cells, of which bands of rows are made one at a time.

    Args:
        height: [px]
        width: [px]
        seed: of the order of the photographs, and how they are turned and mirrored.
    """

    def __init__(self, height: int, width: int, seed: int = 0) -> None:
        self.height, self.width, self._seed = height, width, seed
        self._photos = [Image.open(path).convert("RGB") for path in sorted((ROOT / "samples").glob("*.jpg"))]

    def band(self, number: int) -> UInt8[np.ndarray, "h W 3"]:
        """The band of rows of one row of cells."""
        draw, top = random.Random(f"{self._seed} {number}"), number * CELL
        band = np.empty((min(CELL, self.height - top), self.width, 3), np.uint8)
        for left in range(0, self.width, CELL):
            photo = draw.choice(self._photos)
            if draw.random() < 0.5:
                photo = photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            side = min(photo.size)
            x, y = draw.randint(0, photo.width - side), draw.randint(0, photo.height - side)
            cell = np.asarray(photo.resize((CELL, CELL), Image.Resampling.BICUBIC, (x, y, x + side, y + side)))
            band[:, left : left + CELL] = cell[: len(band), : self.width - left]
        return band

    def whole(self) -> UInt8[np.ndarray, "H W 3"]:
        """All rows."""
        return np.concatenate([self.band(number) for number in range(-(-self.height // CELL))])

    def write_geotiff(self, path: Path) -> None:
        """Write it with coordinates, compressed as JPEG in blocks."""
        profile = {"driver": "GTiff", "height": self.height, "width": self.width, "count": 3, "dtype": "uint8"}
        profile |= {"crs": "EPSG:32633", "transform": from_origin(*ORIGIN, METRES, METRES), "tiled": True}
        profile |= {"blockxsize": 512, "blockysize": 512, "compress": "jpeg", "photometric": "ycbcr"}
        with rasterio.Env(GDAL_CACHEMAX=512 << 20), rasterio.open(path, "w", **profile) as file:
            for number in range(-(-self.height // CELL)):
                band, top = self.band(number), number * CELL
                file.write(band.transpose(2, 0, 1), window=((top, top + len(band)), (0, self.width)))


def run(command: Sequence[str]) -> dict[str, float]:
    """Run `segvoc segment`: its seconds, peak memory and CPU time."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "segvoc", "segment", *command], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"the command failed: {' '.join(command)}")
    return {
        "seconds": round(time.perf_counter() - start, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_gb": round(usage.ru_maxrss * 1024 / 1e9, 3),
    }


def band_seams(path: Path, rows: TileAxis, columns: TileAxis, side: int) -> dict[str, float]:
    """The same for the upper left corner of a large GeoTIFF."""
    with rasterio.open(path) as file:
        labels = file.read(1, window=((0, side), (0, side))).astype(np.uint16)
    return seams(labels, *(TileAxis(side=side, tile=axis.tile, overlap=axis.overlap) for axis in (rows, columns)))


def measure_geotiff(folder: Path, side: int, tiling: Tiling) -> dict[str, Any]:
    """A GeoTIFF: time, memory, coordinates and seams."""
    path, out = folder / "scene.tif", folder / "geotiff"
    Mosaic(side, side).write_geotiff(path)
    found: dict[str, Any] = {"pixels": side * side, **run([str(path), *_options(tiling, out)])}
    with rasterio.open(path) as scene, rasterio.open(out / "scene.tif") as labels:
        found["same_coordinates"] = scene.transform == labels.transform and scene.crs == labels.crs
        found["same_size"] = scene.shape == labels.shape
    corner = min(side, 12_000)
    found["seams"] = band_seams(out / "scene.tif", tiling.rows(side), tiling.columns(side), corner)
    found["tiles"] = len(tiling.rows(side)) * len(tiling.columns(side))
    path.unlink()
    return found


def measure_panorama(folder: Path, height: int, width: int, tile: int) -> dict[str, Any]:
    """A panorama that wraps round."""
    path, out = folder / "panorama.jpg", folder / "panorama"
    Image.fromarray(Mosaic(height, width, seed=1).whole()).save(path, quality=92)
    tiling = Tiling.checked(tile, wrap=True)
    found: dict[str, Any] = {"pixels": height * width, **run([str(path), *_options(tiling, out)])}
    labels = read_label_map(out / "panorama.png")
    columns = tiling.columns(width)
    found["seams"] = seams(labels, tiling.rows(height), columns)
    found["seam_of_the_edges"] = round(float((labels[:, 0] != labels[:, -1]).mean()), 6)
    found["overlay"] = Image.open(out / "panorama.overlay.png").size
    return found


def measure_jpeg(folder: Path, height: int, width: int, tiling: Tiling) -> dict[str, Any]:
    """A JPEG: time and memory, and the time of its tiles."""
    path, out = folder / "large.jpg", folder / "jpeg"
    Image.fromarray(Mosaic(height, width, seed=2).whole()).save(path, quality=90)
    rows, columns = tiling.rows(height), tiling.columns(width)
    number = len(rows) * len(columns)
    before = _tile_seconds(path.with_name("tiles.jpg"), tiling, height)
    found: dict[str, Any] = {"pixels": height * width, "tiles": number}
    found |= run([str(path), *_options(tiling, out), f"--max-megapixels={height * width / 1e6 + 1}"])
    after = _tile_seconds(path.with_name("tiles.jpg"), tiling, height)
    found["seconds_of_a_tile"] = [round(one, 3) for one in (before, after)]
    found["times_its_tiles"] = round(found["seconds"] / ((before + after) / 2 * number), 3)
    path.unlink()
    return found


def _tile_seconds(path: Path, tiling: Tiling, height: int) -> float:
    """Mean seconds of `model.segment` on eight tiles that are in memory."""
    mosaic, side = Mosaic(height, 4 * tiling.tile, seed=2), tiling.tile
    pixels = np.concatenate([mosaic.band(number) for number in range(2 * side // CELL + 1)])
    tiles = [pixels[y : y + side, x : x + side] for y in (0, side) for x in range(0, 4 * side, side)]
    model = open_tiny()
    words = model.encode(WORDS.split(", "))
    model.segment(tiles[0], words)
    start = time.perf_counter()
    for tile in tiles:
        model.segment(tile, words)
    return (time.perf_counter() - start) / len(tiles)


def measure_kills(folder: Path, side: int, tile: int, kills: int, seed: int = 0) -> dict[str, Any]:
    """A GeoTIFF whose labeling is killed at random moments and resumed."""
    path, draw, tiling = folder / "killed.tif", random.Random(seed), Tiling.checked(tile)
    Mosaic(side, side, seed=3).write_geotiff(path)
    run([str(path), *_options(tiling, folder / "whole")])
    broken = [str(path), *_options(tiling, folder / "broken"), "--resume"]
    rows, kept = len(tiling.rows(side)), []
    for _ in range(kills):
        process = subprocess.Popen([sys.executable, "-m", "segvoc", "segment", *broken], stderr=subprocess.DEVNULL)
        target = min(rows, (kept[-1] if kept else 0) + draw.randint(1, max(1, 2 * rows // (kills + 1))))
        while process.poll() is None and _rows_kept(folder / "broken") < target:
            time.sleep(0.05)
        time.sleep(draw.uniform(0, 0.5))
        process.kill()
        process.wait()
        kept.append(_rows_kept(folder / "broken"))
    run(broken)
    whole, resumed = (rasterio.open(folder / one / "killed.tif").read(1) for one in ("whole", "broken"))
    same = [
        np.array_equal(whole, resumed),
        _without_time(folder / "whole" / "killed.json") == _without_time(folder / "broken" / "killed.json"),
    ]
    path.unlink()
    return {"pixels": side * side, "kills": kills, "rows": rows, "rows_kept_at_kills": kept, "equal": all(same)}


def _rows_kept(out: Path) -> int:
    return sum(max(0, path.read_text().count("\n") - 1) for path in (out / RESUME_FOLDER).glob("tiles-*.jsonl"))


def _without_time(report: Path) -> dict[str, Any]:
    return {name: value for name, value in json.loads(report.read_text()).items() if name != "seconds"}


def _options(tiling: Tiling, out: Path) -> list[str]:
    options = [f"--tile={tiling.tile}", f"--overlap={tiling.overlap}", f"--words={WORDS}", f"--out={out}"]
    return [*options, *(["--wrap"] if tiling.wrap else [])]


def _machine() -> dict[str, object]:
    versions = {package: version(package) for package in ("onnxruntime", "numpy", "pillow", "rasterio")}
    date = datetime.now(UTC).date().isoformat()
    return {"date": date, "processor": platform.machine(), "cores": os.cpu_count(), **versions}


def _size(text: str) -> tuple[int, int]:
    width, height = map(int, text.split("x"))
    return height, width


def main() -> None:
    """Measure, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=30_000)
    parser.add_argument("--jpeg", type=_size, default=(12_500, 16_000))
    parser.add_argument("--panorama", type=_size, default=(800, 12_000))
    parser.add_argument("--tile", type=int, default=2048)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=["geotiff", "panorama", "jpeg", "kills"])
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "big_images")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    warnings.simplefilter("ignore", NotGeoreferencedWarning)
    given.folder.mkdir(parents=True, exist_ok=True)
    tiling = Tiling.checked(given.tile)
    results: dict[str, Any] = json.loads(given.out.read_text()) if given.out and given.out.exists() else {}
    results |= {"machine": _machine(), "words": WORDS, "tile": given.tile, "overlap": tiling.overlap}
    measures = {
        "panorama": lambda: measure_panorama(given.folder, *given.panorama, tile=800),
        "jpeg": lambda: measure_jpeg(given.folder, *given.jpeg, tiling=tiling),
        "kills": lambda: measure_kills(given.folder, 4000, 600, given.kills),
        "geotiff": lambda: measure_geotiff(given.folder, given.side, tiling),
    }
    for name, measure in measures.items():
        if name in given.only:
            load = os.getloadavg()[0]
            results[name] = {**measure(), "load": [round(load, 1), round(os.getloadavg()[0], 1)]}
            print(name, json.dumps(results[name]), flush=True)
            if given.out:
                given.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
