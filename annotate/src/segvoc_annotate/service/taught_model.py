"""The service's model, with the words that the project has taught."""

import asyncio
from contextlib import suppress
from pathlib import Path

from segvoc import SegvocError, TaughtWords
from segvoc.serving.app import Service
from segvoc.serving.middleware import FIELDS, LOGGER
from segvoc_annotate.projects.index import stamp_of
from segvoc_annotate.projects.project import Project

FOLLOW_SECONDS = 60.0
"""Timeout for a thread that waits for the model to change [s]."""


class TaughtModel:
    """Reloads the project's files of taught words when they change; the service starts without taught words."""

    def __init__(self, project: Project, service: Service) -> None:
        self._project, self._service = project, service
        self._followed: dict[Path, str] = {}
        self._one = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def follow(self) -> None:
        """Load changed files; an unusable file is logged and the model kept."""
        self._loop = asyncio.get_running_loop()
        async with self._one:
            stamps = await asyncio.to_thread(self._stamps)
            if stamps == self._followed:
                return
            self._followed = stamps
            files = list(stamps)
            try:
                await self._service.labeler.adapt_model(
                    lambda plain: plain.with_taught(*map(TaughtWords.load, files)) if files else plain
                )
            except (SegvocError, OSError) as error:
                LOGGER.warning("taught words of the project can't be used", extra={FIELDS: {"problem": str(error)}})

    def follow_from_thread(self) -> None:
        """Call `follow` from another thread and wait."""
        if self._loop is not None:
            with suppress(TimeoutError):  # the model changes after its queued work
                asyncio.run_coroutine_threadsafe(self.follow(), self._loop).result(FOLLOW_SECONDS)

    def _stamps(self) -> dict[Path, str]:
        folder, files = self._project.folder, self._project.record.options.taught
        return {folder / file: stamp_of(folder / file) for file in files}
