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
from segvoc.serving.failures import ServiceFailure
from segvoc.serving.labeler import ImageWork, Labeler
from segvoc.serving.observation import ServiceMetrics
from segvoc.serving.settings import ServiceSettings
from segvoc.serving.vocabularies import VocabularyDefinition

_T = TypeVar("_T")


class Service:
    """State shared by the routes.

    Args:
        open_model: loads the model.
        settings: limits, timeouts and the API key.
        metrics: the metrics.
    """

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

        Args:
            labels: whether the request needs the model.

        Raises:
            ServiceFailure: no slot is free, or the queue is full.
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
        """Label an image file.

        Args:
            image: bytes of the file.
            definition: the vocabulary.
            options: labeling options.
            answer: encodes the response from the result and hints about the words; called in a thread.

        Raises:
            ServiceFailure: the queue is full, or the wait or the run took too long.
            InputError: the image can't be read.
            UsageError: words and options conflict.
        """
        await asyncio.to_thread(self._check_image, image, definition, options)
        read = partial(decode_image, image, max_pixels=self.settings.max_pixels)
        return await self.labeler.label(ImageWork(definition, options, read, answer))

    def _check_image(self, image: bytes, definition: VocabularyDefinition, options: LabelOptions) -> None:
        """Check the image's header before queueing it."""
        height, width = image_size(image, max_pixels=self.settings.max_pixels)
        classes = definition.number_of_classes
        if options.return_probabilities and height * width * classes > self.settings.max_pixels:
            raise ServiceFailure(
                "too_large", f"the probabilities of {classes} classes are too many for this image; ask for fewer words"
            )


async def unless_gone(request: Request, work: Coroutine[Any, Any, _T]) -> _T:
    """Run work, and cancel it if the client disconnects.

    Args:
        request: the request, with its body read.
        work: the work.

    Raises:
        ClientDisconnect: the client disconnected.
    """
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
