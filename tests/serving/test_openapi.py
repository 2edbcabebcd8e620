"""Requests that Schemathesis makes from the API's description: no answer is a 5xx, and all are as described.

SEGVOC_FUZZ_CASES sets their number for each address; `make fuzz` runs many.
"""

import os

import hypothesis
import pytest
import schemathesis
from hypothesis import strategies as st

from tests.inference.numpy_engine import NumpySegmenter
from tests.serving.services import drawn_image, in_process, listening, png

CASES = int(os.environ.get("SEGVOC_FUZZ_CASES", "15"))

_IMAGES = st.sampled_from([png(), png(drawn_image(1, (17, 90))), png()[:60], b"", b"GIF89a"]) | st.binary(max_size=200)
schemathesis.openapi.format("binary", _IMAGES)


@pytest.fixture(scope="module")
def api():
    with listening(NumpySegmenter(), max_words=50) as port:
        yield schemathesis.openapi.from_url(f"http://127.0.0.1:{port}/openapi.json")


POSITIVE, NEGATIVE = schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE
KINDS = ("application/json", "image/png", "application/zip")
ACCEPTED = (*KINDS, "*/*", "text/html", "image/*;q=0.1, application/zip;q=x")


@pytest.mark.parametrize(
    ("method", "path", "mode"),
    [("POST", path, mode) for path in ("/v1/segment", "/v1/vocabularies") for mode in (POSITIVE, NEGATIVE)]
    + [("GET", "/v1/models", POSITIVE)],
)
def test_answers_are_as_described(api, method, path, mode):
    @hypothesis.settings(
        max_examples=CASES,
        deadline=None,
        database=None,
        derandomize="SEGVOC_FUZZ_CASES" not in os.environ,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=api[path][method].as_strategy(generation_mode=mode), accept=st.sampled_from(ACCEPTED))
    def answers_are_as_described(case, accept):
        # whether random bytes are an image, and words fit together, is more than a description can say
        excluded = [schemathesis.checks.positive_data_acceptance]
        case.call_and_validate(headers={"Accept": accept}, excluded_checks=excluded)

    answers_are_as_described()


def test_answers_bodies_and_keys_are_described():
    with in_process(api_key="k" * 20) as client:
        operation = client.get("/openapi.json").json()["paths"]["/v1/segment"]["post"]
    assert set(operation["responses"]) == {"200", "4XX", "5XX"}
    assert set(operation["responses"]["200"]["content"]) == set(KINDS)
    assert set(operation["requestBody"]["content"]) == {"multipart/form-data"}
    assert operation["security"] == [{"HTTPBearer": []}]
