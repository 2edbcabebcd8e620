"""Images of tasks: `data:` URIs, and files of the configured Label Studio; nothing else is fetched."""

import asyncio
import base64
import binascii
import http.client
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NoReturn
from urllib.parse import SplitResult, quote, unquote, urlsplit

from segvoc import InputError
from segvoc.errors import ImageTooLargeError
from segvoc_annotate.settings import AnnotateSettings

REDIRECTS = 2
"""Max redirects within Label Studio."""

ACCESS_SECONDS = 120.0
"""Lifetime of a cached access token; Label Studio's limit is 300 s."""

TOKEN_ADDRESS = "/api/token/refresh/"
"""Where Label Studio exchanges personal access tokens."""

_IMAGE_PATHS = re.compile(r"/(data|storage-data)/[^\\]+|/tasks/\d+/(presign|resolve)/")
"""Image paths in Label Studio: uploads, local files and cloud storage."""

_CLOUD = re.compile(r"(s3|gs|azure-blob)://", re.IGNORECASE)
_LARGEST_TOKEN = 100_000
_CHUNK = 65_536


class LabelStudioHost:
    """Fetches images of tasks, of at most `max_bytes`; thread-safe."""

    def __init__(self, settings: AnnotateSettings, max_bytes: int) -> None:
        self._origin = _origin(urlsplit(settings.label_studio or ""))
        self._settings, self._max_bytes = settings, max_bytes
        self._lock = threading.Lock()
        self._access, self._fetched_access = "", -ACCESS_SECONDS

    def fetch(self, source: str, task: object) -> bytes:
        """Fetch the image file of a task from a Label Studio URL or path, or a URI of its cloud storage.

        `InputError` if the address isn't an image of this Label Studio, or can't be fetched within the limits.
        """
        target, deadline = self._target(source, task), time.monotonic() + self._settings.fetch_seconds
        for _ in range(REDIRECTS + 1):
            headers = {"Authorization": self._authorization(deadline), "Accept": "*/*"}
            with self._answer("GET", target, headers, b"", deadline) as (answer, connected):
                if 300 <= answer.status < 400:
                    target = self._target(answer.getheader("Location", ""), None)
                    continue
                if answer.status != 200:
                    raise InputError(
                        f"Label Studio answered {answer.status} for the image; check the token and the task"
                    )
                return self._content(answer, connected, self._max_bytes, deadline)
        raise InputError(f"Label Studio redirects more than {REDIRECTS} times; check the image in the task")

    def _target(self, source: str, task: object) -> str:
        """The path and query of the request to Label Studio."""
        if _CLOUD.match(source):
            if not isinstance(task, int):
                _refused(source)
            encoded = base64.urlsafe_b64encode(source.encode("utf-8", "replace")).decode()
            return f"/tasks/{task}/resolve/?fileuri={encoded}"
        try:
            place = urlsplit(source)
            elsewhere = (place.scheme or place.netloc) and _origin(place) != self._origin
        except ValueError:
            _refused(source)
        if elsewhere:
            _refused(source)
        path = unquote(place.path)
        if path.startswith("upload/"):
            path = f"/data/{path}"
        if ".." in path.split("/") or _IMAGE_PATHS.fullmatch(path) is None:
            _refused(source)
        query = quote(place.query, safe="=&%/?:@!$'()*+,;~.-_")
        return quote(path) + (f"?{query}" if query else "")

    def _authorization(self, deadline: float) -> str:
        token = self._settings.label_studio_token or ""
        if token.count(".") != 2:
            return f"Token {token}"
        with self._lock:
            if time.monotonic() - self._fetched_access >= ACCESS_SECONDS:
                self._access = self._exchanged(token, deadline)
                self._fetched_access = time.monotonic()
            return f"Bearer {self._access}"

    def _exchanged(self, token: str, deadline: float) -> str:
        """Exchange a personal access token for an access token."""
        body = json.dumps({"refresh": token}).encode()
        headers = {"Content-Type": "application/json"}
        with self._answer("POST", TOKEN_ADDRESS, headers, body, deadline) as (answer, connected):
            if answer.status != 200:
                raise InputError(f"Label Studio answered {answer.status} for its token; make a new one")
            try:
                told = json.loads(self._content(answer, connected, _LARGEST_TOKEN, deadline))
                return str(told["access"])
            except (ValueError, KeyError, TypeError):
                raise InputError("Label Studio gave no access token; check its address") from None

    @contextmanager
    def _answer(
        self, method: str, target: str, headers: dict[str, str], body: bytes, deadline: float
    ) -> Iterator[tuple[http.client.HTTPResponse, socket.socket]]:
        scheme, host, port = self._origin
        seconds = max(0.001, deadline - time.monotonic())
        if scheme == "https":
            context = ssl.create_default_context()
            connection = http.client.HTTPSConnection(host, port, timeout=seconds, context=context)
        else:
            connection = http.client.HTTPConnection(host, port, timeout=seconds)
        try:
            connection.connect()
            connected = connection.sock
            connection.request(method, target, body or None, headers)
            with connection.getresponse() as answer:  # the response keeps the socket open until it is closed
                yield answer, connected
        except (OSError, http.client.HTTPException) as error:
            reason = "it took too long" if isinstance(error, TimeoutError) else type(error).__name__
            raise InputError(f"Label Studio can't be reached for the image: {reason}; check its address") from None
        finally:
            connection.close()

    def _content(
        self, answer: http.client.HTTPResponse, connected: socket.socket, limit: int, deadline: float
    ) -> bytes:
        content = bytearray()
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            connected.settimeout(left)
            chunk = answer.read1(_CHUNK)
            if not chunk:
                return bytes(content)
            content += chunk
            if len(content) > limit:
                raise ImageTooLargeError(f"the image in Label Studio has more than {limit} bytes; make it smaller")


