"""A model behind a bounded queue: queued images with equal vocabulary and options are batched, vocabularies cached."""

import asyncio
import copy
import hashlib
import io
import math
import time
import warnings
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import accumulate
from typing import Any, BinaryIO, TypeVar
from urllib.parse import quote

import numpy as np
from jaxtyping import UInt8

from segvoc.errors import InputError, PromptTruncatedWarning, UnknownWordWarning, UsageError
from segvoc.imaging.color_profiles import Colors
from segvoc.imaging.decoding import DecodedImage
from segvoc.imaging.reading import decode_image, image_size
from segvoc.inference.encoded_image import EncodedImage
from segvoc.inference.label_options import LabelOptions
from segvoc.inference.prepared_vocabulary import PreparedVocabulary
from segvoc.inference.segmenter import Segmenter
from segvoc.labeling.big_images import label_large_image
from segvoc.models.digests import weights_digest
from segvoc.runtime.version import __version__
from segvoc.serving.answers import Result, ServiceFailure
from segvoc.serving.image_cache import ImageCache
from segvoc.serving.middleware import WORK, RequestWork, ServiceMetrics
from segvoc.serving.settings import ServiceSettings
from segvoc.vocabulary import PartVocabulary, Vocabulary

_T = TypeVar("_T")

BATCHES = 3
"""Batches in memory: one being read, one in the network, one being encoded."""

IMAGE_THREADS = 2
"""Threads that decode images and encode responses."""

PIXEL_BYTES = 40
"""Memory for a pixel of a decoded image, with its result and answer [bytes]."""

FIRST_GUESS = 1.0
"""Initial estimate of the time per image [s]."""


@dataclass(frozen=True)
class LabelQuery:
    """What is asked of an image: equal queries of equal images have equal results, and share a batch."""

    words: Vocabulary
    """The words, and the objects that only the parts mention."""
    parts: PartVocabulary | None
    options: LabelOptions

    @property
    def number_of_classes(self) -> int:
        """Number of classes of the result."""
        words, background = self.words.words, self.options.background_name
        return len(words) + (background is not None and background not in words)


DecodedPixels = UInt8[np.ndarray, "H W 3"] | DecodedImage


@dataclass(frozen=True)
class UploadedImage:
    """An image file in memory, whose size is known from its header; its pixels are decoded when it leaves the queue."""

    content: bytes = field(repr=False)
    digest: str
    """SHA-256 of the file."""
    pixels: int
    """Number of pixels."""

    @classmethod
    def read(cls, file: BinaryIO | io.BytesIO, *, max_pixels: int) -> "UploadedImage":
        """Read and close a file; `InputError` if it is no image, or has too many pixels."""
        with file:
            content = file.read()
        height, width = image_size(content, max_pixels=max_pixels)
        return cls(content, hashlib.sha256(content).hexdigest(), height * width)

    def decoded(self, options: LabelOptions, colors: Colors) -> DecodedPixels:
        """The pixels, as windows if the image is labeled in tiles; `InputError` if the file is damaged."""
        limits = {"max_pixels": self.pixels, "stretch": options.value_range, "colors": colors}
        if options.tiling is None:
            return decode_image(self.content, **limits)
        return DecodedImage("the image", **limits, content=self.content)


@dataclass(frozen=True)
class ModelIdentity:
    """What labels an image: the same identity, words and options give the same labels."""

    model: str
    weights: str | None
    """Digest of its weights; None for an engine of your own."""
    version: str = __version__

    @property
    def header(self) -> str:
        """The identity as a header's value: a token with parameters."""
        weights = "" if self.weights is None else f"; weights={self.weights}"
        return f"{quote(self.model)}{weights}; segvoc={self.version}"


@dataclass(frozen=True)
class EncodedVocabulary:
    """A vocabulary encoded by the model."""

    prepared: PreparedVocabulary
    hints: tuple[str, ...]
    """Hints about words, for example that the model doesn't know them."""
    identity: ModelIdentity
    """The model that encoded it, which labels images with it."""


