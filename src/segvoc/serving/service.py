"""Shared by all routes: limits of open requests, checks of images, and client disconnects."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import uvicorn
from fastapi import Request
from starlette.requests import ClientDisconnect

from segvoc.imaging.reading import decode_image, image_size
from segvoc.inference.label_options import LabelOptions
from segvoc.inference.segmentation import Segmentation
from segvoc.inference.segmenter import Segmenter
from segvoc.serving.answers import ServiceFailure
from segvoc.serving.labeler import Labeler, VocabularyDefinition
from segvoc.serving.observation import ServiceMetrics
from segvoc.serving.settings import ServiceSettings

_T = TypeVar("_T")


class Service:
    """State shared by the routes."""

    labeler: Labeler
    """Labels images; set at startup."""

    def __init__(self, open_model: Callable[[], Segmenter], settings: ServiceSettings, metrics: ServiceMetrics) -> None:
        self.open_model, self.settings, self.metrics = open_model, settings, metrics
        self.server: uvicorn.Server | None = None
        """The uvicorn server, if used."""
        self.password_paths = set[str]()
        """Paths that also accept the API key as an HTTP Basic password."""
        self.open = 0

    @property
    def stopping(self) -> bool:
        """Whether the process is shutting down; requests that only wait then end."""
        return self.server is not None and self.server.should_exit

    @contextmanager
    def place(self, *, labels: bool = True) -> Iterator[None]:
        """Take a slot among the open requests; released on exit.

        Raises:
            ServiceFailure: no slot is free, or the queue is full and the request needs the model (`labels`).
        """
        if self.open >= self.settings.requests:
            raise ServiceFailure("busy", f"{self.open} requests are open already; try again later", retry_after=1)
        if labels:
            self.labeler.check_room()
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1

    async def label(
        self,
        image: bytes,
        definition: VocabularyDefinition,
        options: LabelOptions,
        answer: Callable[[Segmentation, tuple[str, ...]], _T],
    ) -> _T:
        """Label the bytes of an image file; see `Labeler.label`."""
        await asyncio.to_thread(self._check_image, image, definition, options)
        read = partial(decode_image, image, max_pixels=self.settings.max_pixels)
        return await self.labeler.label(definition, options, read, answer)

    def _check_image(self, image: bytes, definition: VocabularyDefinition, options: LabelOptions) -> None:
        """Check the image's header before queueing it."""
        height, width = image_size(image, max_pixels=self.settings.max_pixels)
        classes = definition.number_of_classes
        if options.return_probabilities and height * width * classes > self.settings.max_pixels:
            raise ServiceFailure(
                "too_large", f"the probabilities of {classes} classes are too many for this image; ask for fewer words"
            )


async def unless_gone(request: Request, work: Coroutine[Any, Any, _T]) -> _T:
    """Run work for a request with its body read; if the client disconnects, cancel it and raise `ClientDisconnect`."""
    task, gone = asyncio.create_task(work), asyncio.create_task(_gone(request))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
