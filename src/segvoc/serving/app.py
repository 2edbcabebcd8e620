"""The service: its routes and what they share, its socket and its process."""

import asyncio
import logging
import logging.config
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, replace
from functools import partial
from typing import Any, TypeVar

import uvicorn
from fastapi import FastAPI, Request, Security
from fastapi.security import HTTPBearer
from prometheus_client import generate_latest
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from segvoc.errors import SegvocError, UsageError
from segvoc.imaging.reading import decode_image, image_size
from segvoc.inference.label_options import LabelOptions
from segvoc.inference.segmentation import Segmentation
from segvoc.inference.segmenter import Segmenter
from segvoc.runtime.version import __version__
from segvoc.serving import answers
from segvoc.serving.answers import ANSWERS, PNG, ZIP, ServiceFailure, negotiated
from segvoc.serving.bodies import (
    FORM,
    JSON_BODY,
    SegmentForm,
    VocabularyJson,
    request_body,
    segment_call,
    vocabulary_call,
)
from segvoc.serving.labeler import EncodedVocabulary, Labeler, VocabularyDefinition
from segvoc.serving.middleware import (
    FIELDS,
    LOGGER,
    Admission,
    Observation,
    SecurityHeaders,
    ServiceMetrics,
    failure_response,
    log_settings,
)
from segvoc.serving.settings import ServiceSettings

_T = TypeVar("_T")

MODEL_HEADER = "X-Segvoc-Model"
"""Header with the identity of the model that answered: tiny; weights=...; segvoc=..."""

LONGEST_HEADERS = 16_384
"""Maximum size of a request's first line and headers [bytes]."""


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
        """Take a slot among the open requests, and check that the queue has room if the request needs the model."""
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
        answer: Callable[[Segmentation, EncodedVocabulary], _T],
    ) -> _T:
        """Label the bytes of an image file; see `Labeler.label`."""
        await asyncio.to_thread(self._check_image, image, definition, options)
        read = partial(decode_image, image, max_pixels=self.settings.max_pixels, stretch=options.value_range)
        return await self.labeler.label(definition, options, read, answer)

    def _check_image(self, image: bytes, definition: VocabularyDefinition, options: LabelOptions) -> None:
        """Check the image's header before queueing it."""
        height, width = image_size(image, max_pixels=self.settings.max_pixels)
        classes = definition.number_of_classes
        if options.return_probabilities and height * width * classes > self.settings.max_pixels:
            raise ServiceFailure(
                "too_large", f"the probabilities of {classes} classes are too many for this image; ask for fewer words"
            )


def create_app(
    open_model: Callable[[], Segmenter], settings: ServiceSettings, model: Segmenter | None = None
) -> FastAPI:
    """Create the service as an ASGI application, which loads its model at startup, unless `model` is given."""
    metrics = ServiceMetrics()
    service = Service(open_model, settings, metrics)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.labeler = labeler = Labeler(model or open_model(), settings, metrics)
        await labeler.start()
        async with AsyncExitStack() as running:
            for context in added:
                await running.enter_async_context(context)
            LOGGER.info("ready", extra={FIELDS: {"model": labeler.model.name}})
            yield
        await labeler.stop()

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
    _add_routes(app, service)
    added = [add_routes(app, service) for add_routes in settings.extensions]
    # the middleware added last sees requests first
    app.add_middleware(Admission, settings=settings, routes=app.routes, password_paths=service.password_paths)
    app.add_middleware(Observation, metrics=metrics)
    app.add_middleware(SecurityHeaders)
    return app


