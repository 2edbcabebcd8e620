"""A client of the service that `segvoc serve` starts; it needs no model, and neither PyTorch nor ONNX Runtime.

from segvoc.client import Client

client = Client("http://127.0.0.1:8000")
result = client.segment("photo.jpg", ["cat", "sofa", "wall"])
result.labels, result.confidence, result.report["classes"]
"""

import base64
import http.client
import io
import json
import os
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack
from urllib.parse import urlsplit

import numpy as np
from jaxtyping import Float32, UInt16
from PIL import Image

from segvoc.errors import InputError, SegvocError, UsageError
from segvoc.imaging.label_maps import labels_of
from segvoc.inference.label_options import IMAGE_OPTIONS, LabelKeywords, LabelOptions

LONGEST_WAIT = 60.0
"""Longest time between two attempts [s], whatever the service asks for."""

FIRST_WAIT = 0.5
"""Time before the second attempt [s] where the service says nothing; it doubles with each further one."""

_GONE = (429, 500, 502, 503, 504)
_LOST = (ConnectionResetError, ConnectionAbortedError, BrokenPipeError, http.client.IncompleteRead)


class ServiceError(SegvocError):
    """The service refused a request, failed, or can't be reached.

    Args:
        message: what is wrong and how to fix it.
        code: the service's code of the failure, such as "queue_full"; "unreachable" without an answer.
        status: HTTP status; 0 without an answer.
        request_id: id of the request in the service's log.
    """

    def __init__(self, message: str, *, code: str, status: int = 0, request_id: str = "") -> None:
        super().__init__(message)
        self.code, self.status, self.request_id = code, status, request_id


@dataclass(frozen=True, kw_only=True, eq=False)
class ServiceResult:
    """An image that the service labeled; all arrays have the image's own size (H, W)."""

    labels: UInt16[np.ndarray, "H W"]
    """Index into `words` of each pixel's class; 65535 means unlabeled."""
    words: tuple[str, ...]
    """Names of the classes."""
    confidence: Float32[np.ndarray, "H W"]
    """Probability of each pixel's class, in [0, 1], in steps of 1/255."""
    report: dict[str, Any]
    """The contents of `out/photo.json`, and "hints" about the words."""
    overlay: bytes
    """The overlay as PNG."""
    part_labels: UInt16[np.ndarray, "H W"] | None = None
    """Index into the report's "parts" of each pixel's part; 65535 means none. None if no parts were requested."""
    probabilities: Float32[np.ndarray, "K H W"] | None = None
    """Probability of every class, in [0, 1]; None unless requested."""


