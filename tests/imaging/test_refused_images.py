"""Images that can't be read are named in one line, which says what to do."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

from segvoc.errors import InputError, UsageError
from segvoc.imaging.image_formats import MAX_SIDE
from segvoc.imaging.reading import read_image
from tests.images import one_line_error, png, saved


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("nowhere.jpg", None, ("does not exist", "check the path")),
        ("empty.jpg", b"", ("empty", "download it again")),
        ("byte.png", b"P", ("not an image", "JPEG or PNG")),
        ("text.png", b"hello, I am no image at all", ("not an image", "JPEG or PNG")),
        ("document.png", b"%PDF-1.7 and so on", ("not an image", "JPEG or PNG")),
        ("zeros.png", bytes(5000), ("not an image", "JPEG or PNG")),
        ("scan.dcm", bytes(128) + b"DICM" + bytes(50), ("DICOM", "8-bit PNG")),
        ("slide", (b"II*\0" + bytes(124)) + b"DICM" + bytes(50), ("DICOM", "8-bit PNG")),
        ("old.dcm", b"\x08\0\x05\0" + bytes(200), ("DICOM", "8-bit PNG")),
        ("phone.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100), ("HEI",)),
        ("huge.png", png(100_000, 100_000, 8, 2, bytes(1000)), ("too large", "100000 x 100000", "200 megapixels")),
        ("wide.png", png(MAX_SIDE + 1, 1, 8, 0, b""), ("too large",)),
        ("tall.png", png(1, 200_000, 8, 0, b""), ("too large",)),
        ("large.png", png(20_000, 10_001, 8, 0, b""), ("too large",)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_files_that_are_no_images_are_named(tmp_path, name, content, said):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with one_line_error(InputError, name, *said):
        read_image(tmp_path / name)


def test_folders_and_named_pipes_are_named_and_do_not_hang(tmp_path: Path) -> None:
    with one_line_error(InputError, tmp_path.name, "is a folder", "give the images"):
        read_image(tmp_path)
    os.mkfifo(tmp_path / "pipe.png")
    with one_line_error(InputError, "pipe.png", "pipe", "save the image"):
        read_image(tmp_path / "pipe.png")


def test_postscript_is_not_run(tmp_path: Path) -> None:
    path = saved(Image.new("RGB", (8, 8)), tmp_path / "drawing.eps")
    with pytest.raises(InputError, match="not an image of a known format"):
        read_image(path)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".gif", ".bmp", ".tif", ".webp", ".jp2", ".ppm", ".avif"])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.9])
def test_truncated_files_are_named(tmp_path: Path, suffix: str, kept: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    path = saved(Image.fromarray(noise), tmp_path / f"half{suffix}")
    content = path.read_bytes()
    path.write_bytes(content[: max(20, int(len(content) * kept))])
    with one_line_error(InputError, f"half{suffix}", "damaged", "copy it again"):
        read_image(path)


def test_bomb_of_text_chunks_is_named(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("comment", "a" * 50_000_000, zip=True)
    path = saved(Image.new("RGB", (2, 2)), tmp_path / "chatty.png", pnginfo=info)
    with one_line_error(InputError, "chatty.png"):
        read_image(path)


def test_refused_permission_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(Image.new("RGB", (2, 2)), tmp_path / "secret.png")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with one_line_error(InputError, "secret.png", "permission denied", "chmod"):
        read_image(path)


@pytest.mark.parametrize("name", ["a\nb.png", "a\0b.png", "x" * 5000 + ".png", "\udcff.png"])
def test_odd_names_are_shown_on_one_line(name: str) -> None:
    with one_line_error(InputError, ".png"):
        read_image(name)


def test_file_opened_for_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_text("text")
    with (tmp_path / "photo.jpg").open() as file, one_line_error(UsageError, "binary mode"):
        read_image(file)


SHAPES = ((4, 4), (4, 4, 4), (3, 4, 4), (0, 4, 3), (1, 4, 4, 3))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        *((np.zeros(shape, np.uint8), "(H, W, 3) uint8") for shape in SHAPES),
        (np.zeros((4, 4, 3), np.float32), "(H, W, 3) uint8"),
        (torch.zeros(3, 4, 5), "float32"),
        (torch.zeros(1, 3, 4, 5, dtype=torch.uint8), "a batch as a list"),
        *((torch.zeros(shape, dtype=torch.uint8), "(3, H, W) uint8") for shape in ((4, 5), (4, 5, 3), (3, 0, 5))),
        (torch.zeros(3, 4, 3, dtype=torch.uint8), "may be (3, H, W) or (H, W, 3)"),
    ],
)
def test_other_arrays_and_tensors_are_refused(given: np.ndarray | torch.Tensor, said: str) -> None:
    with one_line_error(UsageError, said):
        read_image(given)


@pytest.mark.parametrize(
    "url", ["https://example.com/a/photo.jpg?w=9", "s3://bucket/photo.jpg", "data:image/png;base64,x"]
)
def test_urls_are_shown_as_they_were_given(url: str) -> None:
    for source in (url, Path(url)):
        with one_line_error(InputError, repr(url), "isn't fetched here", "download the image first"):
            read_image(source)
    with one_line_error(InputError, "'file:///home/photo.jpg' is a URL", "give the path alone"):
        read_image("file:///home/photo.jpg")
