"""The service: its routes and what they share."""

import asyncio
import gc
import io
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, replace
from typing import Any, BinaryIO, TypeVar

import uvicorn
from fastapi import FastAPI, Request, Security
from fastapi.security import HTTPBearer
from prometheus_client import generate_latest
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from segvoc.errors import SegvocError, UsageError
from segvoc.inference.segmenter import Segmenter
from segvoc.runtime.version import __version__
from segvoc.serving import answers, bodies, schemas
from segvoc.serving.admission import Admission, ApiKeys
from segvoc.serving.answers import ANSWERS, PNG, ZIP, ServiceFailure, negotiated
from segvoc.serving.image_cache import ImageCache
from segvoc.serving.labeler import EncodedVocabulary, Labeler, LabelQuery, PixelBudget, UploadedImage
from segvoc.serving.middleware import (
    FIELDS,
    HEALTH,
    ID_HEADER,
    LOGGER,
    METRICS,
    READY,
    WORK,
    Observation,
    ServiceMetrics,
    failure_response,
    send_traces,
)
from segvoc.serving.settings import ServiceSettings

_T = TypeVar("_T")

MODEL_HEADER = "X-Segvoc-Model"
"""Header with the identity of the model that answered: tiny; weights=...; segvoc=..."""

RELOAD_SECONDS = 0.5
"""Time in which calls for a reload count as one [s]: a deployment may send several."""


class Service:
    """State shared by the routes."""

    labelers: Mapping[str, Labeler]
    """Label images, by the model's name; set at startup."""

    def __init__(
        self, open_models: Sequence[Callable[[], Segmenter]], settings: ServiceSettings, metrics: ServiceMetrics
    ) -> None:
        self.open_models, self.settings, self.metrics = open_models, settings, metrics
        self.loop: asyncio.AbstractEventLoop | None = None
        self.server: uvicorn.Server | None = None
        """The uvicorn server, if used."""
        self.password_paths = set[str]()
        """Paths that also accept the API key as an HTTP Basic password."""
        self.open_requests = 0
        self.keys = ApiKeys(settings)
        self._reloading, self._reload_again = False, False

    @property
    def labeler(self) -> Labeler:
        """The labeler of the first model, which answers requests that name none."""
        return next(iter(self.labelers.values()))

    def labeler_of(self, model: str | None) -> Labeler:
        """The labeler of a model by name (None: the first); `UsageError` if there is no such model."""
        if model is not None and model not in self.labelers:
            raise UsageError(f"there is no model {model[:60]!r}; choose one of {', '.join(self.labelers)}")
        labeler = self.labeler if model is None else self.labelers[model]
        if (work := WORK.get()) is not None:
            work.model = labeler.name
        return labeler

    @property
    def is_healthy(self) -> bool:
        """Whether no model is stuck."""
        return all(labeler.is_healthy for labeler in self.labelers.values())

    async def reload(self) -> None:
        """Read the API keys again and open all models again, one by one; the present ones answer meanwhile.

        A model that can't be opened or adapted stays as it is, and the log says why. Calls during a reload cause a
        single further one, since files may have changed again.
        """
        self.keys.reread()
        self._reload_again = True
        if self._reloading:
            return
        self._reloading = True
        try:
            while self._reload_again:
                await asyncio.sleep(RELOAD_SECONDS)
                self._reload_again = False
                for (name, labeler), open_model in zip(self.labelers.items(), self.open_models, strict=True):
                    await self._reload_model(name, labeler, open_model)
        finally:
            self._reloading = False

    async def _reload_model(self, name: str, labeler: Labeler, open_model: Callable[[], Segmenter]) -> None:
        try:
            await labeler.replace_model(open_model)
        except Exception as error:
            self.metrics.reload_failures.labels(name).inc()
            weights = labeler.identity.weights
            serving = "the former model" if weights is None else f"weights {weights}"
            is_known = isinstance(error, SegvocError | OSError)
            fields = {"model": name, **({"problem": str(error)} if is_known else {})}
            LOGGER.error(f"reload failed; still serving {serving}", exc_info=not is_known, extra={FIELDS: fields})
        else:
            LOGGER.info("reloaded", extra={FIELDS: asdict(labeler.identity)})

    def reload_soon(self) -> None:
        """Call `reload` from a signal handler."""
        if self.loop is not None:
            asyncio.run_coroutine_threadsafe(self.reload(), self.loop)

    @property
    def retry_after(self) -> int:
        """Estimated time until half of the work that waits is done [s]."""
        return max(labeler.retry_after for labeler in self.labelers.values())

    @property
    def stopping(self) -> bool:
        """Whether the process is shutting down; requests that only wait then end."""
        return self.server is not None and self.server.should_exit

    @contextmanager
    def request_slot(self, *, labels: bool = True) -> Iterator[None]:
        """Take a slot among the open requests, and check that the queue has room if the request needs the model."""
        if self.open_requests >= self.settings.requests:
            message = f"{self.open_requests} requests are open already; try again later"
            raise ServiceFailure("busy", message, retry_after=self.retry_after)
        if labels:
            min(self.labelers.values(), key=lambda labeler: labeler.waiting).check_room()
        self.open_requests += 1
        try:
            yield
        finally:
            self.open_requests -= 1

    async def label(
        self,
        file: BinaryIO | io.BytesIO,
        query: LabelQuery,
        answer: Callable[[Any, EncodedVocabulary], _T],
        model: str | None = None,
        *,
        tiles: bool = False,
    ) -> _T:
        """Label an image file with a model (None: the first); see `Labeler.label`.

        The image's header is checked before it is queued: with `tiles`, an image of more than `max_pixels` is labeled
        in tiles, and its result is a `LargeResult`; otherwise, or with parts, it is refused.
        """
        labeler, most = self.labeler_of(model), self.settings.max_pixels
        largest = max(most, self.settings.tiled_pixels) if tiles and query.parts is None else most
        image = await asyncio.to_thread(UploadedImage.read, file, max_pixels=largest)
        if (work := WORK.get()) is not None:
            work.pixels += image.pixels
        classes = query.number_of_classes
        if query.options.return_probabilities and image.pixels * classes > most:
            raise ServiceFailure(
                "too_large", f"the probabilities of {classes} classes are too many for this image; ask for fewer words"
            )
        if image.pixels > most:
            query = replace(query, options=query.options.in_tiles())
        return await labeler.label(image, query, answer)


