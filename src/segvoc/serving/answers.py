"""Response bodies: content negotiation (header Accept), results in each type, errors, and their schemas (OpenAPI)."""

import io
import json
import re
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from PIL import Image
from pydantic import BaseModel, Field

from segvoc.errors import CheckpointError, ImageTooLargeError, InputError, UsageError
from segvoc.imaging.annotations import coco_masks
from segvoc.imaging.label_maps import label_map_image
from segvoc.inference.segmentation import Segmentation
from segvoc.labeling.big_images import LargeResult
from segvoc.storage.files import strict_json

JSON, PNG, ZIP = "application/json", "image/png", "application/zip"


def negotiated(accept: str | None) -> str:
    """The supported type of the highest weight in the header Accept (RFC 9110, 12.5.1); of equal ones the first."""
    ranges: dict[str, tuple[float, int]] = {}
    for entry in (accept or "*/*").lower().split(","):
        weight = re.search(r";\s*q\s*=\s*(0(\.\d*)?|1(\.0*)?)\s*(;|$)", entry)
        ranges.setdefault(entry.partition(";")[0].strip(), (float(weight[1]) if weight else 1.0, -len(ranges)))

    def preference(offered: str) -> tuple[float, int]:
        of_most_specific = (offered, f"{offered.partition('/')[0]}/*", "*/*")
        return next((ranges[name] for name in of_most_specific if name in ranges), (0.0, 0))

    best = max(ANSWERS, key=preference)
    if preference(best)[0] > 0:
        return best
    raise ServiceFailure("not_acceptable", f"the answer is one of {', '.join(ANSWERS)}; accept one of them")


Result = Segmentation | LargeResult

FAST = 1
"""PNG compression level: at 6, photos are hardly smaller but take four times as long."""


def json_answer(result: Result, about: Mapping[str, object]) -> bytes:
    """The report of a result, with the mask of every class, part and object, as JSON."""
    report = {**result.report(), **about}
    for kind, labels in (("classes", result.labels), ("parts", result.part_labels)):
        if labels is not None:
            masks = coco_masks(labels, len(report[kind]))
            report[kind] = [{**entry, "rle": mask} for entry, mask in zip(report[kind], masks, strict=True)]
    if isinstance(result, Segmentation) and result.object_map is not None:
        report["objects"] = [
            {"name": one.word, "box": one.box, "score": one.score, "pixels": one.area, "rle": one.mask}
            for one in result.objects
        ]
    return strict_json(report).encode()


def png_answer(result: Result, about: Mapping[str, object]) -> bytes:
    """The label map, as `segvoc segment` writes it."""
    return _png(label_map_image(result.labels, result.colors))


def zip_answer(result: Result, about: Mapping[str, object]) -> bytes:
    """Label map, overlay and report, and if any, confidence (gray, 255 is 1), parts, objects, probabilities."""
    files = {
        "labels.png": _png(label_map_image(result.labels, result.colors)),
        "overlay.png": _png(result.overlay(), FAST),
        "result.json": strict_json({**result.report(), **about}).encode(),
    }
    if result.confidence is not None:
        files["confidence.png"] = _png(Image.fromarray(np.rint(result.confidence * 255).astype(np.uint8)), FAST)
    if isinstance(result, Segmentation) and result.part_labels is not None:
        files["parts.png"] = _png(label_map_image(result.part_labels, result.part_colors))
    if isinstance(result, Segmentation) and result.object_map is not None:
        files["objects.png"] = _png(Image.fromarray(result.object_map))
    if result.probabilities is not None:
        np.save(buffer := io.BytesIO(), result.probabilities)
        files["probabilities.npy"] = buffer.getvalue()
    archive = io.BytesIO()
    # PNG is compressed already
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
        for path, content in files.items():
            file.writestr(path, content)
    return archive.getvalue()


ANSWERS: Mapping[str, Callable[[Result, Mapping[str, object]], bytes]] = {
    JSON: json_answer,
    PNG: png_answer,
    ZIP: zip_answer,
}
"""Encoders of each response type: from a result, and what the report also says (`SegmentAnswer`)."""


def _png(image: Image.Image, level: int = 6) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=level)
    return buffer.getvalue()


FAILURES: Mapping[str, tuple[int, str]] = {
    "bad_request": (400, "The body can't be read: damaged JSON, or an incomplete or damaged form."),
    "unauthorized": (401, "The API key is missing or wrong."),
    "forbidden": (403, "The API key lacks the role; or, without keys, the request is cross-site or not local."),
    "not_found": (
        404,
        "There is nothing at this address; POST /v1/segment labels an image, and GET /openapi.json lists all.",
    ),
    "method_not_allowed": (405, "The address doesn't take this method; images are labeled by POST."),
    "not_acceptable": (406, "None of the accepted types is supported."),
    "upload_timeout": (408, "The body took too long."),
    "too_large": (413, "The request, the image file, or the image has more bytes or pixels than allowed."),
    "unsupported_media_type": (415, "The body's type is not supported."),
    "invalid_image": (422, "The image is damaged, or in no known format."),
    "invalid_request": (422, "Words or options are invalid or conflict."),
    "too_many": (429, "This API key has too many requests open or sent; try again after the time in Retry-After."),
    "queue_full": (429, "The queue is full; try again after the time in Retry-After."),
    "internal": (500, "Internal error; find the request id in the service's log."),
    "busy": (503, "Too many requests are open, or the wait was too long; try again after the time in Retry-After."),
    "stuck": (503, "The model doesn't end a batch; the service has to be restarted."),
    "timeout": (504, "Labeling took too long."),
}
"""Error codes: the HTTP status and meaning of each."""

