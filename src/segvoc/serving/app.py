"""The application: addresses, and what happens there."""

import asyncio
from collections.abc import AsyncIterator, Callable, MutableMapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from segvoc.errors import SegvocError
from segvoc.inference.segmenter import Segmenter
from segvoc.serving.admission import Admission, description
from segvoc.serving.answers import ANSWERS, ZIP, negotiated
from segvoc.serving.api_keys import ApiKeys
from segvoc.serving.bodies import segment_call, vocabulary_call
from segvoc.serving.description import DESCRIPTIONS, model_facts
from segvoc.serving.failures import ServiceFailure
from segvoc.serving.guard import SecurityHeaders
from segvoc.serving.labeler import Labeler
from segvoc.serving.logs import FIELDS, LOGGER
from segvoc.serving.methods import Methods
from segvoc.serving.metrics import CONTENT_TYPE, ServiceMetrics
from segvoc.serving.observation import Observation, failure_response
from segvoc.serving.readiness import Readiness
from segvoc.serving.service import Service, unless_gone
from segvoc.serving.settings import ServiceSettings
from segvoc.serving.tracing import Tracing, tracer_provider
from segvoc.serving.vocabularies import DefinitionsInMemory
from segvoc.version import __version__


def create_app(
    open_model: Callable[[], Segmenter],
    settings: ServiceSettings,
    definitions: MutableMapping[str, bytes] | None = None,
    readiness: Readiness | None = None,
    tracing: Tracing | None = None,
) -> FastAPI:
    """The service as an ASGI application, which loads its model when it starts.

    Args:
        open_model: loads the model.
        settings: limits, times and the API key.
        definitions: where vocabularies are kept by name; see `NamedVocabularies`. None: in this process.
        readiness: whether the service wants requests.
        tracing: follows requests; None: as the environment says.

    Raises:
        UsageError: the file of the API keys can't be read, or the package for traces isn't installed.
    """
    tracing = tracing or Tracing(tracer_provider())
    metrics, keys = ServiceMetrics(), ApiKeys(settings.api_key, settings.api_key_file)
    kept = DefinitionsInMemory() if definitions is None else definitions
    service = Service(open_model, settings, metrics, kept, readiness or Readiness())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
        service.labeler = labeler = Labeler(open_model(), settings, metrics)
        await labeler.start()
        metrics.watch(labeler.model)
        async with AsyncExitStack() as running:
            for context in added:
                await running.enter_async_context(context)
            LOGGER.info("ready", extra={FIELDS: {"model": labeler.model.name}})
            yield {"metrics": metrics}  # connections have no other way to the application
        await labeler.stop()
        await asyncio.to_thread(tracing.stop)

    app = FastAPI(
        title="segvoc",
        version=__version__,
        summary="Labels every pixel of an image with words that you choose.",
        lifespan=lifespan,
        docs_url=None,  # they would load files from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers={SegvocError: _failed, ServiceFailure: _failed, HTTPException: _failed},
    )
    app.state.service, app.state.keys = service, keys
    _Routes(service).add(app)
    added = [add_routes(app, service) for add_routes in settings.extensions]
    app.openapi = partial(description, app, keys.demanded, service.password_paths)
    # the last one added is the first to see a request
    app.add_middleware(Methods, routes=app.routes)
    app.add_middleware(
        Admission,
        settings=settings,
        keys=keys,
        routes=app.routes,
        metrics=metrics,
        password_paths=service.password_paths,
    )
    app.add_middleware(Observation, metrics=metrics, tracing=tracing)
    app.add_middleware(SecurityHeaders)
    return app


class _Routes:
    """The API's addresses."""

    def __init__(self, service: Service) -> None:
        self.service = service

    def add(self, app: FastAPI) -> None:
        for method, path, answer in (
            ("POST", "/v1/segment", self.segment),
            ("POST", "/v1/vocabularies", self.add_vocabulary),
            ("GET", "/v1/models", self.models),
            ("GET", "/metrics", self.all_metrics),
            ("GET", "/healthz", self.health),
            ("GET", "/readyz", self.ready),
        ):
            app.add_api_route(path, answer, methods=[method], **DESCRIPTIONS[path])

    async def segment(self, request: Request) -> Response:
        service, kind = self.service, negotiated(request.headers.get("accept"))
        with service.place():
            call = await segment_call(request, service.settings)
            found = call.vocabulary
            definition = await asyncio.to_thread(service.vocabularies.find, found) if isinstance(found, str) else found
            options = call.options if kind == ZIP else replace(call.options, return_probabilities=False)
            work = service.label(
                call.image, definition, options, lambda result, hints: ANSWERS[kind](result, hints, call.name)
            )
            body = await unless_gone(request, work)
        return Response(body, media_type=kind, headers={"Vary": "Accept"})

    async def add_vocabulary(self, request: Request) -> Response:
        service = self.service
        with service.place():
            definition = await vocabulary_call(request, service.settings)
            found = await unless_gone(request, service.labeler.encode(definition))
        await asyncio.to_thread(service.vocabularies.keep, definition)
        told = {"vocabulary": definition.name, "words": found.prepared.words, "hints": found.hints}
        return JSONResponse(told, status_code=201)

    async def models(self) -> Response:
        settings = self.service.settings
        limits = settings.max_bytes, settings.max_pixels, settings.max_words
        return JSONResponse(
            {
                "models": [model_facts(self.service.labeler.model)],
                "limits": dict(zip(("bytes", "pixels", "words"), limits, strict=True)),
            }
        )

    async def all_metrics(self) -> Response:
        return Response(await asyncio.to_thread(self.service.metrics.text), media_type=CONTENT_TYPE)

    async def health(self) -> Response:
        if not self.service.labeler.is_healthy:
            raise ServiceFailure("busy", "the model is stuck in a batch; restart the service")
        return JSONResponse({"status": "ok"})

    async def ready(self) -> Response:
        problem = self.service.readiness.problem()
        if problem is not None:
            raise ServiceFailure("busy", problem, retry_after=1)
        return await self.health()


async def _failed(_: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        return failure_response(ServiceFailure.of_status(error.status_code, error.headers))
    failure = ServiceFailure.of(error)
    if failure is None:
        raise error
    return failure_response(failure)