def _add_routes(app: FastAPI, service: Service) -> None:
    binary = {"schema": {"type": "string", "format": "binary"}}

    @app.post(
        "/v1/segment",
        summary="Label an image",
        description="Labels every pixel of an image with one of the words. The header Accept chooses the answer: the "
        "report with a mask for each class (application/json), the label map (image/png), or both with the confidence "
        "and an overlay (application/zip).",
        responses={200: {"model": answers.SegmentAnswer, "content": {PNG: binary, ZIP: binary}}},
        openapi_extra=request_body(FORM, SegmentForm),
    )
    async def segment(request: Request) -> Response:
        kind = negotiated(request.headers.get("accept"))
        with service.place():
            call = await segment_call(request, service.settings)
            options = call.options if kind == ZIP else replace(call.options, return_probabilities=False)

            def answer(result: Segmentation, words: EncodedVocabulary) -> Response:
                about = {"image": call.name, **asdict(words.identity), "hints": words.hints}
                headers = {"Vary": "Accept", MODEL_HEADER: words.identity.header}
                return Response(ANSWERS[kind](result, about), media_type=kind, headers=headers)

            return await unless_gone(request, service.label(call.image, call.definition, options, answer))

    @app.post(
        "/v1/vocabularies",
        status_code=201,
        summary="Encode a vocabulary",
        description="Encodes words and gives them a name, which POST /v1/segment takes in their place. Names don't "
        "expire: they hold the words.",
        responses={201: {"model": answers.VocabularyAnswer}},
        openapi_extra=request_body(JSON_BODY, VocabularyJson),
    )
    async def add_vocabulary(request: Request) -> Response:
        with service.place():
            name, definition = await vocabulary_call(request, service.settings)
            encoded = await unless_gone(request, service.labeler.encode(definition))
        answer = {"vocabulary": name, "words": encoded.prepared.words, "hints": encoded.hints}
        answer |= asdict(encoded.identity)
        return JSONResponse(answer, status_code=201, headers={MODEL_HEADER: encoded.identity.header})

    @app.get("/v1/models", summary="The model and the limits")
    async def models() -> answers.ModelsAnswer:
        settings = service.settings
        limits = answers.Limits(bytes=settings.max_bytes, pixels=settings.max_pixels, words=settings.max_words)
        facts = model_facts(service.labeler.model, service.labeler.identity.weights)
        return answers.ModelsAnswer(models=[facts], version=__version__, limits=limits)

    async def metrics(_: Request) -> Response:
        text = await asyncio.to_thread(generate_latest, service.metrics.registry)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def health(_: Request) -> Response:
        if not service.labeler.is_healthy:
            raise ServiceFailure("busy", "the model is stuck in a batch; restart the service")
        return JSONResponse({"status": "ok"})

    async def ready(request: Request) -> Response:
        if service.stopping:
            raise ServiceFailure("busy", "the service is stopping; ask another one", retry_after=1)
        return await health(request)

    # plain routes, omitted from OpenAPI, which also accept HEAD
    for path, answer in (("/metrics", metrics), ("/healthz", health), ("/readyz", ready)):
        app.add_route(path, answer)


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


# ---- socket and process


def run(
    open_model: Callable[[], Segmenter],
    settings: ServiceSettings,
    *,
    host: str,
    port: int,
    told: Mapping[str, object] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then finish accepted requests; `UsageError` if the address can't be used.

    `told` are settings for the first line of the log; none may be secret.
    """
    logging.config.dictConfig(log_settings())
    logging.captureWarnings(True)
    with bound_socket(host, port) as listener:
        name = f"[{host}]" if ":" in host else host
        address = f"http://{name}:{listener.getsockname()[1]}"
        LOGGER.info("starting", extra={FIELDS: {"address": address, "settings": told or {}}})
        server = service_server(create_app(open_model, settings, open_model()), settings)
        # uvicorn re-raises the signal that stopped it
        previous = signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        try:
            server.run([listener])
        except KeyboardInterrupt:
            return
        finally:
            signal.signal(signal.SIGTERM, previous)


@contextmanager
def bound_socket(host: str, port: int) -> Iterator[socket.socket]:
    """Bind a socket without listening yet, so that connections are refused until the model is loaded."""
    # asyncio sets TCP_NODELAY only for sockets with an explicit protocol; without it, response bodies wait for 40 ms
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        # on Windows, SO_REUSEADDR would let two programs listen on the same address
        reuse = socket.SO_EXCLUSIVEADDRUSE if sys.platform == "win32" else socket.SO_REUSEADDR
        listener.setsockopt(socket.SOL_SOCKET, reuse, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise UsageError(
                f"the service can't listen at {host} port {port}: {error.strerror or error}; choose another --host "
                "or --port"
            ) from None
        yield listener


def service_server(app: FastAPI, settings: ServiceSettings) -> uvicorn.Server:
    """Create the uvicorn server; FORWARDED_ALLOW_IPS lists proxies on other machines."""
    config = uvicorn.Config(
        app,
        lifespan="on",
        http="h11",
        loop="asyncio",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=128,
        h11_max_incomplete_event_size=LONGEST_HEADERS,
        timeout_graceful_shutdown=round(settings.stop_seconds),
    )
    app.state.service.server = server = uvicorn.Server(config)
    return server