def create_app(open_models: Sequence[Callable[[], Segmenter]], settings: ServiceSettings) -> FastAPI:
    """Open the models and create their service as an ASGI application.

    Args:
        open_models: open its models, which requests choose by name; by default the first answers.
        settings: its settings.

    Raises:
        UsageError: several models have the same name.
    """
    if settings.traces:
        send_traces()
    metrics = ServiceMetrics()
    service, models = Service(open_models, settings, metrics), [open_model() for open_model in open_models]
    names = [model.name for model in models]
    if duplicates := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"several models are called {duplicates[0]!r}; name one of them: --model NAME=PATH")

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        budget = PixelBudget(settings.max_pixels, ImageCache(settings.image_cache * 10**6, metrics))
        service.labelers = {model.name: Labeler(model, settings, metrics, budget) for model in models}
        service.loop = asyncio.get_running_loop()
        async with AsyncExitStack() as running:
            for labeler in service.labelers.values():
                await labeler.start()
                running.push_async_callback(labeler.stop)
            for context in added:
                await running.enter_async_context(context)
            identities = [asdict(labeler.identity) for labeler in service.labelers.values()]
            LOGGER.info("ready", extra={FIELDS: {"models": identities}})
            gc.freeze()  # garbage collection holds all threads while it looks at the libraries' objects
            try:
                yield
            finally:
                gc.unfreeze()

    app = FastAPI(
        title="segvoc",
        version=__version__,
        summary="Labels every pixel of an image with words that you choose.",
        lifespan=lifespan,
        responses={**answers.FAILURE_ANSWERS},
        # only documents the keys in OpenAPI; `Admission` checks them
        dependencies=[Security(HTTPBearer(auto_error=False))] if settings.keys() else [],
        docs_url=None,  # the docs pages would load files from a CDN
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers={SegvocError: _failed, ServiceFailure: _failed, HTTPException: _failed},
    )
    app.state.service = service
    _add_label_routes(app, service)
    _add_status_routes(app, service)
    added = [add_routes(app, service) for add_routes in settings.extensions]
    # the middleware added last sees requests first
    app.add_middleware(
        Admission,
        settings=settings,
        keys=service.keys,
        routes=app.routes,
        password_paths=service.password_paths,
        retry_after=lambda: service.retry_after,
    )
    if settings.allow_origin:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.allow_origin,
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["Accept", "Authorization", "Content-Type", "If-Match", ID_HEADER],
            expose_headers=[MODEL_HEADER, ID_HEADER, "ETag", "Retry-After"],
        )
    app.add_middleware(Observation, metrics=metrics, routes=app.routes, log_probes=settings.log_probes)
    return app


