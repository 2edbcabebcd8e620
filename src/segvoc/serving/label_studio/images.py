"""Images of tasks: `data:` URIs, and what the configured Label Studio keeps; nothing else is read or fetched."""

import asyncio
import base64
import binascii
from concurrent.futures import ThreadPoolExecutor

from segvoc.errors import ImageTooLargeError, InputError
from segvoc.serving.label_studio.host import LabelStudioHost
from segvoc.serving.settings import ServiceSettings

FETCHING_THREADS = 4
"""Images that are fetched at once."""


class TaskImages:
    """Gets the image files of tasks."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._limit = settings.max_bytes
        self._host = None if settings.label_studio is None else LabelStudioHost(settings)
        self._threads = ThreadPoolExecutor(FETCHING_THREADS, thread_name_prefix="segvoc-fetch")

    async def get(self, source: object, task: object) -> bytes:
        """The image file of a task.

        Args:
            source: what the task's data says of the image.
            task: id of the task.

        Raises:
            InputError: it is no `data:` URI, and no address of the configured Label Studio; or it can't be had.
        """
        if not isinstance(source, str) or not source:
            raise InputError("it has no image in the field that the labeling configuration names; check its data")
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
