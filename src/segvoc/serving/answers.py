"""Response bodies: content negotiation (header Accept), results in each type, and errors without internal details."""

import io
import json
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping

import numpy as np
from PIL import Image

from segvoc.errors import CheckpointError, ImageTooLargeError, InputError, UsageError
from segvoc.imaging.annotations import coco_masks
from segvoc.imaging.label_maps import label_map_image
from segvoc.inference.segmentation import Segmentation
from segvoc.storage.files import strict_json

JSON, PNG, ZIP = "application/json", "image/png", "application/zip"


def negotiated(accept: str | None) -> str:
    """The supported type of the highest weight in the header Accept (RFC 9110, 12.5.1); of equal ones the first."""
    entries = [entry.strip().lower() for entry in (accept or "*/*").split(",")]
    weights: dict[str, tuple[float, int]] = {}
    for place, entry in enumerate(entries):
        wanted, *parameters = (piece.strip() for piece in entry.split(";"))
        weights.setdefault(wanted, (_weight(parameters), -place))
    found: dict[str, tuple[float, int]] = {}
    for offered in ANSWERS:
        # the most specific range counts
        for wanted in (offered, f"{offered.partition('/')[0]}/*", "*/*"):
            if wanted in weights:
                found[offered] = weights[wanted]
                break
    best = max(found, key=lambda offered: found[offered], default=None)
    if best is not None and found[best][0] > 0:
        return best
    raise ServiceFailure("not_acceptable", f"the answer is one of {', '.join(ANSWERS)}; accept one of them")


def _weight(parameters: Iterable[str]) -> float:
    for parameter in parameters:
        if found := re.fullmatch(r"q\s*=\s*(0(\.\d*)?|1(\.0*)?)", parameter):
            return float(found[1])
    return 1.0


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


FAILURES: Mapping[str, tuple[int, str]] = {
    "bad_request": (400, "The body can't be read: damaged JSON, or an incomplete or damaged form."),
    "unauthorized": (401, "The API key is missing or wrong."),
    "forbidden": (403, "The request is cross-site, or not local although the service has no keys."),
    "not_found": (404, "There is nothing at this address."),
    "method_not_allowed": (405, "The address doesn't take this method."),
    "not_acceptable": (406, "None of the accepted types is supported."),
    "upload_timeout": (408, "The body took too long."),
    "too_large": (413, "The request, the image file, or the image has more bytes or pixels than allowed."),
    "unsupported_media_type": (415, "The body's type is not supported."),
    "invalid_image": (422, "The image is damaged, or of an unknown format."),
    "invalid_request": (422, "Words or options are invalid or conflict."),
    "too_many": (429, "This API key has too many requests open; try again after the time in Retry-After."),
    "queue_full": (429, "The queue is full; try again after the time in Retry-After."),
    "internal": (500, "Internal error; find the request id in the service's log."),
    "busy": (503, "Too many requests are open, or the wait was too long; try again after the time in Retry-After."),
    "timeout": (504, "Labeling took too long."),
}
"""Error codes: the HTTP status and meaning of each."""

_CODES = {status: code for code, (status, _) in reversed(FAILURES.items())}


class ServiceFailure(Exception):
    """An error response.

    Args:
        code: a key of `FAILURES`, or any other with a `status`.
        message: one line for the client: what is wrong and how to fix it.
        status: the HTTP status; None: the code's status.
        retry_after: value of Retry-After [s].
        headers: further response headers.
        details: further values of the response body, beside the error.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int | None = None,
        retry_after: int | None = None,
        headers: Mapping[str, str] | None = None,
        details: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.code, self.message = code, " ".join(message.split())
        self.status = FAILURES[code][0] if status is None else status
        self.headers, self.details = {**(headers or {})}, {**(details or {})}
        if retry_after is not None:
            self.headers["Retry-After"] = str(retry_after)

    @classmethod
    def of_status(cls, status: int, headers: Mapping[str, str] | None = None) -> "ServiceFailure":
        """The failure for a status raised by the web framework, such as 404."""
        code = _CODES.get(status, "internal" if status >= 500 else "bad_request")
        return cls(code, FAILURES[code][1], headers=headers)

    @classmethod
    def of(cls, error: BaseException) -> "ServiceFailure | None":
        """The failure for an error to show to the client; None for internal errors."""
        if isinstance(error, ServiceFailure):
            return error
        if isinstance(error, ImageTooLargeError):
            return cls("too_large", str(error))
        if isinstance(error, InputError):
            return cls("invalid_image", str(error))
        if isinstance(error, UsageError) and not isinstance(error, CheckpointError):
            return cls("invalid_request", str(error))
        return None

    def body(self, request_id: str) -> bytes:
        """The response body, as JSON."""
        error = {"code": self.code, "message": self.message, "request_id": request_id}
        return json.dumps({"error": error, **self.details}).encode()
