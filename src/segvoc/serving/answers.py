"""Response bodies: content negotiation (header Accept), and results in each type."""

import io
import zipfile
from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image

from segvoc.imaging.brush_masks import coco_masks
from segvoc.imaging.label_maps import label_map_image
from segvoc.inference.segmentation import Segmentation
from segvoc.serving.failures import ServiceFailure
from segvoc.storage.files import strict_json

JSON, PNG, ZIP = "application/json", "image/png", "application/zip"


def negotiated(accept: str | None) -> str:
    """The first supported type in the header Accept, ignoring weights."""
    for entry in (accept or "*/*").split(","):
        wanted = entry.partition(";")[0].strip().lower()
        for offered in ANSWERS:
            if wanted in (offered, f"{offered.partition('/')[0]}/*", "*/*"):
                return offered
    raise ServiceFailure("not_acceptable", f"the answer is one of {', '.join(ANSWERS)}; accept one of them")


FAST = 1
"""PNG compression level: at 6, photos are hardly smaller but take four times as long."""


def json_answer(result: Segmentation, hints: tuple[str, ...], name: str | None) -> bytes:
    """The report of a result, with the mask of every class and part, as JSON."""
    report = result.report() | {"image": name, "hints": list(hints)}
    _add_masks(report["classes"], result.labels)
    if result.part_labels is not None:
        _add_masks(report["parts"], result.part_labels)
    return strict_json(report).encode()


def png_answer(result: Segmentation, hints: tuple[str, ...], name: str | None) -> bytes:
    """The label map, as `segvoc segment` writes it."""
    return _png(label_map_image(result.labels, result.colors))


def zip_answer(result: Segmentation, hints: tuple[str, ...], name: str | None) -> bytes:
    """Label map, confidence (gray, 255 is 1), overlay and report; part map and probabilities if requested."""
    files = {
        "labels.png": _png(label_map_image(result.labels, result.colors)),
        "confidence.png": _png(Image.fromarray(np.rint(result.confidence * 255).astype(np.uint8)), FAST),
        "overlay.png": _png(result.overlay(), FAST),
        "result.json": strict_json(result.report() | {"image": name, "hints": list(hints)}).encode(),
    }
    if result.part_labels is not None:
        files["parts.png"] = _png(label_map_image(result.part_labels, result.part_colors))
    if result.probabilities is not None:
        buffer = io.BytesIO()
        np.save(buffer, result.probabilities)
        files["probabilities.npy"] = buffer.getvalue()
    archive = io.BytesIO()
    # PNG is compressed already
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
        for path, content in files.items():
            file.writestr(path, content)
    return archive.getvalue()


ANSWERS: Mapping[str, Callable[[Segmentation, tuple[str, ...], str | None], bytes]] = {
    JSON: json_answer,
    PNG: png_answer,
    ZIP: zip_answer,
}
"""Encoders of each response type: from a result, hints about the words, and the image's file name."""


def _add_masks(entries: list[dict[str, object]], labels: np.ndarray) -> None:
    for entry, mask in zip(entries, coco_masks(labels, len(entries)), strict=True):
        entry["rle"] = mask


def _png(image: Image.Image, level: int = 6) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=level)
    return buffer.getvalue()
