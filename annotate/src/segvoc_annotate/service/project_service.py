"""A project on the service: its routes, and what runs beside them."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from fastapi import FastAPI

from segvoc import SegvocError
from segvoc.serving.app import Service
from segvoc.serving.middleware import FIELDS, LOGGER
from segvoc_annotate.projects.merging import follow_merges
from segvoc_annotate.service.addresses import ProjectAddresses
from segvoc_annotate.service.carry_over import CarryOvers
from segvoc_annotate.service.dataset_routes import add_dataset_routes
from segvoc_annotate.service.exports import Exports
from segvoc_annotate.service.figures import EXPORT, IMPROVE, ProjectFigures
from segvoc_annotate.service.image_routes import add_image_routes
from segvoc_annotate.service.improvement import Improvement
from segvoc_annotate.service.improvement_routes import add_improvement_routes
from segvoc_annotate.service.label_routes import add_label_routes
from segvoc_annotate.service.record_routes import add_record_routes
from segvoc_annotate.settings import AnnotateSettings


class ProjectService:
    """Adds a project's routes; `UsageError` if the folder isn't a project, or another process has it open."""

    def __init__(self, app: FastAPI, service: Service, limits: AnnotateSettings, folder: Path) -> None:
        self._at = at = ProjectAddresses(app, service, limits, folder)
        figures = ProjectFigures(at.project, at.waiting, service.metrics.registry)
        self._exports = Exports(at.project, partial(figures.ended, EXPORT))
        self._improvement = Improvement(
            at.project, service.open_models[0], at.taught.follow_from_thread, partial(figures.ended, IMPROVE)
        )
        figures.running.labels(EXPORT).set_function(self._exports.running)
        figures.running.labels(IMPROVE).set_function(lambda: self._improvement.state().state == "running")
        self._carry_overs = CarryOvers(at.project, service.open_models[0])
        self._merging: asyncio.Task[None] | None = None
        self._ending = threading.Event()
        add_record_routes(at, self._follow_merges)
        add_image_routes(at)
        add_label_routes(at)
        add_dataset_routes(at, self._exports)
        add_improvement_routes(at, self._improvement)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run with the service.

        On startup, interrupted changes are finished, damaged files are logged, and the model loads the project's
        taught words.
        """
        for problem in await asyncio.to_thread(self._at.project.recover):
            LOGGER.warning("a file of the project can't be used", extra={FIELDS: {"problem": problem}})
        await self._at.taught.follow()
        self._follow_merges()
        carrying = asyncio.create_task(self._carry_overs.follow())
        yield
        self._ending.set()
        carrying.cancel()
        await asyncio.gather(carrying, return_exceptions=True)
        if self._merging is not None:
            await self._merging
        await asyncio.to_thread(self._improvement.stop)
        await asyncio.to_thread(self._exports.stop)
        self._at.project.close()

    def _follow_merges(self) -> None:
        """Let pixels of merged words follow, after an earlier run; the next start goes on with what is left."""
        before = self._merging

        async def follow() -> None:
            if before is not None:
                await before
            try:
                problems = await asyncio.to_thread(follow_merges, self._at.project, self._ending.is_set)
            except (SegvocError, OSError) as error:
                problems = [str(error)]
            for problem in problems:
                LOGGER.warning("merged words can't follow in an image", extra={FIELDS: {"problem": problem}})

        self._merging = asyncio.create_task(follow())
