"""Request and response bodies of the project's routes, for OpenAPI; records answer as they are."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from segvoc_annotate.projects.records import Change, ImageState, Verdict

_STRICT = ConfigDict(extra="forbid")

Text = Annotated[str, Field(min_length=1)]
"""Non-empty text."""

Color = Annotated[list[Annotated[int, Field(ge=0, le=255)]], Field(min_length=3, max_length=3)]
"""RGB."""


class WordJson(BaseModel):
    """A word of a project."""

    model_config = _STRICT

    id: int = Field(ge=0, lt=65_534, description="Its value in all label maps; never reused.")
    name: Text = Field(examples=["car, automobile"])
    color: Color
    removed: bool = Field(False, description="Whether it was removed; its pixels keep its id.")


class OptionsJson(BaseModel):
    """How the images of a project are labeled."""

    model_config = _STRICT

    model: str = "tiny"
    parts: str = ""
    threshold: float = Field(0.0, ge=0, le=1)
    background: str | None = None
    taught: list[str] = Field([], description="Files of taught words, below the project's folder.")
    reviewers: list[str] = Field([], description="Who may review; only `segvoc project reviewers` changes it.")


class ProjectJson(BaseModel):
    """Changes of a project; missing fields stay unchanged."""

    model_config = _STRICT

    name: Text | None = Field(None, max_length=200)
    words: list[WordJson] | None = Field(None, description="All words, including removed ones.")
    options: OptionsJson | None = None


class MergeJson(BaseModel):
    """Two words of a project."""

    model_config = _STRICT

    word: int = Field(description="Id of the word that is removed.")
    into: int = Field(description="Id of the word that gets its pixels.")


class DoneJson(BaseModel):
    """Whether an image is done."""

    model_config = _STRICT

    done: bool


class ReviewJson(BaseModel):
    """What a reviewer says of an image that is done."""

    model_config = _STRICT

    verdict: Verdict
    comment: str = Field("", max_length=2000)


class ImprovementJson(BaseModel):
    """How to learn from the finished images."""

    model_config = _STRICT

    finetune: bool = Field(False, description="Tune words with a small network; needs PyTorch.")


class ProjectLimits(BaseModel):
    """Limits of requests about the project."""

    bytes: int = Field(description="Max bytes of an image file.")
    pixels: int
    words: int
    upload: int = Field(description="Max bytes of one upload.")
    archive: int = Field(description="Max bytes of an imported dataset or project.")


class RecordAnswer(BaseModel):
    """The project's record."""

    format: Literal["segvoc project"]
    version: int
    name: str
    revision: int
    words: list[WordJson]
    options: OptionsJson


class ProjectAnswer(RecordAnswer):
    """A project with its images."""

    seq: int = Field(description="Number of the last change.")
    images: list[ImageState]
    images_folder: str
    removed: list[str]
    problems: list[str] = Field(description="A line per unusable image.")
    limits: ProjectLimits


class ChangedRecord(RecordAnswer):
    """The project's current record."""

    images: str = Field(description="The image folder.")


class ChangesAnswer(BaseModel):
    """The changes since a given number."""

    seq: int
    changes: list[Change]
    states: dict[str, ImageState] = Field(description="Current states of the changed images.")
    project: ChangedRecord | None = Field(None, description="Only if it was changed.")


class AddedAnswer(BaseModel):
    """Result of an image upload."""

    added: list[ImageState]
    problems: list[str] = Field(description="A line per rejected file.")


class RemovedAnswer(BaseModel):
    """The images in the trash."""

    removed: list[str]
