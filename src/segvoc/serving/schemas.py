"""What a request to label an image may ask: the fields of its form and its JSON (OpenAPI), and its words, checked."""

import re
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Annotated, Any, BinaryIO, get_type_hints

from fastapi import UploadFile
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, create_model, field_validator

from segvoc.inference.label_options import IMAGE_OPTIONS, OPTION_TEXTS, LabelOptions
from segvoc.inference.part_labels import words_with_objects
from segvoc.serving.answers import ServiceFailure
from segvoc.serving.json_values import decoded_if
from segvoc.serving.labeler import LabelQuery
from segvoc.storage.files import base64_bytes
from segvoc.vocabulary import PartVocabulary, parts_by_object

LONGEST_WORD = 500
"""Max characters of a word, a part or the background's name: normalizing takes time quadratic in them."""

_WORDS = "One word per class, separated by commas, with `=` between synonyms"
_PARTS = "Parts of objects: `dog: head, leg; *: tail` (`*` stands for every object)"

Text = Annotated[str, Field(min_length=1)]
Word = Annotated[str, Field(min_length=1, json_schema_extra={"format": "word"})]
WordList = Annotated[list[Word], Field(min_length=1, json_schema_extra={"uniqueItems": True})]
PartLists = Annotated[
    dict[Word, Annotated[list[Word], Field(json_schema_extra={"uniqueItems": True})]],
    # an object may have no parts, but not all of them
    Field(min_length=1, json_schema_extra={"not": {"additionalProperties": {"maxItems": 0}}}),
]
ModelName = Annotated[
    Text | None,
    Field(
        description="Name of one of the service's models (GET /v1/models); by default the first.",
        json_schema_extra={"format": "model"},
    ),
]

FORM_OPTIONS = (*IMAGE_OPTIONS, "stretch")
"""The options of a form."""


def _option_field(name: str) -> Any:
    """A request's field for an option of `LabelOptions`, which validates it."""
    text, is_name = OPTION_TEXTS[name], name in ("background", "stretch")
    schema = {"minimum": text.minimum, "maximum": text.maximum, "format": name if is_name else None}
    return Field(
        getattr(LabelOptions(), name),
        description=text.help,
        max_length=LONGEST_WORD if is_name else None,
        json_schema_extra={key: value for key, value in schema.items() if value is not None},
    )


def _add_conditions(schema: dict[str, Any]) -> None:
    """Optional fields are left out, not null, and there are words, parts or both."""
    schema["properties"] = {name: _without_null(value) for name, value in schema["properties"].items()}
    schema["anyOf"] = [{"required": [way]} for way in ("words", "parts")]


def _without_null(field: dict[str, Any]) -> dict[str, Any]:
    """The schema of an optional field, whose default of None stands for a field that is left out."""
    values = [value for value in field.get("anyOf", ()) if value != {"type": "null"}]
    if len(values) == len(field.get("anyOf", ())):
        return field
    rest = {name: value for name, value in field.items() if name not in ("anyOf", "default")}
    return rest | (values[0] if len(values) == 1 else {"anyOf": values})


_OPTION_TYPES = get_type_hints(LabelOptions)
_OPTIONS: dict[str, Any] = {name: (_OPTION_TYPES[name], _option_field(name)) for name in FORM_OPTIONS}


