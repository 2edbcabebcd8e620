"""Request and response bodies of the project's routes, for OpenAPI; records answer as they are."""

from typing import ClassVar, Literal

from pydantic import BaseModel, Field

from segvoc.serving.settings import TEXT_BYTES
from segvoc_annotate.projects.contributions import PersonWork
from segvoc_annotate.projects.records import (
    Change,
    ImageState,
    ProjectOptions,
    ProjectRecord,
    ProjectWord,
    Verdict,
)
from segvoc_annotate.service.addresses import JsonBody
from segvoc_annotate.service.exports import ExportState

MOST_VALUES = 200_000
"""Max values of a project in JSON: seven a word, or one an image that is assigned."""

MOST_NAMES = 20_000_000
"""Max bytes of the names of images that are assigned."""


class ProjectJson(JsonBody):
    """Changes of a project; missing fields stay unchanged."""

    most_bytes: ClassVar = TEXT_BYTES
    most_values: ClassVar = MOST_VALUES
    name: str | None = None
    words: tuple[ProjectWord, ...] | None = Field(
        None, description="All words, including removed ones.", fail_fast=True
    )
    options: ProjectOptions | None = Field(None, description="Its reviewers and model aren't changed.")


class MergeJson(JsonBody):
    """Two words of a project."""

    word: int = Field(description="Id of the word that is removed.")
    into: int = Field(description="Id of the word that gets its pixels.")


class DoneJson(JsonBody):
    """Whether an image is done."""

    done: bool


class ReviewJson(JsonBody):
    """What a reviewer says of an image that is done."""

    most_bytes: ClassVar = TEXT_BYTES
    verdict: Verdict
    comment: str = Field("", max_length=2000)


class AssignedJson(JsonBody):
    """Images, and who labels them."""

    most_bytes: ClassVar = MOST_NAMES
    most_values: ClassVar = MOST_VALUES
    images: tuple[str, ...] = Field(description="Names or ids of images of the project.", fail_fast=True)
    people: tuple[str, ...] = Field(description="Images are dealt out to them in turn; none: to nobody.")
    copies: bool = Field(False, description="Add a copy of each image, without labels, for its person.")


class ImprovementJson(JsonBody):
    """How to learn from the finished images."""

    finetune: bool = Field(False, description="Tune words with a small network; needs PyTorch.")


class ExportJson(JsonBody):
    """What to export."""

    format: str = Field(description="A format of `segvoc project export`.", examples=["coco-instances"])
    all: bool = Field(False, description="Also labeled images that aren't done.")


class ExportsAnswer(BaseModel):
    """The exports of the project."""

    exports: list[ExportState] = Field(description="The last one first.")


class RemovedImageJson(BaseModel):
    """An image in the trash."""

    id: str = Field(description="By which it is restored.")
    image: str


class ProjectLimits(BaseModel):
    """Limits of requests about the project."""

    bytes: int = Field(description="Max bytes of an image file.")
    pixels: int
    words: int
    upload: int = Field(description="Max bytes of one upload.")
    archive: int = Field(description="Max bytes of an imported dataset or project.")


class ProjectAnswer(BaseModel):
    """A project with its images."""

    format: Literal["segvoc project"]
    version: int
    id: str = Field(description="Sent back as X-Segvoc-Project, it is checked: another project answers with 409.")
    name: str
    revision: int
    words: list[ProjectWord]
    options: ProjectOptions
    seq: int = Field(description="Number of the last change.")
    images: list[ImageState]
    images_folder: str
    role: str | None = Field(None, description="Role of the request's key: what it may do. Only of GET.")
    user: str | None = Field(None, description="Name of the request's key, which signs all that it does. Only of GET.")
    removed: list[RemovedImageJson]
    problems: list[str] = Field(description="A line per unusable image.")
    limits: ProjectLimits


class ChangesAnswer(BaseModel):
    """The changes since a given number."""

    seq: int
    changes: list[Change]
    restart: bool = Field(False, description="Whether the history has no such number: older files were put back.")
    states: dict[str, ImageState] = Field(description="Current states of the changed images, by their ids.")
    project: ProjectRecord | None = Field(None, description="Only if it was changed.")


class AddedAnswer(BaseModel):
    """Result of an image upload."""

    added: list[ImageState]
    problems: list[str] = Field(description="A line per rejected file.")


class RemovedAnswer(BaseModel):
    """The images in the trash."""

    removed: list[RemovedImageJson]


class AssignedAnswer(BaseModel):
    """The images that were assigned, or their copies."""

    images: list[ImageState]


class PeopleAnswer(BaseModel):
    """What each person did."""

    people: list[PersonWork]
    problems: list[str] = Field(description="A line per copy that can't be scored, and per unusable image.")
