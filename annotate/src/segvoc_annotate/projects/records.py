"""Records of a project's JSON files (project, image, change), and errors of changes."""

import os
import re
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal
from unicodedata import category

from segvoc import UsageError, Vocabulary
from segvoc.errors import one_line
from segvoc.imaging.palette import class_colors
from segvoc.labeling.formats.project import PROJECT_FORMAT, PROJECT_VERSION
from segvoc.storage.files import read_json
from segvoc.storage.records import from_json

MOST_IDS = 32_766
"""Upper bound of word ids: a correction is an id + 2 in 15 bits, and a bit for its strength."""

MOST_REVISIONS = 10**15
"""Upper bound of revisions and of numbers of changes: they have at most 15 digits, which pages read exactly."""

LONGEST_ANSWERS = 200_000
"""Max characters of an image's `answers`."""

LONGEST_NAME = 200

EVERY = 10
"""Default distance of the frames of a video that are imported [frames]."""

Source = Literal["model", "person", "import"]
"""Origin of an image's labels."""

Verdict = Literal["accepted", "sent back"]
"""What a reviewer says of an image that is done."""

_Mark = Literal["done", "reopened", Verdict, "no longer accepted"]

_Whole = Literal["added", "removed", "restored", "words", "improved", "assigned", "emptied"]

ChangeKind = Literal["labels", "draft", _Mark, _Whole]
"""Kind of a change; "draft": the model labeled an image; "no longer accepted": an accepted image's labels changed."""

DOCUMENTED = {"use_attribute_docstrings": True, "extra": "forbid"}
"""Setting of records that the service reads or answers: OpenAPI describes their fields by the docstrings."""

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TAUGHT = re.compile(r"taught/[^/\\]+\.words\.safetensors")


class DamagedProjectError(UsageError):
    """A file of a project is damaged."""


def damaged_file(path: str | os.PathLike[str], problem: str) -> DamagedProjectError:
    """The error for a damaged file."""
    return DamagedProjectError(f"{os.fspath(path)!r} is damaged: {problem}; restore it from a backup, or remove it")


@dataclass(frozen=True, kw_only=True)
class ProjectWord:
    """A word of a project."""

    __pydantic_config__: ClassVar = DOCUMENTED

    id: int
    """Its value in all label maps; never reused."""
    name: str
    color: tuple[int, int, int]
    """RGB."""
    removed: bool = False
    """Whether it was removed; its pixels keep its id."""
    merged_into: int | None = None
    """The id of the word that it was merged into, which its own id means from then on; it stays removed."""


@dataclass(frozen=True, kw_only=True)
class ProjectOptions:
    """How the images of a project are labeled."""

    __pydantic_config__: ClassVar = DOCUMENTED

    model: str = "tiny"
    parts: str = ""
    """Parts of objects, as `PartVocabulary` reads them; empty: none."""
    threshold: float = 0.0
    """Minimum probability of a word, in [0, 1]."""
    background: str | None = None
    """The word that stands for "none of the others"."""
    taught: tuple[str, ...] = ()
    """Files of taught words, below the project's folder."""
    reviewers: tuple[str, ...] = ()
    """Who may accept images and send them back; empty: everybody."""


