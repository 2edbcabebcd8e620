"""Routes of segvoc-annotate for `segvoc serve`: an entry point of the group `segvoc.routes`."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from segvoc.serving.settings import Extension
from segvoc_annotate.settings import TOKEN_VARIABLE, AnnotateSettings, label_studio_token

if TYPE_CHECKING:
    from fastapi import FastAPI

    from segvoc.serving.app import Service


@dataclass(frozen=True)
class AnnotateRoutes:
    """Adds the page's routes, and those of Label Studio and the project where asked for."""

    settings: AnnotateSettings

    def __call__(self, app: "FastAPI", service: "Service") -> AbstractAsyncContextManager[None]:
        """See `segvoc.serving.settings.AddRoutes`."""
        from segvoc_annotate.label_studio.routes import LabelStudioRoutes  # here, since it needs FastAPI
        from segvoc_annotate.service.page import ServedPage
        from segvoc_annotate.service.project_service import ProjectService

        settings = self.settings
        project = None if settings.project is None else ProjectService(app, service, settings, settings.project)
        if settings.label_studio is not None or "label-studio" in settings.backends:
            LabelStudioRoutes(service, settings).add(app)
        # not mounted at "/", where it would also catch wrong methods on API routes
        app.router.default = ServedPage(settings.page, has_project=project is not None)
        return nullcontext() if project is None else project.running()


def _routes(options: Mapping[str, Any]) -> AnnotateRoutes:
    address, file, folder = options["label_studio"], options["label_studio_token_file"], None
    token = None
    if address is not None or file is not None:
        token = label_studio_token(file, "--label-studio-token-file")
    if options["project"] is not None:
        from segvoc_annotate.projects.archive import open_project

        folder = open_project(options["project"]).folder
    settings = {"backends": options["backend"], "label_studio": address, "label_studio_token": token}
    return AnnotateRoutes(AnnotateSettings(project=folder, **settings))


EXTENSION = Extension(
    options=(
        click.Option(
            ["--project"],
            metavar="PATH",
            help="Serve this project: its folder, or its zip, which is unpacked beside it.",
        ),
        click.Option(
            ["--backend"],
            multiple=True,
            type=click.Choice(["label-studio"]),
            help="Also answer the requests of this tool; repeatable.",
        ),
        click.Option(
            ["--label-studio"],
            metavar="URL",
            help="Its backend: fetch task images from this Label Studio, and only from it.",
        ),
        click.Option(
            ["--label-studio-token-file"], metavar="FILE", help=f"File with its token; or set {TOKEN_VARIABLE}."
        ),
    ),
    routes=_routes,
)
