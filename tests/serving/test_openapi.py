"""Requests that Schemathesis makes from the API's description: valid ones are answered, and all answers are described.

SEGVOC_FUZZ_CASES sets their number for each address; `make fuzz` runs many.
"""

import base64
import json
import os

import httpx2
import hypothesis
import pytest
from hypothesis import strategies as st

from segvoc.inference.label_options import OPTION_TEXTS
from segvoc.serving.schemas import FORM_OPTIONS
from tests.inference.numpy_engine import NumpySegmenter
from tests.lazy_modules import lazily
from tests.serving.services import drawn_image, in_process, listening, png

schemathesis = lazily("schemathesis", "schemathesis is missing")

POSITIVE, NEGATIVE = "positive", "negative"
CASES = int(os.environ.get("SEGVOC_FUZZ_CASES", "10"))

VALID = st.sampled_from([png(), png(drawn_image(1, (17, 90)))])
DAMAGED = st.sampled_from([png()[:60], b"", b"GIF89a"]) | st.binary(max_size=200)

# what a pattern can't say: words and parts fit together
WORD = st.text("abcdefgh", min_size=1, max_size=8)
WORD_LISTS = st.lists(WORD, min_size=1, max_size=5, unique=True)
PART_LISTS = st.dictionaries(WORD, WORD_LISTS, min_size=1, max_size=3)
WORD_LINES = WORD_LISTS.map(", ".join)
PART_LINES = PART_LISTS.map(lambda parts: "; ".join(f"{name}: {', '.join(listed)}" for name, listed in parts.items()))
FORMATS = {
    "binary": VALID,
    "word": WORD,
    "background": st.text("xyz", min_size=1, max_size=8),
    "words": WORD_LINES,
    "words-or-json": WORD_LINES | WORD_LISTS.map(json.dumps),
    "parts": PART_LINES,
    "parts-or-json": PART_LINES | PART_LISTS.map(json.dumps),
    "model": st.just("numpy"),
    "stretch": st.integers(0, 100).map(lambda low: f"{low},{low + 9}"),
}


def without_format(schema):
    """A schema, but for a format of those above that isn't a file's."""
    return {name: value for name, value in schema.items() if name != "format" or value == "binary"}


def form_schema(description):
    body = description["paths"]["/v1/segment"]["post"]["requestBody"]
    return body["content"]["multipart/form-data"]["schema"]


@pytest.fixture(scope="module")
def api():
    for name, strategy in FORMATS.items():
        schemathesis.openapi.format(name, strategy)
    with listening(NumpySegmenter()) as port:
        url = f"http://127.0.0.1:{port}"
        text = httpx2.get(f"{url}/openapi.json").text
        # any text is words, so what breaks their format alone isn't invalid
        valid, invalid = json.loads(text), json.loads(text, object_hook=without_format)
        # Schemathesis can't break a schema with a file whose fields depend on each other
        del form_schema(invalid)["anyOf"]
        schemas = {}
        for mode, described in ((POSITIVE, valid), (NEGATIVE, invalid)):
            schemas[mode] = schemathesis.openapi.from_dict(described)
            schemas[mode].config.update(base_url=url)
        yield schemas


KINDS = ("application/json", "image/png", "application/zip")
UNUSUAL = ("text/html", "image/*;q=0.1, application/zip;q=x")


@pytest.mark.parametrize(
    ("method", "path", "mode"),
    [("POST", "/v1/segment", POSITIVE), ("POST", "/v1/segment", NEGATIVE), ("GET", "/v1/models", POSITIVE)],
)
def test_valid_requests_are_answered_and_answers_are_as_described(api, method, path, mode):
    valid = mode is POSITIVE

    @hypothesis.settings(
        max_examples=CASES,
        deadline=None,
        database=None,
        derandomize="SEGVOC_FUZZ_CASES" not in os.environ,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(
        case=api[mode][path][method].as_strategy(generation_mode=schemathesis.GenerationMode(mode)),
        accept=st.sampled_from((*KINDS, "*/*", *(() if valid else UNUSUAL))),
        image=VALID if valid else VALID | DAMAGED,
    )
    def answered(case, accept, image):
        is_json = case.media_type == "application/json"
        if isinstance(case.body, dict) and "image" in case.body and (valid or not is_json):
            case.body["image"] = base64.b64encode(image).decode() if is_json else image
        if valid and isinstance(case.body, dict):
            case.body.pop("window", None)  # a model has some of the windows
            if accept != "application/zip":
                case.body.pop("probabilities", None)
        response = case.call_and_validate(headers={"Accept": accept}, timeout=300)
        assert not valid or response.status_code < 300, response.text

    answered()


def test_answers_bodies_and_keys_are_described():
    with in_process(api_key="k" * 20) as client:
        described = client.get("/openapi.json").json()
    operation, form = described["paths"]["/v1/segment"]["post"], form_schema(described)
    assert set(operation["responses"]) == {"200", "4XX", "5XX"}
    assert set(operation["responses"]["200"]["content"]) == set(KINDS)
    assert set(operation["requestBody"]["content"]) == {"multipart/form-data", "application/json"}
    assert operation["security"] == [{"HTTPBearer": []}]
    assert form["properties"]["image"]["format"] == "binary" and form["additionalProperties"] is False
    for name in FORM_OPTIONS:
        assert form["properties"][name]["description"] == OPTION_TEXTS[name].help
        kinds = form["properties"][name].get("anyOf")
        assert kinds is None or (len(kinds) > 1 and {"type": "null"} not in kinds)
    assert [way["required"] for way in form["anyOf"]] == [["words"], ["parts"]]
