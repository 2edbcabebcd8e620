"""Requests that Schemathesis makes from the API's description: no answer is a 5xx, and all are as described.

SEGVOC_FUZZ_CASES sets their number for each address; `make fuzz` runs many.
"""

import base64
import os

import hypothesis
import pytest
import schemathesis
from hypothesis import strategies as st

from tests.inference.numpy_engine import NumpySegmenter
from tests.serving.services import drawn_image, in_process, listening, png

CASES = int(os.environ.get("SEGVOC_FUZZ_CASES", "25"))

_IMAGES = st.sampled_from([png(), png(drawn_image(1, (17, 90))), png()[:60], b"", b"GIF89a"]) | st.binary(max_size=200)
schemathesis.openapi.format("byte", _IMAGES.map(lambda content: base64.b64encode(content).decode()))
schemathesis.openapi.format("binary", _IMAGES)


@pytest.fixture(scope="module")
def api():
    """The description of a service that listens."""
    with listening(NumpySegmenter(), max_words=50) as port:
        yield schemathesis.openapi.from_url(f"http://127.0.0.1:{port}/openapi.json")


POSITIVE, NEGATIVE = schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE
ACCEPTED = (
    "application/json",
    "image/png",
    "application/zip",
    "*/*",
    "text/html",
    "image/*;q=0.1, application/zip;q=x",
)


@pytest.mark.parametrize(
    ("method", "path", "mode"),
    [("POST", path, mode) for path in ("/v1/segment", "/v1/vocabularies") for mode in (POSITIVE, NEGATIVE)]
    + [("GET", path, POSITIVE) for path in ("/v1/models", "/metrics", "/healthz", "/readyz")],
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


def test_the_description_has_examples_that_work():
    with in_process() as client:
        described = client.get("/openapi.json").json()
        tried = 0
        for path, operations in described["paths"].items():
            for method, operation in operations.items():
                for kind, content in operation.get("requestBody", {}).get("content", {}).items():
                    for example in content.get("examples", {}).values():
                        answer = client.request(method, path, json=example["value"])
                        assert kind == "application/json" and answer.is_success, answer.text
                        tried += 1
        assert tried == 4


def test_every_failure_is_described_with_an_example():
    with in_process() as client:
        operations = client.get("/openapi.json").json()["paths"]
    responses = operations["/v1/segment"]["post"]["responses"]
    assert set(responses) >= {"200", "400", "401", "403", "404", "406", "408", "413", "415", "422", "429", "500"}
    assert set(responses["200"]["content"]) == {"application/json", "image/png", "application/zip"}
    assert set(responses["422"]["content"]["application/json"]["examples"]) == {"invalid_image", "invalid_request"}


def test_keys_are_described_where_they_are_demanded():
    with in_process(api_key="k" * 20) as client:
        described = client.get("/openapi.json").json()
    assert described["paths"]["/v1/segment"]["post"]["security"] == [{"HTTPBearer": []}]
    assert "security" not in described["paths"]["/healthz"]["get"]