@dataclass(frozen=True, kw_only=True)
class ProjectRecord:
    """The content of `project.json`; `UsageError` if the format differs, or a value is invalid."""

    format: Literal["segvoc project"] = PROJECT_FORMAT
    version: int = PROJECT_VERSION
    id: str
    """Which project it is, whatever its name, folder and address."""
    name: str
    revision: int = 1
    images: str = "images"
    """The image folder: below the project's, or absolute."""
    words: tuple[ProjectWord, ...] = ()
    options: ProjectOptions = field(default_factory=ProjectOptions)

    def __post_init__(self) -> None:
        _check_revision(self.revision)
        if not _ID.fullmatch(self.id):
            raise UsageError(f"the id {self.id[:40]!r} is not 1 to 64 letters, digits, - and _; choose another")
        # control characters, surrogates, separators of lines and of paragraphs
        is_line = not any(category(character) in ("Cc", "Cs", "Zl", "Zp") for character in self.name)
        if not self.name.strip() or len(self.name) > LONGEST_NAME or not is_line:
            raise UsageError(
                f"the name {self.name[:40]!r} is not one line of 1 to {LONGEST_NAME} characters; choose another"
            )
        self._check_words()
        if not 0 <= self.options.threshold <= 1:
            raise UsageError(f"the threshold {self.options.threshold:g} is not in [0, 1]; choose another")
        if wrong := [file for file in self.options.taught if not _TAUGHT.fullmatch(file)]:
            raise UsageError(f"{wrong[0][:80]!r} is not a file of taught words (taught/NAME.words.safetensors)")

    def _check_words(self) -> None:
        known = {word.id: word for word in self.words}
        if len(known) != len(self.words):
            raise UsageError("two words have the same id; make ids unique")
        for word in self.words:
            if not word.name.strip():
                raise UsageError("a word has no name; name it, or remove it")
            if not 0 <= word.id < MOST_IDS or not all(0 <= value < 256 for value in word.color):
                raise UsageError(f"the id or the color of {word.name[:40]!r} is out of range; ids are below {MOST_IDS}")
            seen = set[int | None]()
            while word.merged_into is not None:
                seen.add(word.id)
                if not word.removed or word.merged_into in seen or word.merged_into not in known:
                    raise UsageError(f"{word.name[:40]!r} can't be merged into the word {word.merged_into}; correct it")
                word = known[word.merged_into]
        if present := self.present:
            names = Vocabulary([word.name for word in present]).words
            if any(name != word.name for name, word in zip(names, present, strict=True)):
                raise UsageError("a word has white space around it; remove it")

    @property
    def present(self) -> tuple[ProjectWord, ...]:
        """The current words, without removed ones, in order."""
        return tuple(word for word in self.words if not word.removed)

    @property
    def background(self) -> str | None:
        """The word that stands for "none of the others", if it is one of the current words."""
        background = self.options.background
        return background if any(word.name == background for word in self.present) else None

    @property
    def ids(self) -> frozenset[int]:
        """The ids of all words, including removed ones."""
        return frozenset(word.id for word in self.words)

    @cached_property
    def merged(self) -> Mapping[int, int]:
        """The id of the word that each merged word went into, by its own."""
        into = {word.id: word.merged_into for word in self.words if word.merged_into is not None}
        found = {}
        for word in into:
            last = word
            while last in into:
                last = into[last]
            found[word] = last
        return found

    @property
    def places(self) -> Mapping[int, int]:
        """The place of each current word, in order, by its id and the ids of words that were merged into it."""
        places = {word.id: place for place, word in enumerate(self.present)}
        return places | {word: places[into] for word, into in self.merged.items() if into in places}

    @property
    def colors(self) -> Mapping[int, tuple[int, int, int]]:
        """RGB by id."""
        return {word.id: word.color for word in self.words}

    def with_words(self, names: str | Iterable[str]) -> "ProjectRecord":
        """Add words, with the next ids and their default colors; existing words are skipped, removed ones restored.

        A word that was merged into another one stays merged: one of its name is a new word.
        """
        names = Vocabulary(names).words if names else ()
        known = {word.name for word in self.present}
        missing = [name for name in dict.fromkeys(names) if name not in known]
        gone = (word for word in self.words if word.removed and word.merged_into is None)
        back = {word.name: word.id for word in gone if word.name in missing}
        words = [replace(word, removed=False) if back.get(word.name) == word.id else word for word in self.words]
        for number, name in enumerate((name for name in missing if name not in back), max(self.ids, default=-1) + 1):
            words.append(ProjectWord(id=number, name=name, color=word_color(number)))
        return replace(self, words=tuple(words))


def new_project_id() -> str:
    """An id that no other project has."""
    return secrets.token_hex(8)


def word_color(number: int) -> tuple[int, int, int]:
    """Default RGB of the word with an id."""
    red, green, blue = class_colors(number + 1)[number].tolist()
    return red, green, blue


@dataclass(frozen=True, kw_only=True)
class PixelPlace:
    """A pixel."""

    x: int
    y: int


@dataclass(frozen=True, kw_only=True)
class Review:
    """What a reviewer said of an image that was done; sent back, it isn't done any more."""

    verdict: Verdict
    comment: str = ""
    by: str | None
    at: str | None


