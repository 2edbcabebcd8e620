"""Schemas of request and response bodies (OpenAPI)."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, create_model

from segvoc.inference.label_options import IMAGE_OPTIONS, OPTION_TEXTS, LabelOptions

_STRICT = ConfigDict(extra="forbid")
_WORDS = "One word per class, separated by commas"
_PARTS = "Parts of objects: `dog: head, leg; *: tail` (`*` stands for every object)"

Text = Annotated[str, Field(min_length=1)]

VocabularyName = Annotated[str, Field(pattern="^v[A-Za-z0-9_=-]+$", examples=["veyJ3b3JkcyI6ImNhdCwgc29mYSJ9"])]
"""Name of a vocabulary, returned by POST /v1/vocabularies."""


FORM_OPTIONS = (*IMAGE_OPTIONS, "stretch")
"""The options of a form."""


def _option_fields() -> dict[str, Any]:
    """The options of `LabelOptions` (which validates them) as request fields."""
    types, defaults = get_type_hints(LabelOptions), {one.name: one.default for one in fields(LabelOptions)}
    return {name: (types[name], Field(defaults[name], **_described(name))) for name in FORM_OPTIONS}


def _described(name: str) -> dict[str, Any]:
    text = OPTION_TEXTS[name]
    bounds = {"minimum": text.minimum, "maximum": text.maximum}
    return {
        "description": text.help,
        "json_schema_extra": {name: bound for name, bound in bounds.items() if bound is not None},
    }


class SegmentForm(create_model("LabelFields", __config__=_STRICT, **_option_fields())):
    """An image, the words or parts, and options."""

    image: str = Field(description="The image file.", json_schema_extra={"format": "binary"})
    words: Text | None = Field(
        None,
        description=f"{_WORDS}; or a JSON list with an entry per class, in which `, ` separates synonyms.",
        examples=["cat, sofa, wall"],
    )
    parts: Text | None = Field(None, description=f"{_PARTS}; or a JSON object of lists.", examples=["cat: head, tail"])
    vocabulary: VocabularyName | None = Field(
        None, description="Name of a vocabulary, in place of words, parts and background."
    )
    synonyms: Literal["first", "average"] = Field("first", description="Which synonyms of a class are used.")
    probabilities: bool = Field(
        False, description="Add the probabilities of all classes to a zip: `probabilities.npy`, float32 (K, H, W)."
    )

    @property
    def options(self) -> LabelOptions:
        """The labeling options; `UsageError` if a value is out of range."""
        values = {name: getattr(self, name) for name in FORM_OPTIONS}
        return LabelOptions(**values, return_probabilities=self.probabilities)


class VocabularyJson(BaseModel):
    """A vocabulary to encode."""

    model_config = _STRICT

    words: Text | list[Text] | None = Field(
        None, description=f"{_WORDS}; or a list.", examples=["cat, sofa, wall", ["cat", "sofa, couch", "wall"]]
    )
    parts: Text | dict[Text, list[Text]] | None = Field(
        None, description=f"{_PARTS}; or an object of lists.", examples=["cat: head, tail", {"cat": ["head", "tail"]}]
    )
    background: Text | None = Field(None, **_described("background"), examples=["other"])
    synonyms: Literal["first", "average"] = Field("first", description="Which synonyms of a class are used.")


class Mask(BaseModel):
    """A mask as COCO RLE (compressed), which pycocotools decodes."""

    size: list[int] = Field(description="Height and width [px].", examples=[[480, 640]])
    counts: str = Field(description="The compressed run lengths, column by column.")


class RegionFigures(BaseModel):
    """The share of an image of a class or part."""

    pixels: int
    fraction: float
    mean_confidence: float | None = Field(description="Mean probability of its pixels; null without pixels.")
    rle: Mask


class ClassAnswer(RegionFigures):
    """A class in an image."""

    id: int = Field(description="Its value in the label map.")
    name: str
    color: list[int] = Field(description="RGB.", examples=[[31, 119, 180]])


class PartAnswer(RegionFigures):
    """A part in an image."""

    id: int = Field(description="Its value in the part map.")
    object: str | None = Field(description="Its object; null for any object.")
    part: str
    name: str = Field(examples=["cat's head"])


class SegmentAnswer(BaseModel):
    """A labeled image."""

    image: str | None = Field(description="File name of the image in the form.")
    width: int
    height: int
    model: str
    dtype: str
    classes: list[ClassAnswer]
    parts: list[PartAnswer] | None = Field(None, description="Only if parts were requested.")
    unlabeled: int = Field(description="Pixels without a class.")
    mean_confidence: float | None = Field(description="Mean over all words except the background; null without pixels.")
    not_found: list[str] = Field(description="The words without pixels.")
    unsure: bool = Field(description="Whether perhaps none of the words is in the image.")
    seconds: float = Field(description="Time for reading and labeling the image [s].")
    hints: list[str] = Field(description="For example words that the model doesn't know.")


class VocabularyAnswer(BaseModel):
    """An encoded vocabulary."""

    vocabulary: VocabularyName
    words: list[str] = Field(description="All classes, in the order of their ids.")
    hints: list[str] = Field(description="For example words that the model doesn't know.")


class ModelAnswer(BaseModel):
    """A model."""

    name: str
    parameters: int | None = Field(description="Number of parameters; null if unknown.")
    dtype: str
    parts: bool = Field(description="Whether the model labels parts.")
    windows: list[str]
    license: str | None = Field(description="License of the weights; null if unknown.")
    batch: int = Field(description="Batch size.")
    taught: list[str] = Field(description="Words taught by examples.")
    taught_files: list[str] = Field(description="Digests of the files of taught words, which affect the labels.")


class Limits(BaseModel):
    """Limits of a request."""

    bytes: int = Field(description="Maximum size of an image file.")
    pixels: int
    words: int


class ModelsAnswer(BaseModel):
    """The models of the service, and its limits."""

    models: list[ModelAnswer]
    limits: Limits


class FailureText(BaseModel):
    """The error."""

    code: str
    message: str = Field(description="One line: what is wrong and how to fix it.")
    request_id: str = Field(description="The id of the request in the service's log; also in X-Request-ID.")


class FailureAnswer(BaseModel):
    """A failure."""

    error: FailureText


FAILURE_ANSWERS: Mapping[int | str, dict[str, Any]] = {
    "4XX": {"model": FailureAnswer, "description": "The request is invalid or rejected; the message says why."},
    "5XX": {"model": FailureAnswer, "description": "The service is unavailable or failed."},
}
"""Error responses of every route; an argument of FastAPI's routes (`responses`)."""


def request_body(kind: str, model: type[BaseModel]) -> dict[str, Any]:
    """OpenAPI schema (`openapi_extra`) of a body that the service parses itself: content type and model."""
    return {"requestBody": {"required": True, "content": {kind: {"schema": model.model_json_schema()}}}}