class Client:
    """Calls the service.

    Args:
        url: where it is.
        api_key: its API key, if it asks for one.
        timeout: time to wait for an answer [s].
        attempts: how often to try where the service is full or stopping (it says after what time), or where the
            connection or the machine that works on the request is lost; labeling twice does no harm.

    Raises:
        UsageError: the URL is none of HTTP.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        api_key: str | None = None,
        timeout: float = 120.0,
        attempts: int = 5,
    ) -> None:
        if urlsplit(url).scheme not in ("http", "https"):
            raise UsageError(f"{url!r} is not a URL of a service; give one such as 'http://127.0.0.1:8000'")
        self.url, self.timeout, self.attempts = url.rstrip("/"), timeout, attempts
        self._reached = False
        self._headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}

    def segment(
        self,
        image: str | os.PathLike[str] | bytes,
        words: Sequence[str] | None = None,
        *,
        options: LabelOptions | None = None,
        vocabulary: str | None = None,
        parts: Mapping[str, Sequence[str]] | None = None,
        **changes: Unpack[LabelKeywords],
    ) -> ServiceResult:
        """Label an image.

        Args:
            image: the path of an image file, or its bytes.
            words: as for `Segmenter.segment`.
            options: how to label (default: `LabelOptions()`); not in tiles, and not smoothed.
            vocabulary: the name of a vocabulary, from `encode`, in place of words, parts and background.
            parts: as for `Segmenter.segment`.
            changes: single options of `LabelOptions`, in place of those in `options`.

        Raises:
            InputError: the file can't be read.
            UsageError: an option is out of range, or none of the service's.
            ServiceError: the service refused.
        """
        asked = {
            "words": None if words is None else list(words),
            "vocabulary": vocabulary,
            "parts": _lists(parts),
            **_fields(LabelOptions.of(options, changes)),
            "image": base64.b64encode(_content(image)).decode(),
        }
        body = {name: value for name, value in asked.items() if value is not None}
        with zipfile.ZipFile(io.BytesIO(self._post("segment", body, "application/zip"))) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
        report = json.loads(files["result.json"])
        values = np.load(io.BytesIO(files["probabilities.npy"])) if "probabilities.npy" in files else None
        return ServiceResult(
            labels=_labels(files["labels.png"]),
            words=tuple(entry["name"] for entry in report["classes"]),
            confidence=np.asarray(Image.open(io.BytesIO(files["confidence.png"]))).astype(np.float32) / 255,
            report=report,
            overlay=files["overlay.png"],
            part_labels=_labels(files["parts.png"]) if "parts.png" in files else None,
            probabilities=values,
        )

    def encode(
        self,
        words: Sequence[str] | None = None,
        *,
        parts: Mapping[str, Sequence[str]] | None = None,
        background: str | None = None,
    ) -> str:
        """Have the service encode words once; the name that `segment` takes as `vocabulary`.

        Raises:
            ServiceError: the service refused.
        """
        options = {"words": None if words is None else list(words), "parts": _lists(parts), "background": background}
        body = {name: value for name, value in options.items() if value is not None}
        return json.loads(self._post("vocabularies", body, "application/json"))["vocabulary"]

    def models(self) -> dict[str, Any]:
        """The service's models and limits.

        Raises:
            ServiceError: the service refused.
        """
        return json.loads(self._call(urllib.request.Request(f"{self.url}/v1/models", headers=self._headers)))

    def _post(self, path: str, body: Mapping[str, object], accept: str) -> bytes:
        headers = {**self._headers, "Content-Type": "application/json", "Accept": accept}
        return self._call(urllib.request.Request(f"{self.url}/v1/{path}", json.dumps(body).encode(), headers))

    def _call(self, request: urllib.request.Request) -> bytes:
        for attempt in range(1, self.attempts + 1):
            wait = min(FIRST_WAIT * 2 ** (attempt - 1), LONGEST_WAIT)
            try:
                with urllib.request.urlopen(request, timeout=self.timeout) as answer:
                    content = answer.read()
                self._reached = True
                return content
            except urllib.error.HTTPError as error:
                self._reached = True
                failure, asked = _service_error(error), error.headers.get("Retry-After", "")
                # what stands in front of a service answers in another form where the service went away
                again = asked.isdigit() or (failure.code == "unknown" and error.code in _GONE)
                wait = min(float(asked), LONGEST_WAIT) if asked.isdigit() else wait
            except (OSError, http.client.HTTPException) as error:
                reason = getattr(error, "reason", error)
                failure = ServiceError(
                    f"{self.url} can't be reached: {reason}; check the address, and that the service runs",
                    code="unreachable",
                )
                again = isinstance(reason, _LOST) or (self._reached and isinstance(reason, ConnectionRefusedError))
            if not again or attempt == self.attempts:
                raise failure from None
            time.sleep(wait)
        raise UsageError(f"attempts={self.attempts} is not a number of attempts; give one from 1")


def _service_error(error: urllib.error.HTTPError) -> ServiceError:
    try:
        told = json.loads(error.read())["error"]
        return ServiceError(
            f"{told['message']} (request {told['request_id']})",
            code=told["code"],
            status=error.code,
            request_id=told["request_id"],
        )
    except (ValueError, KeyError, TypeError, OSError):
        return ServiceError(f"the service answered {error.code} {error.reason}", code="unknown", status=error.code)


def _content(image: str | os.PathLike[str] | bytes) -> bytes:
    if isinstance(image, bytes):
        return image
    try:
        return Path(image).read_bytes()
    except OSError as error:
        raise InputError(f"{os.fspath(image)!r} can't be read: {error.strerror}; check the path") from None


def _fields(options: LabelOptions) -> dict[str, object]:
    """The options as fields of a request."""
    fields = {name: getattr(options, name) for name in IMAGE_OPTIONS}
    if LabelOptions(**fields, return_probabilities=options.return_probabilities) != options:
        raise UsageError("the service labels whole images, each by itself; leave out tile, overlap, wrap and smooth")
    return {**fields, "probabilities": options.return_probabilities}


def _lists(parts: Mapping[str, Sequence[str]] | None) -> dict[str, list[str]] | None:
    return None if parts is None else {name: list(listed) for name, listed in parts.items()}


def _labels(png: bytes) -> UInt16[np.ndarray, "H W"]:
    return labels_of(Image.open(io.BytesIO(png)), "the label map")
