"""Error responses, without internal details."""

import json
from collections.abc import Mapping

from segvoc.errors import CheckpointError, ImageTooLargeError, InputError, UsageError

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
