"""Made TIFFs with bands and coordinates."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

UTM = "EPSG:32633"


def write_raster(path: Path, values: np.ndarray, *, interpretation: list[str] | None = None, **profile: Any) -> Path:
    """Write (bands, H, W) values as a GeoTIFF; `interpretation` names the bands."""
    rasterio = pytest.importorskip("rasterio", reason="needs the extra geo")
    from rasterio.enums import ColorInterp

    profile = dict(zip(("count", "height", "width"), values.shape, strict=True)) | {"dtype": values.dtype} | profile
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(path, "w", driver="GTiff", **profile) as file:
            if interpretation:
                file.colorinterp = [ColorInterp[name] for name in interpretation]
            file.write(values)
    return path


def utm() -> Any:
    """Coordinates of half a metre a pixel."""
    rasterio = pytest.importorskip("rasterio", reason="needs the extra geo")
    return {"crs": UTM, "transform": rasterio.Affine(0.5, 0, 500_000, 0, -0.5, 5_400_000)}
