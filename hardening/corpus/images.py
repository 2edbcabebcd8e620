"""Images: cut, changed, with headers that lie, bombs."""

import io
import random
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin

from hardening.cases import Case, cuts, file, mutated, spread

SIZE = (24, 16)
_PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _noise(mode: str, size: tuple[int, int] = SIZE) -> Image.Image:
    values = np.random.default_rng(7).integers(0, 256, (size[1] // 4, size[0] // 4, 4), np.uint8)
    values = values.repeat(4, 0).repeat(4, 1)
    image = Image.fromarray(values)
    if mode == "I;16":
        return Image.fromarray(values[..., 0].astype(np.uint16) * 200)
    if mode == "F":
        return Image.fromarray(values[..., 0].astype(np.float32) / 3)
    return image.convert("RGB").convert(mode) if mode not in ("RGBA", "LA") else image.convert(mode)


def _saved(mode: str, kind: str, **options: object) -> bytes:
    content = io.BytesIO()
    _noise(mode).save(content, kind, **options)  # type: ignore[arg-type]
    return content.getvalue()


def _text_chunks() -> PngImagePlugin.PngInfo:
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("Comment", "hello")
    chunks.add_text("Long", "x" * 500, zip=True)
    chunks.add_itxt("Title", "größe", "fr", "Titre", zip=True)
    return chunks


def _tiff(*arrays: np.ndarray, **options: object) -> bytes:
    content = io.BytesIO()
    first, *others = [Image.fromarray(array) for array in arrays]
    first.save(content, "TIFF", save_all=True, append_images=others, **options)
    return content.getvalue()


def _exif() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "an image"
    return exif.tobytes()


def base_images() -> dict[str, bytes]:
    """A small good file of every kind that is read, by name with suffix."""
    frames = [_noise(mode).convert("P") for mode in ("RGB", "L", "1")]
    rng = np.random.default_rng(3)
    gray = rng.integers(0, 60_000, (16, 24)).astype(np.uint16)
    rgb = rng.integers(0, 256, (16, 24, 3)).astype(np.uint8)
    images = {
        "rgb.jpg": _saved("RGB", "JPEG", quality=30),
        "progressive.jpg": _saved("RGB", "JPEG", progressive=True, quality=50, subsampling=0),
        "cmyk.jpg": _saved("CMYK", "JPEG", quality=30),
        "gray.jpg": _saved("L", "JPEG", quality=30),
        "exif.jpg": _saved("RGB", "JPEG", exif=_exif(), icc_profile=_PROFILE, quality=30, restart_marker_rows=1),
        "two.mpo": _multiple("RGB", "MPO"),
        "rgb.png": _saved("RGB", "PNG", optimize=True),
        "rgba.png": _saved("RGBA", "PNG"),
        "la.png": _saved("LA", "PNG"),
        "one.png": _saved("1", "PNG"),
        "palette.png": _saved("P", "PNG", transparency=3),
        "16.png": _saved("I;16", "PNG"),
        "text.png": _saved("RGB", "PNG", pnginfo=_text_chunks(), icc_profile=_PROFILE, exif=_exif(), dpi=(72, 72)),
        "three.apng": _animation(frames, "PNG"),
        "lossy.webp": _saved("RGB", "WEBP", quality=20, exif=_exif()),
        "lossless.webp": _saved("RGBA", "WEBP", lossless=True, icc_profile=_PROFILE),
        "three.webp": _animation([frame.convert("RGB") for frame in frames], "WEBP"),
        "rgb.avif": _saved("RGB", "AVIF", quality=30),
        "rgba.avif": _saved("RGBA", "AVIF", quality=30, exif=_exif()),
        "three.avif": _animation([frame.convert("RGB") for frame in frames], "AVIF"),
        "plain.tif": _saved("RGB", "TIFF"),
        "lzw.tif": _saved("RGB", "TIFF", compression="tiff_lzw"),
        "deflate.tif": _saved("L", "TIFF", compression="tiff_adobe_deflate"),
        "jpeg.tif": _saved("RGB", "TIFF", compression="jpeg"),
        "packbits.tif": _saved("P", "TIFF", compression="packbits"),
        "fax.tif": _saved("1", "TIFF", compression="group4"),
        "cmyk.tif": _saved("CMYK", "TIFF"),
        "float.tif": _saved("F", "TIFF"),
        "16.tif": _saved("I;16", "TIFF"),
        "pages.tif": _tiff(gray, rgb, rgb[..., 0]),
        "big.tif": _saved("RGB", "TIFF", big_tiff=True),
        "five.tif": _raster(5, "uint8", "band"),
        "signed.tif": _raster(3, "int16", "pixel"),
        "planes16.tif": _raster(3, "uint16", "band"),
        "rgb.gif": _saved("P", "GIF", interlace=1),
        "three.gif": _animation(frames, "GIF"),
        "rgb.bmp": _saved("RGB", "BMP"),
        "palette.bmp": _saved("P", "BMP"),
        "one.bmp": _saved("1", "BMP"),
        "rle.bmp": _rle_bmp(),
        "rgb.dib": _saved("RGB", "BMP"),
        "rgb.ppm": _saved("RGB", "PPM"),
        "gray.pgm": _saved("L", "PPM"),
        "one.pbm": _saved("1", "PPM"),
        "16.pgm": _saved("I;16", "PPM"),
        "plain.ppm": b"P3\n# made by hand\n6 4\n255\n" + b" ".join(str(i * 3).encode() for i in range(72)) + b"\n",
        "plain.pbm": b"P1\n8 4\n" + b"0110" * 8,
        "float.pfm": b"Pf\n6 4\n-1.0\n" + np.linspace(0, 1, 24, dtype="<f4").tobytes(),
        "rgb.jp2": _saved("RGB", "JPEG2000", quality_layers=[20]),
        "rgba.jp2": _saved("RGBA", "JPEG2000"),
        "16.j2k": _saved("I;16", "JPEG2000", no_jp2=True),
    }
    return images


def _multiple(mode: str, kind: str) -> bytes:
    content = io.BytesIO()
    _noise(mode).save(content, kind, save_all=True, append_images=[_noise(mode)])
    return content.getvalue()


def _animation(frames: list[Image.Image], kind: str) -> bytes:
    content = io.BytesIO()
    frames[0].save(content, kind, save_all=True, append_images=frames[1:], duration=50, loop=0)
    return content.getvalue()


def _raster(bands: int, dtype: str, interleave: str) -> bytes:
    from rasterio.errors import NotGeoreferencedWarning
    from rasterio.io import MemoryFile

    values = np.random.default_rng(1).integers(0, 100, (bands, 16, 24)).astype(dtype)
    with MemoryFile() as memory, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # images without coordinates
        profile = {"driver": "GTiff", "count": bands, "height": 16, "width": 24, "dtype": dtype}
        with memory.open(**profile, interleave=interleave) as dataset:
            dataset.write(values)
        return bytes(memory.read())


def _rle_bmp() -> bytes:
    rows = b"".join(bytes([12, row, 12, row + 1, 0, 0]) for row in range(16)) + b"\0\1"
    palette = b"".join(bytes([i, 255 - i, i, 0]) for i in range(256))
    header = struct.pack("<IiiHHIIiiII", 40, 24, 16, 1, 8, 1, len(rows), 2835, 2835, 256, 0)
    start = 14 + len(header) + len(palette)
    return struct.pack("<2sIHHI", b"BM", start + len(rows), 0, 0, start) + header + palette + rows


# ---- structure: chunks, segments, tags, boxes


def _png_chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    chunks, at = [], 8
    while at + 8 <= len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    return chunks


def png_of(chunks: list[tuple[bytes, bytes]]) -> bytes:
    """A PNG of chunks, with right lengths and checksums."""
    parts = [b"\x89PNG\r\n\x1a\n"]
    for kind, data in chunks:
        parts.append(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))
    return b"".join(parts)


_KINDS = (b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"iCCP", b"gAMA", b"acTL", b"fcTL", b"fdAT", b"eXIf", b"zTXt")
_KINDS += (b"iTXt", b"tEXt", b"pHYs", b"cHRM", b"sRGB", b"ABCD", b"abcd")


def changed_pngs(name: str, content: bytes, rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """PNGs whose chunks are left out, doubled, swapped, renamed, changed or added, with right checksums."""
    chunks = _png_chunks(content)
    for at, (kind, data) in enumerate(chunks):
        label = f"{name} {kind.decode()}"
        yield f"{label} left out", png_of(chunks[:at] + chunks[at + 1 :])
        yield f"{label} doubled", png_of(chunks[: at + 1] + chunks[at:])
        yield f"{label} empty", png_of([*chunks[:at], (kind, b""), *chunks[at + 1 :]])
        yield f"{label} first", png_of([chunks[at], *chunks[:at], *chunks[at + 1 :]])
        for other in rng.sample(_KINDS, 3):
            yield f"{label} as {other.decode()}", png_of([*chunks[:at], (other, data), *chunks[at + 1 :]])
        for number in range(6):
            bad = mutated(data, rng) if data else bytes(rng.randrange(1, 40))
            yield f"{label} changed {number}", png_of([*chunks[:at], (kind, bad), *chunks[at + 1 :]])
    for width in (0, 1, 24, 0x7FFFFFFF, 0xFFFFFFFF):
        for depth in (0, 1, 3, 8, 16, 255):
            for color in (0, 2, 3, 4, 6, 7):
                header = struct.pack(">IIBBBBB", width, 16, depth, color, 0, 0, rng.choice((0, 1, 2)))
                yield f"{name} IHDR {width} {depth} {color}", png_of([(b"IHDR", header), *chunks[1:]])


def changed_tiffs(name: str, content: bytes, rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """TIFFs whose tags have other numbers, types, counts or values, or whose folders go in circles."""
    if content[:4] not in (b"II*\0", b"MM\0*"):
        return
    order = "<" if content[:2] == b"II" else ">"
    (start,) = struct.unpack(f"{order}I", content[4:8])
    (count,) = struct.unpack(f"{order}H", content[start : start + 2])
    for entry in range(count):
        at = start + 2 + 12 * entry
        (tag,) = struct.unpack(f"{order}H", content[at : at + 2])
        changes: list[tuple[str, int, bytes]] = []
        changes += [("type", 2, struct.pack(f"{order}H", kind)) for kind in (0, 1, 2, 4, 5, 12, 13, 200)]
        changes += [("count", 4, struct.pack(f"{order}I", number)) for number in (0, 2, 1000, 0x7FFFFFFF, 0xFFFFFFFF)]
        values = (0, 1, 2, 3, 5, 6, 7, 8, 9, 32773, 34712, 50000, 65535, 65536, 1 << 20, 0x7FFFFFFF, 0xFFFFFFFF, start)
        changes += [("value", 8, struct.pack(f"{order}I", value)) for value in values]
        changes += [("tag", 0, struct.pack(f"{order}H", other)) for other in (0, 254, 330, 320, 347, 65535)]
        for kind, offset, value in changes:
            place = at + offset
            yield f"{name} tag {tag} {kind} {value.hex()}", content[:place] + value + content[place + len(value) :]
    end = start + 2 + 12 * count
    for target in (start, 0, 1, 4, end, len(content), 0xFFFFFFFF):
        following = struct.pack(f"{order}I", target)
        yield f"{name} next folder at {target}", content[:end] + following + content[end + 4 :]
        yield f"{name} first folder at {target}", content[:4] + following + content[8:]


def changed_jpegs(name: str, content: bytes, rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """JPEGs whose segments are left out, doubled, swapped, changed, or have other lengths."""
    at, segments = 2, []
    while at + 4 <= len(content) and content[at] == 0xFF:
        (length,) = struct.unpack(">H", content[at + 2 : at + 4])
        segments.append(content[at : at + 2 + length])
        at += 2 + length
        if segments[-1][1] == 0xDA:
            break
    rest = content[at:]
    for number, segment in enumerate(segments):
        label = f"{name} segment {segment[1]:x}"
        before, after = b"\xff\xd8" + b"".join(segments[:number]), b"".join(segments[number + 1 :]) + rest
        yield f"{label} left out", before + after
        yield f"{label} doubled", before + segment * 2 + after
        yield f"{label} first", b"\xff\xd8" + segment + b"".join(segments[:number]) + after
        for length in (0, 1, 2, 3, 0xFFFF):
            yield f"{label} length {length}", before + segment[:2] + struct.pack(">H", length) + segment[4:] + after
        for kind in (0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xE0, 0xE1, 0xE2, 0xEE, 0xFE, 0xD9, 0x01):
            yield f"{label} as {kind:x}", before + bytes([0xFF, kind]) + segment[2:] + after
        for change in range(10):
            yield f"{label} changed {change}", before + segment[:4] + mutated(segment[4:] or b"\0", rng) + after


def changed_boxes(name: str, content: bytes, rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """Files of boxes (AVIF, JPEG 2000), RIFF or GIF blocks whose lengths lie."""
    for at in range(0, min(len(content) - 4, 600)):
        (number,) = struct.unpack(">I", content[at : at + 4])
        (small,) = struct.unpack("<I", content[at : at + 4])
        for order, value in ((">", number), ("<", small)):
            if 8 <= value <= len(content):
                for lie in (0, 1, 7, value - 1, value + 1, value * 1000, 0xFFFFFFFF):
                    if lie <= 0xFFFFFFFF:
                        packed = struct.pack(f"{order}I", lie)
                        yield f"{name} length at {at} is {lie}", content[:at] + packed + content[at + 4 :]


# ---- bombs


def bombs() -> Iterator[tuple[str, bytes]]:
    """Small files that tell of much, or hold much."""
    row = zlib.compressobj(9)
    black = row.compress(bytes(3 * 20_000 + 1) * 2_000) + row.flush()
    end = (b"IEND", b"")
    for width, height in (
        (20_000, 20_000),
        (65_535, 3_000),
        (65_536, 10),
        (3_000, 65_535),
        (14_000, 14_200),
        (1, 70_000),
    ):
        header = (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        yield f"area {width} x {height}.png", png_of([header, (b"IDAT", black), end])
        deep = (b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 6, 0, 0, 1))
        yield f"depth {width} x {height}.png", png_of([deep, (b"IDAT", black[:5000]), end])
    small = _png_chunks(_saved("RGB", "PNG"))
    for size in (1 << 16, 1 << 22, 1 << 26, 1 << 28):
        blown = zlib.compress(bytes(size), 9)
        for kind, data in (
            (b"zTXt", b"Comment\0\0" + blown),
            (b"iTXt", b"Comment\0\1\0\0\0" + blown),
            (b"iCCP", b"profile\0\0" + blown),
        ):
            for count in (1, 40):
                yield f"{count} {kind.decode()} of {size}.png", png_of([small[0], *[(kind, data)] * count, *small[1:]])
        yield f"IDAT of {size} too many.png", png_of([small[0], (b"IDAT", blown), end])
        yield f"tEXt of {size}.png", png_of([small[0], (b"tEXt", b"Comment\0" + b"x" * min(size, 1 << 22)), *small[1:]])
    for frames in (100, 5_000, 100_000):
        gif = _saved("P", "GIF")
        block = gif[13 + 768 : -1] if gif[10] & 0x80 else gif[13:-1]
        yield f"{frames} frames.gif", gif[:-1] + block[:60] * min(frames, 20_000) + b";"
        control = (b"acTL", struct.pack(">II", frames, 0))
        frame = struct.pack(">IIIIIHHBB", 0, 24, 16, 0, 0, 1, 10, 0, 0)
        extra = [(b"fcTL", frame[:3] + bytes([i % 256]) + frame[4:]) for i in range(min(frames, 5_000))]
        yield f"{frames} frames.png", png_of([small[0], control, *extra, *small[1:]])
    for width, height in ((65_535, 65_535), (30_000, 30_000), (14_000, 14_000), (65_535, 1)):
        for name in ("rgb.jpg", "progressive.jpg"):
            jpeg = bytearray(base_images()[name])
            at = next(i for i in range(len(jpeg)) if jpeg[i] == 0xFF and jpeg[i + 1] in (0xC0, 0xC2))
            jpeg[at + 5 : at + 9] = struct.pack(">HH", height, width)
            yield f"{name[:-4]} {width} x {height}.jpg", bytes(jpeg)
        gif = _saved("P", "GIF")
        yield f"screen {width} x {height}.gif", gif[:6] + struct.pack("<HH", width, height) + gif[10:]
        bmp = _rle_bmp()
        yield f"{width} x {height}.bmp", bmp[:18] + struct.pack("<ii", width, height) + bmp[26:]
        for magic, more in ((b"P6", b"255"), (b"P5", b"65535"), (b"P3", b"255"), (b"P4", b""), (b"P1", b"")):
            yield (
                f"{magic.decode()} {width} x {height}.ppm",
                magic + b"\n%d %d\n%s\n" % (width, height, more) + b"01 " * 99,
            )
    jpeg = base_images()["progressive.jpg"]
    scan = jpeg[jpeg.index(b"\xff\xda") : -2]
    for count in (50, 101, 3_000):
        yield f"{count} scans.jpg", jpeg[:-2] + scan[: 400 if count > 100 else None] * count + b"\xff\xd9"
    yield "deep zip in zip.png", png_of([small[0], (b"IDAT", zlib.compress(zlib.compress(bytes(1 << 26), 9), 9)), end])


# ---- all


def image_cases(rng: random.Random, scale: float) -> Iterator[Case]:
    """All families of images; `scale` 1 gives some 6,000."""
    images = base_images()
    each = max(2, round(60 * scale))
    for name, content in images.items():
        for length in cuts(len(content), each, rng):
            yield _case("images: cut", f"{name} at {length}", name, content[:length], rng)
        for number in range(each):
            last = None if number % 2 else 200
            yield _case("images: bytes", f"{name} {number}", name, mutated(content, rng, last=last), rng)
        yield from _swapped(name, content, images, each // 10, rng)
    changes: tuple[tuple[str, str, Callable[[str, bytes, random.Random], Iterator[tuple[str, bytes]]], int], ...] = (
        ("images: PNG chunks", ".png .apng", changed_pngs, 110),
        ("images: TIFF tags", ".tif", changed_tiffs, 110),
        ("images: JPEG segments", ".jpg .mpo", changed_jpegs, 70),
        ("images: lengths", ".avif .jp2 .webp .gif .bmp", changed_boxes, 60),
    )
    for family, suffixes, change, most in changes:
        for name, content in images.items():
            if f".{name.rpartition('.')[2]}" in suffixes.split():
                made = (_case(family, what, name, bad, rng) for what, bad in change(name, content, rng))
                yield from spread(made, max(2, round(most * scale)), rng)
    made = (_case("images: bombs", what, what, bad, rng) for what, bad in bombs())
    yield from spread(made, round(200 * min(1, scale * 2)) or 1, rng)


def _swapped(name: str, content: bytes, images: dict[str, bytes], count: int, rng: random.Random) -> Iterator[Case]:
    """Another format's content under this name, or its head before this body."""
    for other in rng.sample(sorted(images), count):
        at = rng.randrange(4, 40)
        yield _case("images: swapped", f"{other} as {name}", name, images[other] + content[-at:], rng)
        yield _case("images: swapped", f"{other}[:{at}] + {name}", name, images[other][:at] + content[at:], rng)


def _case(family: str, what: str, name: str, content: bytes, rng: random.Random) -> Case:
    suffix = name.rpartition(".")[2]
    readers = ("image", "image", "image in memory", "windows")
    reader = "label map" if suffix in ("png", "tif") and rng.random() < 0.2 else rng.choice(readers)
    return Case(family=family, what=what, reader=reader, build=file(f"image.{suffix}", content))
