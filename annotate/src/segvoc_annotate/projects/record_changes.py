"""Changes of a project's record: its name, words and options."""

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from segvoc import UsageError
from segvoc.labeling.formats.project import PROJECT_FILE
from segvoc.storage.files import write_json
from segvoc.storage.records import from_json, to_json
from segvoc_annotate.projects.folder import ProjectFolder
from segvoc_annotate.projects.index import stamp_of
from segvoc_annotate.projects.records import (
    ChangeKind,
    ProjectOptions,
    ProjectRecord,
    ProjectWord,
    changed_meanwhile,
    new_project_id,
    next_number,
    read_project_record,
)
from segvoc_annotate.projects.writer import leave_writer, use_writer

SOMEONE = "someone"
"""Default author of a change."""

ANOTHER_PROGRAM = "another program"
"""Author of changes made outside segvoc."""


class RecordChanges(ProjectFolder):
    """A project that this process alone writes, until it is closed or a `with` block ends; see `Project`."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        super().__init__(folder)
        self._writer = use_writer(self.folder, self)
        self.index, self.threads = self._writer.index, self._writer.threads
        with self.threads:
            self._note_record()
            self._note_folder()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the project, so that other processes can write it unless this process has it open elsewhere."""
        leave_writer(self.folder, self)

    def _note_record(self) -> None:
        """Log a change of `project.json` that the history doesn't have; words that an older file lacks come back.

        Their ids are in label maps, and mean no other word; what was merged stays merged.
        """
        known, record = self.index.fact("record"), self.record
        if known is not None and known > record.revision:
            here = {word.id: word for word in record.words}
            names = {word.name for word in record.words}
            for word in [from_json(ProjectWord, word) for word in self.index.fact("words") or ()]:
                if word.id not in here:
                    here[word.id] = replace(word, removed=word.removed or word.name in names)
                elif word.merged_into is not None:
                    here[word.id] = replace(here[word.id], removed=True, merged_into=word.merged_into)
            self._update(record, ANOTHER_PROGRAM, {"words": tuple(here.values())})
        else:
            with self.index.transaction():
                self._put_record(record)
                if known not in (None, record.revision):
                    self.index.log("words", by=ANOTHER_PROGRAM, revision=record.revision)

    def _put_record(self, record: ProjectRecord) -> None:
        self.index.put_fact("record", record.revision)
        self.index.put_fact("words", [to_json(word) for word in record.words])

    def _note_folder(self) -> None:
        """Note where the project is: the next place is that of a copy if it is still here, and else it was moved."""
        last, here = self.index.fact("folder"), str(self.folder)
        if last != here:
            if last is not None and self.differ_from(last):
                self._writer.notices.append(f"{here!r} is a copy of {last!r}, and has got an id of its own")
            with self.index.transaction():
                self.index.put_fact("folder", here)

    def differ_from(self, other: str | os.PathLike[str]) -> bool:
        """Take a new id if the project in another folder has this one's; returns whether that was so."""
        with suppress(OSError, UsageError):
            is_same = os.path.samefile(other, self.folder)
            if not is_same and read_project_record(Path(other, PROJECT_FILE)).id == self.record.id:
                self._update(self.record, ANOTHER_PROGRAM, {"id": new_project_id()})
                return True
        return False

    def update(
        self,
        *,
        expected: int,
        name: str | None = None,
        words: tuple[ProjectWord, ...] | None = None,
        options: ProjectOptions | None = None,
        by: str = SOMEONE,
        change: str | None = None,
    ) -> ProjectRecord:
        """Change the project's name, words (all of them, including removed ones) or options; None: unchanged.

        `UsageError` if a value is invalid, or a word is missing, or one that was merged isn't as it was.
        """
        with self.threads:
            record = self.record
            self._note_record()  # an earlier change may have failed after it was written
            if self.index.has(change):
                return record
            if record.revision != expected:
                raise changed_meanwhile("the project", record)
            merged = {word.id: word.merged_into for word in record.words}
            if wrong := [word.name for word in words or () if word.merged_into != merged.get(word.id)]:
                raise UsageError(f"{wrong[0][:60]!r} was merged, or wasn't; leave its merged_into, or merge it")
            given = {"name": name, "words": words, "options": options}
            changes = {key: value for key, value in given.items() if value is not None}
            return self._update(record, by, changes, change=change)

    def merge_words(self, word: int, into: int, *, by: str = SOMEONE, change: str | None = None) -> ProjectRecord:
        """Record that the id of a word means another one from now on; pixels follow with `follow_merges`.

        Nothing is done where it does already. `UsageError` if an id is that of no current word, or both are the same.
        """
        with self.threads:
            record = self.record
            if self.index.has(change) or any((one.id, one.merged_into) == (word, into) for one in record.words):
                return record
            if not {word, into} <= {one.id for one in record.present} or word == into:
                raise UsageError(
                    f"the words {word} and {into} can't be merged; give the ids of two words of the project"
                )
            words = (replace(one, removed=True, merged_into=into) if one.id == word else one for one in record.words)
            return self._update(record, by, {"words": tuple(words)}, change=change)

    def add_words(self, names: Iterable[str], *, by: str = SOMEONE) -> ProjectRecord:
        """Add new words, whatever the project's revision; `UsageError` if a word can't be used."""
        with self.threads:
            record = self.record
            words = record.with_words(names).words
            return record if words == record.words else self._update(record, by, {"words": words})

    def improved(self, file: str, *, by: str) -> ProjectRecord:
        """Record a new or changed file of taught words, whatever the project's revision."""
        with self.threads:
            record = self.record
            taught = (*(other for other in record.options.taught if other != file), file)
            return self._update(record, by, {"options": replace(record.options, taught=taught)}, "improved")

    def _update(
        self,
        record: ProjectRecord,
        by: str,
        changes: dict[str, Any],
        what: ChangeKind = "words",
        change: str | None = None,
    ) -> ProjectRecord:
        last = max(record.revision, self.index.fact("record") or 0)
        changed = replace(record, **changes, revision=next_number(last))
        if missing := record.ids - changed.ids:
            name = next(word.name for word in record.words if word.id in missing)
            raise UsageError(f"the word {name[:60]!r} is missing; mark removed words as removed instead")
        path = self.folder / PROJECT_FILE
        write_json(path, to_json(changed))
        self._record = stamp_of(path), changed  # two changes may have one time
        with self.index.transaction():
            self._put_record(changed)
            self.index.log(what, by=by, revision=changed.revision, change=change)
        return changed
