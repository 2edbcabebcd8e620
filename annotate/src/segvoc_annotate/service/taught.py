"""Keeps the service's model at the words that its project was taught."""

import asyncio
from contextlib import suppress
from pathlib import Path

from segvoc import Segmenter, SegvocError, TaughtWords
from segvoc.serving.logs import FIELDS, LOGGER
from segvoc.serving.service import Service
from segvoc_annotate.projects.folder import FileStamp, file_stamp
from segvoc_annotate.projects.project import Project

FOLLOW_SECONDS = 60.0
"""Time that a thread waits until the model has changed [s]."""


class TaughtModel:
    """Follows the files of taught words that the project names.

    Args:
        project: the project.
        service: what labels; once it runs, its model is that without the words.
    """

    def __init__(self, project: Project, service: Service) -> None:
        self._project, self._service = project, service
        self._plain: Segmenter | None = None
        self._followed: dict[Path, FileStamp] = {}
        self._one = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def follow(self) -> None:
        """Take what is new; a file that can't be used is logged, and the model stays as it is."""
        self._loop = asyncio.get_running_loop()
        async with self._one:
            stamps = self._stamps()
            if stamps == self._followed:
                return
            self._followed = stamps
            plain = self._plain = self._plain or self._service.labeler.model
            files = list(stamps)
            try:
                await self._service.labeler.change_model(
                    lambda: plain.with_taught(*map(TaughtWords.load, files)) if files else plain
                )
            except (SegvocError, OSError) as error:
                LOGGER.warning("taught words of the project can't be used", extra={FIELDS: {"problem": str(error)}})

    def follow_from_thread(self) -> None:
        """Do so from another thread, and wait for it."""
        if self._loop is not None:
            with suppress(TimeoutError):  # the model changes once it is through with what it has
                asyncio.run_coroutine_threadsafe(self.follow(), self._loop).result(FOLLOW_SECONDS)

    def _stamps(self) -> dict[Path, FileStamp]:
        folder, files = self._project.folder, self._project.record.options.taught
        return {folder / file: file_stamp(folder / file) for file in files}
