"""Bodies of requests and answers about a project, as the API's description (OpenAPI) has them."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

_STRICT = ConfigDict(extra="forbid")

Text = Annotated[str, Field(min_length=1)]
"""Text that isn't empty."""

Color = Annotated[list[Annotated[int, Field(ge=0, le=255)]], Field(min_length=3, max_length=3)]
"""RGB."""


class WordJson(BaseModel):
    """A word of a project."""

    model_config = _STRICT

    id: int = Field(ge=0, lt=65_534, description="Its value in all label maps; never reused.")
    name: Text = Field(examples=["car, automobile"])
    color: Color
    removed: bool = Field(False, description="Whether it is no longer looked for; its pixels keep its id.")


class OptionsJson(BaseModel):
    """How the images of a project are labeled."""

    model_config = _STRICT

    model: str = "tiny"
    synonyms: Literal["first", "average"] = "first"
    parts: str = ""
    threshold: float = Field(0.0, ge=0, le=1)
    background: str | None = None
    taught: list[str] = Field([], description="Files of taught words, below the project's folder.")


class ProjectJson(BaseModel):
    """What of a project is to be changed; what is missing stays as it is."""

    model_config = _STRICT

    name: Text | None = Field(None, max_length=200)
    words: list[WordJson] | None = Field(None, description="All words, also those that were removed.")
    options: OptionsJson | None = None


class DoneJson(BaseModel):
    """Whether an image is done."""

    model_config = _STRICT

    done: bool


class ImprovementJson(BaseModel):
    """How to learn from the images that are done."""

    model_config = _STRICT

    finetune: bool = Field(False, description="Tune words with a small network of their own; needs PyTorch.")


class PlaceAnswer(BaseModel):
    """A pixel."""

    x: int
    y: int


class StateAnswer(BaseModel):
    """What is known of an image and its labels."""

    image: str = Field(description="Path of the image below the folder of the images.")
    width: int
    height: int
    revision: int = Field(description="How often its labels were written.")
    done: bool
    by: str | None
    at: str | None = Field(examples=["2026-11-24T20:15:00Z"])
    source: Literal["model", "person", "import"] | None
    answers: str | None = Field(description="What the draft answers: the page's own.")
    corrected: int = Field(description="Pixels that a person decided.")
    pixels: dict[str, int] = Field(description="Pixels by the word's id.")
    unlabeled: int
    uncertainty: float | None = Field(description="Mean of 1 - confidence over pixels that no person decided.")
    least_certain: PlaceAnswer | None
    objects: dict[str, int] | None = Field(description="Objects by the word's id.")


class ProjectLimits(BaseModel):
    """What requests about the project may hold."""

    bytes: int = Field(description="Bytes of an image file.")
    pixels: int
    words: int
    upload: int = Field(description="Bytes of one upload.")
    archive: int = Field(description="Bytes of a dataset or project that is imported.")


class RecordAnswer(BaseModel):
    """The project's own file."""

    format: Literal["segvoc project"]
    version: int
    name: str
    revision: int
    words: list[WordJson]
    options: OptionsJson


class ProjectAnswer(RecordAnswer):
    """A project with its images."""

    seq: int = Field(description="Number of the last change.")
    images: list[StateAnswer]
    images_folder: str
    removed: list[str]
    problems: list[str] = Field(description="A line for each image that can't be used.")
    limits: ProjectLimits


class ChangeAnswer(BaseModel):
    """A change."""

    seq: int
    at: str
    by: str
    what: Literal["labels", "done", "reopened", "added", "removed", "restored", "words", "improved"]
    image: str | None
    revision: int


class ChangedRecord(RecordAnswer):
    """The project's own file, as it is now."""

    images: str = Field(description="The folder of the images.")


class ChangesAnswer(BaseModel):
    """What has changed."""

    seq: int
    changes: list[ChangeAnswer]
    states: dict[str, StateAnswer] = Field(description="How the images of these changes are now.")
    project: ChangedRecord | None = Field(None, description="Only if it was changed.")


class AddedAnswer(BaseModel):
    """What became of images that were sent."""

    added: list[StateAnswer]
    problems: list[str] = Field(description="A line for each file that isn't added.")


class RemovedAnswer(BaseModel):
    """The images in the trash."""

    removed: list[str]


class MeansAnswer(BaseModel):
    """Scores [%] on images that were held out."""

    miou: float | None
    accuracy: float | None
    words: dict[str, float | None] = Field(description="IoU of each word; null where no held-out image shows it.")


class GainsAnswer(BaseModel):
    """What the words gained."""

    before: MeansAnswer = Field(description="By text alone.")
    after: MeansAnswer = Field(description="With examples.")
    keep_text: list[str] = Field(description="Words that keep their text alone.")


class ImprovementAnswer(BaseModel):
    """How far learning from the images that are done is, or how it ended."""

    state: Literal["none", "running", "done", "failed", "canceled"]
    stage: str | None
    share: float | None = Field(description="Of all work, in [0, 1].")
    images: int = Field(description="Images that are learned from.")
    finetune: bool
    scores: GainsAnswer | None
    message: str | None
    by: str | None
    at: str | None
    can_finetune: bool = Field(description="Whether this service can fine-tune.")
