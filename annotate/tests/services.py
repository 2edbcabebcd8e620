"""Services of small models with a project, a page or a Label Studio, as their callers see them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from segvoc_annotate.service_extension import AnnotateRoutes
from segvoc_annotate.settings import AnnotateSettings
from tests.serving import services
from tests.serving.services import Model

NO_PAGE = Path("no page")

_OURS = {field.name for field in fields(AnnotateSettings)}


@contextmanager
def in_process(model: Model | None = None, **changes: Any) -> Iterator[TestClient]:
    """See `tests.serving.services.in_process`; with fields of `AnnotateSettings`, too."""
    with services.in_process(model, **_divided(changes)) as client:
        yield client


@contextmanager
def listening(model: Model | None = None, **changes: Any) -> Iterator[int]:
    """See `tests.serving.services.listening`; with fields of `AnnotateSettings`, too."""
    with services.listening(model, **_divided(changes)) as port:
        yield port


def _divided(changes: dict[str, Any]) -> dict[str, Any]:
    ours = {name: value for name, value in changes.items() if name in _OURS}
    routes = AnnotateRoutes(AnnotateSettings(**{"page": NO_PAGE, **ours}))
    return {name: value for name, value in changes.items() if name not in _OURS} | {"extensions": (routes,)}
