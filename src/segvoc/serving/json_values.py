"""JSON of requests into typed values, within limits; what is wrong with it is told by its field."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from segvoc.runtime.suggestions import option_meant
from segvoc.serving.answers import ServiceFailure

VALUES_PER_WORD = 20
"""Limits the values of a JSON text, by the number of words that are allowed: synonyms and parts have commas, too."""

_T = TypeVar("_T")


def decoded_if(text: object, opening: str, adapter: TypeAdapter[Any], max_words: int) -> Any:
    """Decode a request's words or parts as JSON if they are text that starts like JSON."""
    if not isinstance(text, str) or not text.lstrip().startswith(opening):
        return text
    return decoded_json(
        adapter, text.encode(), "begin a word otherwise if it isn't meant as JSON", VALUES_PER_WORD * max_words
    )


def decoded_json(adapter: TypeAdapter[_T], text: bytes, fix: str, values: int, flat: int | None = None) -> _T:
    """Decode JSON; `flat` limits the values beyond ten of each object and list: reporting wrong ones takes a while."""
    # empty lists take a hundred times their bytes in memory
    opened, commas = text.count(b"[") + text.count(b"{"), text.count(b",")
    number = max(opened + commas, text.count(b'"') // 2)
    if number > values or (flat is not None and commas > flat + 10 * opened):
        raise too_many_values()
    with naming_fields(fix):
        return adapter.validate_json(text, strict=True)


def too_many_values() -> ServiceFailure:
    """What a body with too many values gets."""
    return ServiceFailure("too_large", "the body has too many values; send fewer words or tasks")


_FEW = "too_short"
_SAID = {_FEW: "has no entry; give one or more", "string_type": "isn't a text; write words as text"}
"""What we say of Pydantic's types of errors in fields of several types."""


@contextmanager
def naming_fields(fix: str) -> Iterator[None]:
    """Turn the first of Pydantic's errors into a `ServiceFailure`."""
    try:
        yield
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        # of the types that a field may have, the one that fits best says most
        same = [each for each in problems if each["loc"][:1] == problems[0]["loc"][:1]]
        problem = max(same, key=lambda each: (any(isinstance(step, int) for step in each["loc"]), each["type"] == _FEW))
        if problem["type"] == "json_invalid":
            raise ServiceFailure("bad_request", f"this isn't valid JSON: {problem['msg']}") from None
        path = [step for step in problem["loc"] if not (isinstance(step, str) and re.search(r"[-\[]", step))]
        place = "".join(f"[{step}]" if isinstance(step, int) else f".{str(step)[:60]}" for step in path).lstrip(".")
        place = place or "the body"
        if problem["type"] == "extra_forbidden":
            ours = option_meant(place, re.findall(r"\w+", fix))
            meant = f" (did you mean {ours}?)" if ours else f"; {fix}"
            raise ServiceFailure("invalid_request", f"unknown field {place!r}{meant}") from None
        if problem["type"] == "missing":
            raise ServiceFailure("invalid_request", f"{place} is missing; send it") from None
        if len(same) > 1 and problem["type"] in _SAID:
            raise ServiceFailure("invalid_request", f"{place} {_SAID[problem['type']]}") from None
        said = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "value_error" and place == "image":
            is_text = said.startswith("Expected UploadFile")
            said = "image is a text; send the file: curl -F image=@photo.jpg" if is_text else said
            raise ServiceFailure("invalid_request", said) from None
        raise ServiceFailure("invalid_request", f"{place}: {said}; {fix}") from None


def known_fields(model: type[BaseModel]) -> str:
    """What an error says of the fields that there are."""
    return f"the fields are {', '.join(model.model_fields)}"
