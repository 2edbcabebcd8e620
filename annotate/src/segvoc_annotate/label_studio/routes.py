"""Stateless routes of the Label Studio ML backend."""

import asyncio
import io
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response

from segvoc import InputError, LabelOptions, Segmentation, UsageError, __version__
from segvoc.imaging.reading import decode_image
from segvoc.serving.answers import ServiceFailure
from segvoc.serving.app import Service, unless_gone
from segvoc.serving.bodies import discard_body, json_request
from segvoc.serving.labeler import EncodedVocabulary, LabelQuery
from segvoc.serving.middleware import FIELDS, LOGGER, WORK
from segvoc.serving.schemas import checked_query
from segvoc.serving.settings import TEXT_BYTES
from segvoc.storage.files import strict_json
from segvoc_annotate.label_studio.clicks import SmartRegion, image_and_label, objects_under
from segvoc_annotate.label_studio.host import TaskImages
from segvoc_annotate.label_studio.labeling_config import LabelingConfig, check_config, read_config
from segvoc_annotate.label_studio.predictions import (
    LabelStudioHealth,
    LabelStudioTask,
    PredictAnswer,
    PredictJson,
    SetupAnswer,
    SetupJson,
    WebhookAnswer,
    clicked_json,
    prediction_json,
)
from segvoc_annotate.settings import AnnotateSettings

MOST_VALUES = 300_000
"""Max values in a request, without the brush masks of its annotations, which are long lists of numbers."""

_Predict = Callable[[bytes], Awaitable[bytes]]
"""Predicts the regions in an image file, as JSON."""


class LabelStudioRoutes:
    """Label Studio's routes."""

    def __init__(self, service: Service, settings: AnnotateSettings) -> None:
        self._service, self._settings = service, settings
        self._images = TaskImages(settings, service.settings.max_bytes)
        self._clicks = ThreadPoolExecutor(1, thread_name_prefix="segvoc-clicks")  # a decoded image at a time

    def add(self, app: FastAPI) -> None:
        """Add the routes to the application."""
        for method, path, answer, model, summary in (
            ("POST", "/predict", self._predict, PredictAnswer, "Label the images of Label Studio's tasks"),
            ("POST", "/setup", self._setup, SetupAnswer, "Connect a Label Studio project"),
            ("POST", "/webhook", self._webhook, WebhookAnswer, "Accept and ignore a Label Studio event"),
            ("GET", "/health", self._health, LabelStudioHealth, "Whether Label Studio can use the service"),
        ):
            app.add_api_route(path, answer, methods=[method], responses={200: {"model": model}}, summary=summary)
            self._service.password_paths.add(path)  # Label Studio sends the key as a password

    @property
    def _model_version(self) -> str:
        return f"segvoc-{self._service.labeler.model.name}-{__version__}"

    async def _health(self) -> Response:
        if not self._service.labeler.is_healthy:
            raise ServiceFailure("stuck", "the model is stuck in a batch; restart the service")
        return JSONResponse({"status": "UP", "model_class": self._service.labeler.model.name})

    async def _setup(self, request: Request) -> Response:
        body = await json_request(request, SetupJson, self._service.settings, limit=TEXT_BYTES)
        if body.label_config:
            await asyncio.to_thread(check_config, body.label_config)
        return JSONResponse({"model_version": self._model_version})

    async def _webhook(self, request: Request) -> Response:
        await discard_body(request, self._service.settings)
        return JSONResponse({"status": "ignored"})

    async def _predict(self, request: Request) -> Response:
        try:
            return await self._predicted(request)
        except Exception as error:
            if (failure := ServiceFailure.of(error)) is not None:  # Label Studio logs the status and not the reason
                LOGGER.warning("no prediction", extra={FIELDS: {"problem": failure.message}})
            raise

    async def _predicted(self, request: Request) -> Response:
        settings = self._service.settings
        with self._service.request_slot():
            limit = settings.max_bytes * 4 // 3 + TEXT_BYTES
            body = await json_request(
                request, PredictJson, settings, limit=limit, values=MOST_VALUES, number_lists=False
            )
            if len(body.tasks) > self._settings.tasks:
                raise ServiceFailure(
                    "too_large", f"there are {len(body.tasks)} tasks; send at most {self._settings.tasks}"
                )
            config, predict = await asyncio.to_thread(self._prepared, body)
            results = await unless_gone(request, self._predictions(body.tasks, config, predict))
        failures = [result for result in results if isinstance(result, InputError)]
        if failures and len(failures) == len(results):
            raise failures[0]
        entries = (_failure(result) if isinstance(result, InputError) else result for result in results)
        return Response(b'{"results": [' + b", ".join(entries) + b"]}", media_type="application/json")

    def _prepared(self, body: PredictJson) -> tuple[LabelingConfig, _Predict]:
        """The tool whose regions are predicted, and what predicts them in an image file."""
        context = body.params and body.params.context
        if context is None:
            config = read_config(body.label_config)
            options = LabelOptions(threshold=config.threshold, background=config.background)
            query = checked_query(config.words, None, options, self._service.settings.max_words)
            return config, lambda image: self._with_patience(lambda: self._labeled(image, config, query))
        if len(body.tasks) != 1:
            raise UsageError(f"there are clicks for {len(body.tasks)} tasks; send clicks with the task of their image")
        config = read_config(body.label_config, image_and_label(context.result))
        return config, lambda image: self._clicked(image, context.result, config)

    async def _labeled(self, image: bytes, config: LabelingConfig, query: LabelQuery) -> bytes:
        def answer(result: Segmentation, _: EncodedVocabulary) -> bytes:
            return prediction_json(result, config, self._model_version)

        return await self._service.label(io.BytesIO(image), query, answer)

    async def _clicked(self, image: bytes, regions: Sequence[SmartRegion], config: LabelingConfig) -> bytes:
        def answer() -> bytes:
            pixels = decode_image(image, max_pixels=self._service.settings.max_pixels)
            if work is not None:
                work.pixels += pixels.size // 3
            return clicked_json(objects_under(pixels, regions), config, self._model_version)

        work = WORK.get()
        return await asyncio.get_running_loop().run_in_executor(self._clicks, answer)

    async def _predictions(
        self, tasks: list[LabelStudioTask], config: LabelingConfig, predict: _Predict
    ) -> list[bytes | InputError]:
        """The predictions of all tasks, or why an image can't be fetched.

        At most one batch is in flight.
        """
        size, results = self._service.labeler.model.batch, []
        for start in range(0, len(tasks), size):
            together = (self._prediction(task, config, predict) for task in tasks[start : start + size])
            results += await asyncio.gather(*together)
        return results

    async def _prediction(self, task: LabelStudioTask, config: LabelingConfig, predict: _Predict) -> bytes | InputError:
        try:
            return await predict(await self._images.get(task.data.get(config.image_field), task.id))
        except InputError as error:
            return type(error)(f"task {str(task.id)[:60]}: {error}")

    async def _with_patience(self, label: Callable[[], Awaitable[bytes]]) -> bytes:
        """Label an image; if the queue is full, wait rather than lose finished predictions."""
        end = time.monotonic() + self._service.settings.queue_seconds
        while True:
            try:
                return await label()
            except ServiceFailure as failure:
                if failure.code != "queue_full" or time.monotonic() > end:
                    raise
                await asyncio.sleep(float(failure.headers["Retry-After"]))


def _failure(error: InputError) -> bytes:
    """The placeholder for a failed prediction: Label Studio logs it and keeps the others."""
    failure = ServiceFailure.of(error)
    assert failure is not None
    return strict_json({"error": {"code": failure.code, "message": failure.message}}).encode()
