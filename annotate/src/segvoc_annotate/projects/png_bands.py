"""Palette and gray PNGs in bands of rows, each compressed by itself: a stroke on a large image rewrites few of them.

They are ordinary PNGs with an IDAT chunk for each band, which a full flush ends. The chunk `svBD` before them has the
rows of a band and the Adler-32 of each, from which that of the whole follows.
"""

import struct
import zlib
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from jaxtyping import UInt8, UInt16

BANDED_PIXELS = 4_000_000
"""Pixels from which on maps are stored in bands."""

_BAND_PIXELS = 1 << 20
_SIGNATURE, _BANDS = b"\x89PNG\r\n\x1a\n", b"svBD"
_ZLIB_HEADER, _LAST_BLOCK = b"\x78\x01", b"\x03\x00"
_ADLER_BASE = 65521
_EIGHT_BITS, _SIXTEEN_BITS = (8, 3), (16, 0)
"""Depth and color type of palette and gray PNGs."""


@dataclass(frozen=True, kw_only=True)
class BandedPng:
    """A PNG in bands."""

    head: tuple[bytes, ...]
    """Its chunks before the bands, whole."""
    width: int
    height: int
    band_rows: int
    is_8_bit: bool
    bands: tuple[bytes, ...]
    """Deflated rows."""
    sums: tuple[int, ...]
    """Adler-32 of each band."""

    @classmethod
    def of(cls, values: UInt8[np.ndarray, "H W"] | UInt16[np.ndarray, "H W"], palette: bytes | None) -> "BandedPng":
        """Encode values: of 8 bits with a palette (RGB, 256 times), else of 16 bits."""
        height, width = values.shape
        is_8_bit = values.dtype == np.uint8
        header = struct.pack(">IIBBBBB", width, height, *(_EIGHT_BITS if is_8_bit else _SIXTEEN_BITS), 0, 0, 0)
        head = [_chunk(b"IHDR", header), *([] if palette is None else [_chunk(b"PLTE", palette)])]
        rows = max(1, _BAND_PIXELS // width)
        packed = [_packed(values[top : top + rows]) for top in range(0, height, rows)]
        bands, sums = zip(*packed, strict=True)
        return cls(
            head=tuple(head), width=width, height=height, band_rows=rows, is_8_bit=is_8_bit, bands=bands, sums=sums
        )

    @classmethod
    def read(cls, png: bytes) -> "BandedPng | None":
        """Parse a PNG that `encoded` wrote; None: it is another one."""
        head, bands, about, at = list[bytes](), list[bytes](), b"", len(_SIGNATURE)
        while at + 8 <= len(png):
            end = at + 12 + int.from_bytes(png[at : at + 4])
            name, content = png[at + 4 : at + 8], png[at + 8 : end - 4]
            if name == b"IDAT":
                bands.append(content)
            elif name == _BANDS:
                about = content
            elif not bands:
                head.append(png[at:end])
            at = end
        if not about or not head:
            return None
        width, height, depth = struct.unpack(">IIB", head[0][8:17])
        rows, *sums = struct.unpack(f">{len(about) // 4}I", about)
        if len(bands) != len(sums) or rows < 1 or len(bands) != -(-height // rows):
            return None
        bands[0] = bands[0][len(_ZLIB_HEADER) :]
        bands[-1] = bands[-1][: -len(_LAST_BLOCK) - 4]
        return cls(
            head=tuple(head),
            width=width,
            height=height,
            band_rows=rows,
            is_8_bit=depth == 8,
            bands=tuple(bands),
            sums=tuple(sums),
        )

    def rows(self, top: int, bottom: int) -> UInt16[np.ndarray, "h W"]:
        """Decode rows."""
        first, last = top // self.band_rows, -(-bottom // self.band_rows)
        values = np.concatenate([self._band(number) for number in range(first, last)])
        start = first * self.band_rows
        return values[top - start : bottom - start]

    def with_rows(self, top: int, values: UInt8[np.ndarray, "h W"] | UInt16[np.ndarray, "h W"]) -> "BandedPng":
        """Replace rows, of the same depth; only their bands are packed anew."""
        bands, sums, bottom = list(self.bands), list(self.sums), top + len(values)
        for number in range(top // self.band_rows, -(-bottom // self.band_rows)):
            start = number * self.band_rows
            end = min(self.height, start + self.band_rows)
            band = self._band(number).astype(values.dtype)
            first, last = max(top, start), min(bottom, end)
            band[first - start : last - start] = values[first - top : last - top]
            bands[number], sums[number] = _packed(band)
        return replace(self, bands=tuple(bands), sums=tuple(sums))

    def encoded(self) -> bytes:
        """The file."""
        total, size = self.sums[0], self.width * (1 if self.is_8_bit else 2) + 1
        edges = [*range(0, self.height, self.band_rows), self.height]
        for added, (start, end) in list(zip(self.sums, pairwise(edges), strict=True))[1:]:
            total = _joined_adler(total, added, size * (end - start))
        bands = [*self.bands]
        bands[0] = _ZLIB_HEADER + bands[0]
        bands[-1] += _LAST_BLOCK + total.to_bytes(4)
        about = struct.pack(f">{1 + len(self.sums)}I", self.band_rows, *self.sums)
        data = [_chunk(b"IDAT", band) for band in bands]
        return b"".join([_SIGNATURE, *self.head, _chunk(_BANDS, about), *data, _chunk(b"IEND", b"")])

    def _band(self, number: int) -> UInt16[np.ndarray, "h W"]:
        rows = min(self.band_rows, self.height - number * self.band_rows)
        data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(self.bands[number])
        lines = np.frombuffer(data, np.uint8).reshape(rows, -1)[:, 1:]
        return (lines if self.is_8_bit else np.ascontiguousarray(lines).view(">u2")).astype(np.uint16)


def _packed(values: np.ndarray) -> tuple[bytes, int]:
    """Rows without a filter, deflated up to a full flush, and their Adler-32."""
    is_8_bit = values.dtype == np.uint8
    pixels = np.ascontiguousarray(values if is_8_bit else values.astype(">u2")).view(np.uint8)
    data = np.zeros((len(values), 1 + pixels.shape[1]), np.uint8)
    data[:, 1:] = pixels
    raw = data.tobytes()
    packing = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packing.compress(raw) + packing.flush(zlib.Z_FULL_FLUSH), zlib.adler32(raw)


def _chunk(name: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4) + name + content + zlib.crc32(name + content).to_bytes(4)


def _joined_adler(first: int, second: int, length: int) -> int:
    """Adler-32 of two pieces that follow each other, the second one of a length (RFC 1950)."""
    low = (first & 0xFFFF) + (second & 0xFFFF) - 1
    high = (first >> 16) + (second >> 16) + length * ((first & 0xFFFF) - 1)
    return low % _ADLER_BASE | high % _ADLER_BASE << 16