class PixelBudget:
    """Bounds the pixels of decoded images in memory, over all models; first come, first served in each of them.

    An image with more pixels than the limit takes all of them. Cached images have the memory that is free.
    """

    def __init__(self, most: int, cache: ImageCache) -> None:
        self.most, self._free, self.cache = most, most, cache
        self._changed = asyncio.Condition()

    async def take(self, pixels: int) -> int:
        """Wait until so many pixels are free; the number to give back."""
        taken = min(pixels, self.most)
        async with self._changed:
            await self._changed.wait_for(lambda: self._free >= taken)
            self._free -= taken
            self.cache.fit(self._free * PIXEL_BYTES)
        return taken

    async def give_back(self, pixels: int) -> None:
        """Free the pixels that `take` returned."""
        async with self._changed:
            self._free += pixels
            self.cache.fit(self._free * PIXEL_BYTES)
            self._changed.notify_all()


@dataclass(eq=False)
class _Job:
    """A queued or running image."""

    image: UploadedImage
    query: LabelQuery
    answer: Callable[[Result, EncodedVocabulary], Any]
    future: asyncio.Future[Any]
    work: RequestWork | None = field(default_factory=WORK.get)
    """What is logged of its request."""
    arrived: float = field(default_factory=time.monotonic)
    expiry: asyncio.TimerHandle | None = None

    def fail(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class Labeler:
    """Labels images with a model, first come, first served, except that images may join an earlier batch.

    Use it in a single event loop, between `start` and `stop`. The model runs in a dedicated thread.
    """

    def __init__(
        self, model: Segmenter, settings: ServiceSettings, metrics: ServiceMetrics, budget: PixelBudget
    ) -> None:
        self.settings, self.metrics, self.name = settings, metrics, model.name
        self._budget, self._cache = budget, budget.cache
        self._adapt: Callable[[Segmenter], Segmenter] = lambda opened: opened
        self._install_model(model, self._adapt, ModelIdentity(model.name, weights_digest(model)))
        self._waiting: deque[_Job] = deque()
        self._arrival = asyncio.Event()
        self._room = asyncio.Semaphore(BATCHES)
        self._network = ThreadPoolExecutor(1, thread_name_prefix="segvoc-network")
        self._images = ThreadPoolExecutor(IMAGE_THREADS, thread_name_prefix="segvoc-image")
        self._tasks: set[asyncio.Task[None]] = set()
        self._seconds_per_image = FIRST_GUESS
        self._busy_since: dict[object, float] = {}
        self._in_work = 0

    async def start(self) -> None:
        """Warm up the model, and start to accept work."""
        await self._in_thread(self._network, _warm_up, self.model)
        self._begin(self._dispatch())

    async def stop(self) -> None:
        """Stop; queued and running requests get 503."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        while self._waiting:
            self._dequeue(self._waiting[0]).fail(_stopping())
        for threads in (self._network, self._images):
            threads.shutdown(wait=False, cancel_futures=True)

    async def adapt_model(self, adapt: Callable[[Segmenter], Segmenter]) -> None:
        """Use the model that `adapt` makes of the opened one, with the same weights, from the next batch on."""
        await self._in_thread(self._network, self._install_model, self._opened, adapt, self.identity)

    async def replace_model(self, open_model: Callable[[], Segmenter]) -> None:
        """Open a model while the present one works, adapt it likewise, and use it from the next batch on."""

        def opened() -> tuple[Segmenter, ModelIdentity]:
            model = open_model()
            _warm_up(model)
            return model, ModelIdentity(model.name, weights_digest(model))

        def install() -> None:
            self._cache.forget(self.model.image_encoder)
            self._install_model(model, self._adapt, identity)

        model, identity = await asyncio.to_thread(opened)
        await self._in_thread(self._network, install)

    def _install_model(
        self, opened: Segmenter, adapt: Callable[[Segmenter], Segmenter], identity: ModelIdentity
    ) -> None:
        model = adapt(opened)
        if self.settings.batch is not None:
            model = copy.copy(model)  # the caller's model has its own batch size
            model.batch = self.settings.batch
        self._opened, self._adapt, self.model, self.identity = opened, adapt, model, identity
        self.metrics.show_model(self.name, identity.weights, model.dtype)

        @lru_cache(self.settings.vocabularies)
        def encode(words: Vocabulary, parts: PartVocabulary | None, background: str | None) -> EncodedVocabulary:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                prepared = model.encode(words, parts=parts, background=background)
            of_words = (PromptTruncatedWarning, UnknownWordWarning)
            hints = tuple(str(warning.message) for warning in caught if issubclass(warning.category, of_words))
            return EncodedVocabulary(prepared, hints, identity)

        self._encode = encode

    @property
    def is_healthy(self) -> bool:
        """Whether no thread is stuck in a batch or an image."""
        oldest = min(list(self._busy_since.values()), default=math.inf)
        return time.monotonic() - oldest < self.settings.run_seconds

    @property
    def waiting(self) -> int:
        """Number of queued images."""
        return len(self._waiting)

    @property
    def retry_after(self) -> int:
        """Estimated time until half of the images that wait or are worked on are done [s]."""
        return min(60, math.ceil(self._seconds_per_image * max(1, (len(self._waiting) + self._in_work) / 2)))

    def check_room(self) -> None:
        """Raise a `ServiceFailure` if the queue is full."""
        if len(self._waiting) >= self.settings.queue:
            raise ServiceFailure(
                "queue_full",
                f"{len(self._waiting)} requests are waiting already; try again later",
                retry_after=self.retry_after,
            )

    async def label(
        self, image: UploadedImage, query: LabelQuery, answer: Callable[[Result, EncodedVocabulary], _T]
    ) -> _T:
        """Label an image; cancellation removes it from the queue.

        `answer` encodes the response from the result and the vocabulary, in a thread.

        Raises a `ServiceFailure` if the queue is full or the wait or the run took too long; and errors of the model.
        """
        self.check_room()
        loop = asyncio.get_running_loop()
        job = _Job(image, query, answer, loop.create_future())
        job.expiry = loop.call_later(self.settings.queue_seconds, lambda: self._dequeue(job).fail(self._timeout()))
        self._waiting.append(job)
        self._arrival.set()
        self.metrics.waiting.labels(self.name).inc()
        try:
            return await job.future
        finally:
            if job in self._waiting:
                self._dequeue(job)

    def _dequeue(self, job: _Job) -> _Job:
        self._waiting.remove(job)
        self.metrics.waiting.labels(self.name).dec()
        if job.expiry is not None:
            job.expiry.cancel()
        return job

    def _timeout(self) -> ServiceFailure:
        message = f"timed out in the queue after {self.settings.queue_seconds:g} s; try again"
        return ServiceFailure("busy", message, retry_after=self.retry_after)

    def _begin(self, work: Any) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _dispatch(self) -> None:
        while True:
            await self._room.acquire()
            jobs = await self._next_batch()
            try:
                taken = await self._budget.take(sum(job.image.pixels for job in jobs))
            except asyncio.CancelledError:
                for job in jobs:
                    job.fail(_stopping())
                raise
            self._begin(self._process(jobs, taken)).add_done_callback(lambda _: self._room.release())

    async def _next_batch(self) -> list[_Job]:
        """The oldest job, and the jobs that can be batched with it."""
        while not self._waiting:
            self._arrival.clear()
            await self._arrival.wait()
        first, size = self._waiting[0], self.model.batch
        deadline = time.monotonic() + self.settings.batch_wait
        while True:
            alike = [job for job in self._waiting if job.query == first.query][:size]
            pixels = accumulate(job.image.pixels for job in alike)
            batch = [job for job, sum_ in zip(alike, pixels, strict=True) if job is first or sum_ <= self._budget.most]
            left = deadline - time.monotonic()
            if len(batch) >= size or len(batch) < len(alike) or left <= 0:
                break
            self._arrival.clear()
            try:
                await asyncio.wait_for(self._arrival.wait(), left)
            except TimeoutError:
                continue
        return [self._dequeue(job) for job in batch]

    async def _process(self, jobs: Sequence[_Job], taken: int) -> None:
        """Decode the images of a batch, label them, and encode the answers; equal images are labeled once."""
        options = jobs[0].query.options
        self._in_work += len(jobs)
        try:
            uploads = {job.image.digest: job.image for job in jobs if not job.future.done()}
            reading = (self._in_thread(self._images, self._read, image, options) for image in uploads.values())
            read = await self._in_time(asyncio.gather(*reading, return_exceptions=True), jobs)
            images = dict(zip(uploads, read, strict=True))
            for job in jobs:
                if isinstance(error := images.get(job.image.digest), BaseException):
                    job.fail(error)
            pending = [job for job in jobs if not job.future.done()]
            if not pending:
                return
            batch = {job.image.digest: images[job.image.digest] for job in pending}
            words, results = await self._in_time(self._in_thread(self._network, self._run, pending, batch), pending)
            await asyncio.gather(*(self._answer(job, words, results[job.image.digest]) for job in pending))
        except Exception as error:
            for job in jobs:
                job.fail(error)
        finally:
            for job in jobs:
                job.fail(_stopping())
            self._in_work -= len(jobs)
            await self._budget.give_back(taken)

    def _read(self, image: UploadedImage, options: LabelOptions) -> EncodedImage | DecodedPixels:
        """The encoded image if it is cached, which is not decoded then."""
        model = self.model
        found = self._cache.find(model, image.digest, options) if options.tiling is None else None
        return image.decoded(options, model.protocol(options).colors) if found is None else found

    def _in_thread(
        self, threads: ThreadPoolExecutor, function: Callable[..., _T], *arguments: Any
    ) -> asyncio.Future[_T]:
        def timed() -> _T:
            self._busy_since[mark := object()] = time.monotonic()
            try:
                return function(*arguments)
            finally:
                del self._busy_since[mark]

        return asyncio.get_running_loop().run_in_executor(threads, timed)

    async def _in_time(self, running: asyncio.Future[_T], jobs: Sequence[_Job]) -> _T:
        """Wait for a step; on a timeout the jobs fail, but their batch keeps its place."""
        done, _ = await asyncio.wait((running,), timeout=self.settings.run_seconds)
        if not done:
            for job in jobs:
                job.fail(ServiceFailure("timeout", "labeling took too long; use fewer words or a smaller image"))
        return await running

    def _run(
        self, jobs: Sequence[_Job], images: Mapping[str, Any]
    ) -> tuple[EncodedVocabulary, Mapping[str, Result | InputError]]:
        """Run the model on a batch of images by digest, in its thread: the words, and the results by digest."""
        began = time.monotonic()
        self.metrics.batch.labels(self.name).observe(len(images))
        for job in jobs:
            self.metrics.wait_seconds.labels(self.name).observe(began - job.arrived)
            if job.work is not None:
                job.work.images += 1
                job.work.wait_seconds += began - job.arrived
        try:
            query, options = jobs[0].query, jobs[0].query.options
            words = self._encode(query.words, query.parts, options.background)
            if options.tiling is None:
                begin = time.monotonic()
                encoded = self._cache.encoded(self.model, images, options)
                share = (time.monotonic() - begin) / len(images)
                found = self.model.segment_many(encoded, words.prepared, options=options, yield_errors=True)
                found = (
                    one if isinstance(one, InputError) else replace(one, seconds=one.seconds + share) for one in found
                )
            else:
                found = [label_large_image(self.model, image, words.prepared, options) for image in images.values()]
            results = dict(zip(images, found, strict=True))
        finally:
            seconds = time.monotonic() - began
            self.metrics.model_seconds.labels(self.name).observe(seconds)
        self._seconds_per_image += 0.2 * (seconds / len(images) - self._seconds_per_image)
        return words, results

    async def _answer(self, job: _Job, words: EncodedVocabulary, result: Result | InputError) -> None:
        if job.future.done():
            return
        if isinstance(result, InputError):
            # the image was decoded, so the error is internal
            job.fail(RuntimeError(str(result)))
            return
        try:
            answer = await self._in_thread(self._images, job.answer, result, words)
        except Exception as error:
            job.fail(error)
        else:
            if not job.future.done():
                job.future.set_result(answer)


def _stopping() -> ServiceFailure:
    return ServiceFailure("busy", "the service is stopping; try again")


def _warm_up(model: Segmenter) -> None:
    with suppress(UsageError):  # a model that was exported with fixed words
        model.segment(np.zeros((256, 256, 3), np.uint8), ["object"])
