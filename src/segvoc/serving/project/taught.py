"""Keeps the service's model at the words that its project was taught, whichever process wrote them."""

import asyncio
from pathlib import Path

from segvoc.errors import SegvocError
from segvoc.inference.segmenter import Segmenter
from segvoc.projects.folder import FileStamp, file_stamp
from segvoc.projects.project import Project
from segvoc.serving.labeler import Labeler
from segvoc.serving.logs import FIELDS, LOGGER
from segvoc.teaching.taught_words import TaughtWords


class TaughtModel:
    """Follows the files of taught words that the project names.

    Args:
        project: the project.
        labeler: what labels; its model is that of the service without them.
    """

    def __init__(self, project: Project, labeler: Labeler) -> None:
        self._project, self._labeler, self._plain = project, labeler, labeler.model
        self._followed: dict[Path, FileStamp] = {}
        self._one = asyncio.Lock()

    async def follow(self) -> None:
        """Take what is new; a file that can't be used is logged, and the model stays as it is."""
        if self._stamps() == self._followed:
            return
        async with self._one:
            stamps = self._stamps()
            if stamps == self._followed:
                return
            self._followed = stamps
            try:
                await self._labeler.change_model(lambda: self._taught(list(stamps)))
            except (SegvocError, OSError) as error:
                LOGGER.warning("taught words of the project can't be used", extra={FIELDS: {"problem": str(error)}})

    def _taught(self, files: list[Path]) -> Segmenter:
        return self._plain.with_taught(*map(TaughtWords.load, files)) if files else self._plain

    def _stamps(self) -> dict[Path, FileStamp]:
        folder, files = self._project.folder, self._project.record.options.taught
        return {folder / file: file_stamp(folder / file) for file in files}