def _add_label_routes(app: FastAPI, service: Service) -> None:
    binary = {"schema": {"type": "string", "format": "binary"}}

    @app.post(
        "/v1/segment",
        summary="Label an image",
        description="Labels every pixel of an image with one of the words. The header Accept chooses the answer: the "
        "report with a mask for each class (application/json), the label map (image/png), or both with the confidence "
        "and an overlay (application/zip). The request is a form, or JSON with the image in base64.",
        responses={200: {"model": answers.SegmentAnswer, "content": {PNG: binary, ZIP: binary}}},
        openapi_extra=schemas.described(
            {bodies.FORM: schemas.SegmentRequest, bodies.JSON_BODY: schemas.JsonSegmentRequest}
        ),
    )
    async def segment(request: Request) -> Response:
        with service.request_slot():
            async with bodies.segment_request(request, service.settings) as asked:
                kind = negotiated(request.headers.get("accept"))

                def answer(result: answers.Result, words: EncodedVocabulary) -> Response:
                    of_result = (hint.written(lambda name, value: f"{name}={value}") for hint in result.hints)
                    hints = (*words.hints, *of_result)  # with options as the fields of a form
                    about = {"image": asked.file_name, **asdict(words.identity), "hints": hints}
                    headers = {"Vary": "Accept", MODEL_HEADER: words.identity.header}
                    return Response(ANSWERS[kind](result, about), media_type=kind, headers=headers)

                query = await asyncio.to_thread(asked.query, service.settings.max_words, probabilities=kind == ZIP)
                return await unless_gone(request, service.label(asked.file, query, answer, asked.model, tiles=True))


def _add_status_routes(app: FastAPI, service: Service) -> None:
    @app.get("/v1/models", summary="The models and the limits")
    async def models() -> answers.ModelsAnswer:
        settings = service.settings
        limits = answers.Limits(
            bytes=settings.max_bytes,
            pixels=settings.max_pixels,
            tiled_pixels=max(settings.max_pixels, settings.tiled_pixels),
            words=settings.max_words,
        )
        facts = [model_facts(labeler.model, labeler.identity.weights) for labeler in service.labelers.values()]
        return answers.ModelsAnswer(models=facts, version=__version__, limits=limits)

    async def metrics() -> Response:
        text = await asyncio.to_thread(generate_latest, service.metrics.registry)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def health(request: Request) -> Response:
        if service.stopping and request.url.path == READY:
            raise ServiceFailure("busy", "the service is stopping; ask another one", retry_after=1)
        if not service.is_healthy:
            raise ServiceFailure("stuck", "the model is stuck in a batch; restart the service")
        return JSONResponse({"status": "ok"})

    for path, answer in ((METRICS, metrics), (HEALTH, health), (READY, health)):
        app.add_api_route(path, answer, methods=["GET", "HEAD"], include_in_schema=False)


def model_facts(model: Segmenter, weights: str | None) -> answers.ModelAnswer:
    """The response of GET /v1/models about a model, whose weights have this digest."""
    network = getattr(model, "network", None)
    record = model.origin.get("record")
    license = record.get("license") if isinstance(record, dict) else None
    if network is not None:
        from segvoc.models.presets import PRESETS  # here, since it needs PyTorch

        preset = PRESETS.get(str(model.origin.get("preset")))
        if preset is not None and preset.shipped:
            license = preset.read_record().get("license")
        elif preset is not None and preset.published is not None:
            license = preset.published.license
    return answers.ModelAnswer(
        name=model.name,
        weights=weights,
        parameters=None if network is None else sum(value.numel() for value in network.parameters()),
        dtype=model.dtype,
        parts=True,
        windows=list(model.protocols),
        license=license,
        batch=model.batch,
        taught=list(dict.fromkeys(word for taught in model.taught for word in taught.words)),
        taught_files=[taught.digest for taught in model.taught],
    )


async def _failed(_: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        return failure_response(ServiceFailure.of_status(error.status_code, error.headers))
    if (failure := ServiceFailure.of(error)) is None:
        raise error
    return failure_response(failure)


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