class _SegmentFields(create_model("LabelFields", **_OPTIONS)):
    """What forms and JSON have in common."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=_add_conditions)

    model: ModelName = None
    probabilities: bool = Field(
        False, description="Add the probabilities of all classes to a zip: `probabilities.npy`, float32 (K, H, W)."
    )

    def query(self, max_words: int, *, probabilities: bool) -> LabelQuery:
        """The query; raises errors as `checked_query`. `probabilities`: whether the answer can hold them."""
        asked: Any = self  # words and parts are fields of the subclasses
        if self.probabilities and not probabilities:
            problem = "probabilities are in a zip alone; ask for one (Accept: application/zip), or leave them out"
            raise ServiceFailure("invalid_request", problem)
        values = {name: getattr(self, name) for name in FORM_OPTIONS}
        options = LabelOptions(**values, return_probabilities=self.probabilities)
        words = decoded_if(asked.words, "[", TypeAdapter(WordList), max_words)
        parts = decoded_if(asked.parts, "{", TypeAdapter(PartLists), max_words)
        return checked_query(words, parts, options, max_words)


class SegmentRequest(_SegmentFields):
    """An image, the words or parts, and options."""

    image: UploadFile = Field(description="The image file.", json_schema_extra={"format": "binary"})
    words: Text | None = Field(
        None,
        description=f"{_WORDS}; or a JSON list with an entry per class.",
        examples=["cat, sofa, wall"],
        json_schema_extra={"format": "words-or-json"},
    )
    parts: Text | None = Field(
        None,
        description=f"{_PARTS}; or a JSON object of lists.",
        examples=["cat: head, tail"],
        json_schema_extra={"format": "parts-or-json"},
    )

    @property
    def file(self) -> BinaryIO:
        """The image file."""
        return self.image.file

    @property
    def file_name(self) -> str | None:
        """Its name, if the client told it."""
        return self.image.filename


_DATA_URL = re.compile(r"data:[\w.+/-]{0,100};base64,")


def _from_base64(text: object) -> bytes:
    if not isinstance(text, str):
        raise ValueError("the image is not a text in base64")
    try:
        return base64_bytes(text[prefix.end() :] if (prefix := _DATA_URL.match(text)) else text)
    except ValueError as error:
        raise ValueError(f"the image is not in base64 ({error})") from None


class JsonSegmentRequest(_SegmentFields):
    """The same as JSON, with the image in base64; words may be a list, and parts an object of lists."""

    image: Annotated[bytes, BeforeValidator(_from_base64, json_schema_input_type=str)] = Field(
        description="The image file in base64, or a data URL of it.", json_schema_extra={"format": "image-in-base64"}
    )
    words: Text | WordList | None = Field(
        None, description=f"{_WORDS}; or a list.", json_schema_extra={"format": "words-or-json"}
    )
    parts: Text | PartLists | None = Field(
        None, description=f"{_PARTS}; or an object of lists.", json_schema_extra={"format": "parts-or-json"}
    )

    @field_validator("keep_classes", mode="before")
    @classmethod
    def _as_integer(cls, value: object) -> object:
        # to JSON Schema, 5.0 is an integer
        return int(value) if isinstance(value, float) and value.is_integer() else value

    @property
    def file(self) -> BinaryIO:
        """The image file."""
        return BytesIO(self.image)

    @property
    def file_name(self) -> None:
        """None: JSON has no file names."""


def described(models: Mapping[str, type[BaseModel]]) -> dict[str, Any]:
    """What OpenAPI says of a body that is read here, and not by FastAPI, by its content type."""
    content = {kind: {"schema": model.model_json_schema()} for kind, model in models.items()}
    return {"requestBody": {"required": True, "content": content}}


def checked_query(
    words: str | Sequence[str] | None,
    parts: str | Mapping[str, Sequence[str]] | None,
    options: LabelOptions,
    max_words: int,
) -> LabelQuery:
    """Check words and parts; takes a while, so call it in a thread. `UsageError` or `ServiceFailure`.

    A part of several objects counts for each.
    """
    if words is None and parts is None:
        raise ServiceFailure("invalid_request", "there are neither words nor parts; give some, such as 'cat, sofa'")
    most = 2 * max_words  # an object and its only part are a name each
    names = [*_names(words, ",", most), *_names(parts, ",;:", most)]
    if len(names) > most:
        message = f"there are more than {most} names; this service accepts at most {max_words} words and parts"
        raise ServiceFailure("invalid_request", message)
    if (longest := max(len(name.strip()) for name in names)) > LONGEST_WORD:
        message = f"a word has {longest} characters; the longest may have {LONGEST_WORD}"
        raise ServiceFailure("invalid_request", message)
    of_objects = None if parts is None else PartVocabulary(parts)
    vocabulary = words_with_objects(words, of_objects)
    number = len(vocabulary)
    if of_objects is not None:
        number += sum(map(len, parts_by_object(vocabulary.words, of_objects.parts)))
    if number > max_words:
        message = f"there are {number} words and parts of objects; this service accepts at most {max_words}"
        raise ServiceFailure("invalid_request", message)
    return LabelQuery(vocabulary, of_objects, options)


def _names(
    given: str | Sequence[str] | Mapping[str, Sequence[str]] | None, separators: str, most: int
) -> Sequence[str]:
    if isinstance(given, str):
        return re.split(f"[{separators}\r\n]", given, maxsplit=most)
    if isinstance(given, Mapping):
        return [*given, *(part for parts in given.values() for part in parts)]
    return given or ()