def _origin(place: SplitResult) -> tuple[str, str, int | None]:
    default = {"http": 80, "https": 443}.get(place.scheme)
    return place.scheme, place.hostname or "", place.port or default


def _refused(source: str) -> NoReturn:
    raise InputError(
        f"the image is at {source[:100]!r}, which isn't fetched; upload it to the Label Studio of --label-studio, or "
        "put it into the task as a data: URI"
    )


FETCHING_THREADS = 4
"""Max concurrent fetches."""


class TaskImages:
    """Gets the image files of tasks; see `LabelStudioHost`."""

    def __init__(self, settings: AnnotateSettings, max_bytes: int) -> None:
        self._limit = max_bytes
        self._host = None if settings.label_studio is None else LabelStudioHost(settings, max_bytes)
        self._threads = ThreadPoolExecutor(FETCHING_THREADS, thread_name_prefix="segvoc-fetch")

    async def get(self, source: object, task: object) -> bytes:
        """The image file of a task, by the image field of its data and its id.

        `InputError` if that is neither a `data:` URI nor at the configured Label Studio, or can't be fetched.
        """
        if not isinstance(source, str) or not source:
            raise InputError("it has no image in the field named by the labeling configuration; check its data")
        if source[:5].lower() == "data:":
            return await asyncio.to_thread(self._decoded, source)
        if self._host is None:
            raise InputError(
                f"the image is at {source[:100]!r}, and this service fetches none; start it with --label-studio, or "
                "put the image into the task as a data: URI"
            )
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._host.fetch, source, task)

    def _decoded(self, uri: str) -> bytes:
        header, _, content = uri.partition(",")
        if not header.lower().endswith(";base64"):
            raise InputError("the image's data: URI isn't base64; write it as data:image/png;base64,...")
        if len(content) * 3 // 4 > self._limit + 3:
            raise ImageTooLargeError(f"the image's data: URI has more than {self._limit} bytes; make the image smaller")
        try:
            return base64.b64decode(content, validate=True)
        except (binascii.Error, ValueError):
            raise InputError("the image's data: URI isn't base64; encode the bytes of the file") from None