_CODES = {status: code for code, (status, _) in reversed(FAILURES.items())}


class ServiceFailure(Exception):
    """An error response: one line for the client that says what is wrong and how to fix it.

    `code` is a key of `FAILURES`, or any other with a `status`; `retry_after` is the value of Retry-After [s];
    `details` are further values of the response body, next to the error, each as JSON.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int | None = None,
        retry_after: int | None = None,
        headers: Mapping[str, str] | None = None,
        details: Mapping[str, str] | None = None,
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
        values = {"error": json.dumps(error), **self.details}
        return f"{{{', '.join(f'{json.dumps(name)}: {value}' for name, value in values.items())}}}".encode()


# ---- schemas


class Mask(BaseModel):
    """A mask as COCO RLE (compressed), which pycocotools decodes."""

    size: list[int] = Field(description="Height and width [px].", examples=[[480, 640]])
    counts: str = Field(description="The compressed run lengths, column by column.")


class RegionFigures(BaseModel):
    """The share of an image of a class or part."""

    pixels: int
    fraction: float
    confidence: float | None = Field(description="Mean confidence of its pixels; null without pixels.")
    rle: Mask


class ClassAnswer(RegionFigures):
    """A class in an image."""

    id: int = Field(description="Its value in the label map.")
    name: str
    color: list[int] = Field(description="RGB.", examples=[[31, 119, 180]])
    objects: int | None = Field(None, description="Its number of objects; only if objects were requested.")


class PartAnswer(RegionFigures):
    """A part in an image."""

    id: int = Field(description="Its value in the part map.")
    object: str | None = Field(description="Its object; null for any object.")
    part: str
    name: str = Field(examples=["cat's head"])


class ObjectAnswer(BaseModel):
    """An object in an image."""

    name: str = Field(description="Its class.")
    box: list[int] = Field(description="x0, y0, x1, y1 [px]; x1 and y1 are exclusive.", examples=[[60, 40, 210, 160]])
    score: float = Field(description="Mean confidence of its pixels.")
    pixels: int
    rle: Mask


_WEIGHTS = Field(description="Digest of the model's weights; null for an engine of your own.")
_VERSION = Field(description="segvoc's version.")


class SegmentAnswer(BaseModel):
    """A labeled image."""

    model: str
    weights: str | None = _WEIGHTS
    version: str = _VERSION
    hints: list[str] = Field(description="What suggests that other words or options were meant.")
    image: str | None = Field(description="File name of the image in the form.")
    width: int
    height: int
    dtype: str
    classes: list[ClassAnswer]
    parts: list[PartAnswer] | None = Field(None, description="Only if parts were requested.")
    objects: list[ObjectAnswer] | None = Field(None, description="Only if objects were requested.")
    unlabeled: int = Field(description="Pixels without a class.")
    quality: float | None = Field(
        description="Expected share of right pixels: the mean confidence of the words but the background; null where "
        "confidence is no probability."
    )
    not_found: list[str] = Field(description="The words without pixels.")
    unsure: bool = Field(description="Whether perhaps none of the words is in the image.")
    seconds: float = Field(description="Time for labeling the image [s].")


class ModelAnswer(BaseModel):
    """A model."""

    name: str
    weights: str | None = _WEIGHTS
    parameters: int | None = Field(description="Number of parameters; null if unknown.")
    dtype: str
    parts: bool = Field(description="Whether the model labels parts.")
    windows: list[str]
    license: str | None = Field(description="License of the weights; null if unknown.")
    batch: int = Field(description="Batch size.")
    taught: list[str] = Field(description="Words taught by examples.")
    taught_files: list[str] = Field(description="Digests of the files of taught words, which affect the labels.")


class Limits(BaseModel):
    """Limits of a request."""

    bytes: int = Field(description="Maximum size of an image file.")
    pixels: int = Field(description="Maximum number of pixels of an image that is labeled as a whole.")
    tiled_pixels: int = Field(description="Maximum number of pixels of an image, labeled in tiles, without parts.")
    words: int


class ModelsAnswer(BaseModel):
    """The models of the service, and its limits."""

    models: list[ModelAnswer]
    version: str = _VERSION
    limits: Limits


class FailureText(BaseModel):
    """The error."""

    code: str
    message: str = Field(description="One line: what is wrong and how to fix it.")
    request_id: str = Field(description="The id of the request in the service's log; also in X-Request-ID.")


class FailureAnswer(BaseModel):
    """A failure."""

    error: FailureText


FAILURE_ANSWERS: Mapping[int | str, dict[str, Any]] = {
    "4XX": {"model": FailureAnswer, "description": "The request is invalid or rejected; the message says why."},
    "5XX": {"model": FailureAnswer, "description": "The service is unavailable or failed."},
}
"""Error responses of every route; an argument of FastAPI's routes (`responses`)."""
