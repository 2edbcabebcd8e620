"""What all addresses of the service share: places for requests, checks of images, and callers who leave."""

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
    """What the routes share.

    Args:
        open_model: loads the model.
        settings: limits, times and the API key.
        metrics: notes what happens.
    """

    labeler: Labeler
    """Labels images; set when the application starts."""

    def __init__(self, open_model: Callable[[], Segmenter], settings: ServiceSettings, metrics: ServiceMetrics) -> None:
        self.open_model, self.settings, self.metrics = open_model, settings, metrics
        self.server: uvicorn.Server | None = None
        """What runs the service, if it is uvicorn."""
        self.password_paths = set[str]()
        """Addresses that take the API key as the password of HTTP's scheme Basic, too."""
        self.open = 0

    @property
    def stopping(self) -> bool:
        """Whether the process was told to stop; requests that only wait for something then end."""
        return self.server is not None and self.server.should_exit

    @contextmanager
    def place(self, *, labels: bool = True) -> Iterator[None]:
        """A place among the open requests; it is given back at the end.

        Args:
            labels: whether the request needs the model.

        Raises:
            ServiceFailure: there is none, or the queue is full.
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
            image: its bytes.
            definition: what to label it with.
            options: how to label it.
            answer: makes the answer of the result and of hints about the words; called in a thread.

        Raises:
            ServiceFailure: the queue is full, or the wait or the run took too long.
            InputError: the image can't be read.
            UsageError: words and options don't fit together.
        """
        await asyncio.to_thread(self._check_image, image, definition, options)
        read = partial(decode_image, image, max_pixels=self.settings.max_pixels)
        return await self.labeler.label(ImageWork(definition, options, read, answer))

    def _check_image(self, image: bytes, definition: VocabularyDefinition, options: LabelOptions) -> None:
        """Check what the image's header says before it takes a place in the queue."""
        height, width = image_size(image, max_pixels=self.settings.max_pixels)
        classes = definition.number_of_classes
        if options.return_probabilities and height * width * classes > self.settings.max_pixels:
            raise ServiceFailure(
                "too_large", f"the probabilities of {classes} classes are too many for this image; ask for fewer words"
            )


async def unless_gone(request: Request, work: Coroutine[Any, Any, _T]) -> _T:
    """The result of some work, which is cancelled when the caller leaves.

    Args:
        request: the caller's, whose body was read.
        work: the work.

    Raises:
        ClientDisconnect: the caller has left.
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
