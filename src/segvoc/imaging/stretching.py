"""Values of more than 8 bits as 8 bits: by the range of a photograph, the percentiles of a measurement, or as given."""

import math
import re
import warnings
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Shaped, UInt8

from segvoc.errors import DarkImageWarning, UsageError

SAMPLE_SIDE = 1024
"""Longer side of the overview that percentiles are computed from [px]."""

NO_IMAGE = (123, 117, 104)
"""RGB of invalid pixels: about zero after normalization."""

LARGEST_VALUE = 1e38
"""Floats beyond it, such as the usual -3.4e38, are nodata even if the file doesn't say so."""


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """The values of the bands to map to black and white."""

    black: float
    white: float
    percent: bool = False
    """Whether these are percentiles of each band, over the valid pixels of an overview."""

    @classmethod
    def parsed(cls, text: str) -> "Stretch":
        """Parse a stretch: "0,3000" (values of all bands) or "2%,98%" (percentiles); else `UsageError`."""
        match = re.fullmatch(r"\s*([-+.\deE]+)(%?)\s*,\s*([-+.\deE]+)\2\s*", text)
        try:
            black, white = (float(match[1]), float(match[3])) if match else (0.0, 0.0)
        except ValueError:
            black = white = 0.0
        percent = bool(match and match[2])
        if not black < white or not math.isfinite(white - black) or (percent and not 0 <= black < white <= 100):
            raise UsageError(f"{text!r} is not a stretch; give the values of black and white (0,3000), or 2%,98%")
        return cls(black=black, white=white, percent=percent)

    def limits(
        self, bands: Shaped[np.ndarray, "n h w"], valid: Bool[np.ndarray, "h w"] | None = None
    ) -> Float32[np.ndarray, "n 2"]:
        """The values of each band to map to black and white; percentiles are those of the valid pixels."""
        if not self.percent:
            return np.array([(self.black, self.white)] * len(bands), np.float32)
        found = []
        for band in bands:
            known = band[is_measured(band) if valid is None else valid & is_measured(band)]
            black, white = np.percentile(known, [self.black, self.white]).tolist() if known.size else (0.0, 1.0)
            found.append((black, white if white > black else black + 1))
        return np.array(found, np.float32)


PERCENTILES = Stretch(black=2.0, white=98.0, percent=True)
"""The stretch of measurements: all bands except 8-bit bands and 16-bit bands without coordinates."""


def full_range(bits: int) -> Stretch:
    """The stretch of a photograph's unsigned integers."""
    return Stretch(black=0.0, white=2.0**bits - 1)


def is_measured(values: Shaped[np.ndarray, "*shape"]) -> Bool[np.ndarray, "*shape"]:
    """Which values are measurements: neither NaN nor beyond `LARGEST_VALUE`."""
    with np.errstate(invalid="ignore"):
        return np.abs(values) < LARGEST_VALUE


def reduced_size(height: int, width: int, longest: int) -> tuple[int, int]:
    """The height and width of an image downscaled to this longer side."""
    factor = max(1.0, max(height, width) / longest)
    return max(1, round(height / factor)), max(1, round(width / factor))


def warn_if_dark(values: Shaped[np.ndarray, "*shape"]) -> None:
    """Warn if 16-bit values use at most a quarter of their range, as those of cameras with 12 bits do."""
    brightest = int(values.max())
    if 0 < brightest < 1 << 14:
        limit = (1 << brightest.bit_length()) - 1
        # without the file's name, so that it is printed once for all images of a camera
        warnings.warn(
            f"a 16-bit image has no value above {limit} and is nearly black; "
            f'if its range is 0 to {limit}, give --stretch 0,{limit} (in Python stretch="0,{limit}")',
            DarkImageWarning,
            stacklevel=2,
        )


def stretched(values: Shaped[np.ndarray, "h w"], limits: Float32[np.ndarray, " 2"]) -> UInt8[np.ndarray, "h w"]:
    """Map values to 8 bits, by the values of black and white."""
    black, white = limits.tolist()
    with np.errstate(over="ignore", invalid="ignore"):  # values may be as large as their type allows
        scaled = (values.astype(np.float32) - np.float32(black)) * np.float32(255 / (white - black or 1.0))
    return np.rint(np.clip(np.nan_to_num(scaled, nan=0.0), 0, 255)).astype(np.uint8)