@dataclass(frozen=True, kw_only=True)
class VideoFrame:
    """The frame of a video that an image is."""

    video: str
    """The id of the video: of its content, whatever its file is called, or of its name where only that is known."""
    name: str
    """The name of the video's file."""
    number: int
    """The frame's number, from 0."""
    time: float | None = None
    """The frame's time since the start of the video [s]; None: it isn't known."""


@dataclass(frozen=True, kw_only=True)
class ImageState:
    """State of an image and its labels."""

    __pydantic_config__: ClassVar = DOCUMENTED

    id: str = ""
    """Which image it is, also after it was removed and restored; its name may be given to another one."""
    image: str
    """Path of the image below the image folder."""
    copy_of: str | None = None
    """The id of the image of which it is a copy for a second person."""
    person: str | None = None
    """Who labels it."""
    frame: VideoFrame | None = None
    """Where it is in a video; None for any other image."""
    width: int
    height: int
    revision: int = 0
    """Number of its last change, which no other one of the image had; 0: it was never labeled."""
    done: bool = False
    review: Review | None = None
    """The last review, until the image is done again or reopened."""
    by: str | None = None
    """Who wrote them last."""
    at: str | None = None
    """When, in UTC."""
    source: Source | None = None
    answers: str | None = None
    """The query that the draft answers, opaque to the server."""
    corrected: int = 0
    """Pixels corrected by a person."""
    pixels: Mapping[str, int] = field(default_factory=dict)
    """Pixels by the word's id."""
    unlabeled: int
    uncertainty: float | None = None
    """Mean of 1 - confidence over uncorrected pixels."""
    least_certain: PixelPlace | None = None
    objects: Mapping[str, int] | None = None
    """Objects by the word's id."""
    change: str | None = None
    """The caller's id of the change that wrote them."""

    def __post_init__(self) -> None:
        _check_revision(self.revision)
        counts = (self.corrected, self.unlabeled, *self.pixels.values(), *(self.objects or {}).values())
        if not all(0 <= count <= self.width * self.height for count in counts):
            raise UsageError(f"the pixels of {self.image[:60]!r} aren't those of {self.width} x {self.height}")


@dataclass(frozen=True, kw_only=True)
class Change:
    """An entry of the history."""

    seq: int
    at: str
    by: str
    what: ChangeKind
    image: str | None = None
    revision: int
    change: str | None = None
    """The caller's id of it, which no other change has."""
    image_id: str | None = None


def _check_revision(revision: int) -> None:
    if not 0 <= revision < MOST_REVISIONS:
        raise UsageError(f"the revision {str(revision)[:20]} is out of range; it is below {MOST_REVISIONS}")


def clock() -> int:
    """The time [ms since 1970]."""
    return time.time_ns() // 1_000_000


def next_number(last: int) -> int:
    """The number after another one, of revisions and of changes.

    It is the time, so that a number never comes twice, also where older files were put back by hand.
    """
    return max(last + 1, clock())


def now() -> str:
    """The current UTC time in the files' format."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_project_record(path: Path) -> ProjectRecord:
    """Read `project.json`; `UsageError` if the format is unknown, or from a newer segvoc.

    `DamagedProjectError` if it is damaged; `OSError` if it can't be read.
    """
    try:
        content = read_json(path)
    except ValueError as error:
        raise damaged_file(path, f"it is not JSON ({one_line(error)})") from None
    if not isinstance(content, dict) or content.get("format") != PROJECT_FORMAT:
        raise UsageError(f"{str(path)!r} is not a segvoc project; give the folder of a project")
    version = content.get("version")
    if isinstance(version, int) and version > PROJECT_VERSION:
        raise UsageError(f"{str(path)!r} is of version {version}, made by a newer segvoc; update segvoc")
    try:
        return from_json(ProjectRecord, content)
    except UsageError as error:
        raise damaged_file(path, str(error)) from None


class ConflictError(UsageError):
    """Edit conflict: the caller's revision is outdated; has the current record."""

    def __init__(self, message: str, current: ImageState | ProjectRecord) -> None:
        super().__init__(message)
        self.current = current


class ImageDoneError(ConflictError):
    """The image is done, so its labels are locked."""


class NotInProjectError(UsageError):
    """The project lacks the image, or data about it."""


def changed_meanwhile(what: str, current: ImageState | ProjectRecord) -> ConflictError:
    """The error for an outdated revision."""
    return ConflictError(
        f"{what} was changed meanwhile and has revision {current.revision}; reload and try again", current
    )
