"""Clients besides forms and our own pages: images in JSON, and pages of other sites."""

import base64
import json
from typing import Any

import pytest
from starlette.testclient import TestClient

from segvoc.errors import UsageError
from segvoc.serving.settings import ServiceSettings
from tests.images import one_line_error
from tests.serving.services import in_process, png

IMAGE = png()
BASE64 = base64.b64encode(IMAGE).decode()
SITE, OTHER = "https://app.example", "https://other.example:8443"


def in_a_form(client: TestClient, **fields: str) -> Any:
    return client.post("/v1/segment", data=fields, files={"image": ("photo.png", IMAGE)})


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
@pytest.mark.parametrize("words", ["cat, sofa=couch, wall", ["cat", "sofa, couch", "wall"]])
def test_an_image_in_json_has_the_labels_of_a_form(prefix: str, words: object) -> None:
    with in_process() as client:
        expected = in_a_form(client, words="cat, sofa=couch, wall", threshold="0.1").json()
        answer = client.post("/v1/segment", json={"image": prefix + BASE64, "words": words, "threshold": 0.1})
    assert answer.status_code == 200
    for changing in ("image", "seconds"):
        expected.pop(changing), (found := answer.json()).pop(changing)
    assert {name: value for name, value in found.items() if name in expected} | {"image": 0} == expected | {"image": 0}


def test_parts_and_other_answers_come_for_json_too() -> None:
    with in_process() as client:
        sent = {"image": BASE64, "words": ["cat"], "parts": {"cat": ["head", "tail"]}}
        labels = client.post("/v1/segment", json=sent, headers={"Accept": "image/png"})
        report = client.post("/v1/segment", json=sent).json()
    assert labels.content.startswith(b"\x89PNG")
    assert [part["name"] for part in report["parts"]] == ["cat's head", "cat's tail"]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"words": "cat"}, 422, "image"),
        ({"image": "no base64!", "words": "cat"}, 422, "base64"),
        ({"image": BASE64}, 422, "words"),
        ({"image": BASE64, "words": ["cat", 7]}, 422, "words"),
        ({"image": BASE64, "words": "cat", "threshold": "0.5"}, 422, "threshold"),
        ({"image": BASE64, "words": "cat", "color": 1}, 422, "color"),
        ({"image": "AAAA", "words": "cat"}, 422, "the file is not an image in a known format"),
        ("{", 400, "JSON"),
    ],
)
def test_what_is_wrong_in_json_is_told(body: object, status: int, said: str) -> None:
    text = body if isinstance(body, str) else json.dumps(body)
    with in_process() as client:
        answer = client.post("/v1/segment", content=text, headers={"Content-Type": "application/json"})
    assert (answer.status_code, said in answer.json()["error"]["message"]) == (status, True), answer.text


@pytest.mark.parametrize("keys", [{}, {"api_key": "k" * 20}])
def test_pages_of_allowed_sites_may_use_the_service(keys: dict[str, str]) -> None:
    key = {"Authorization": f"Bearer {'k' * 20}"} if keys else {}
    asking = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    with in_process(allow_origin=(SITE, OTHER), **keys) as client:
        for site in (SITE, OTHER):
            preflight = client.options("/v1/segment", headers={"Origin": site, **asking})
            assert preflight.status_code == 200
            assert preflight.headers["Access-Control-Allow-Origin"] == site
            headers = {"Origin": site, "Sec-Fetch-Site": "cross-site", **key}
            answer = client.post("/v1/segment", json={"image": BASE64, "words": "cat"}, headers=headers)
            assert answer.status_code == 200
            assert answer.headers["Access-Control-Allow-Origin"] == site
            assert "X-Request-ID" in answer.headers["Access-Control-Expose-Headers"]


@pytest.mark.parametrize("allowed", [(), (SITE,)])
def test_pages_of_other_sites_may_not(allowed: tuple[str, ...]) -> None:
    headers = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    with in_process(allow_origin=allowed) as client:
        answer = client.post("/v1/segment", json={"image": BASE64, "words": "cat"}, headers=headers)
    assert answer.status_code == 403
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize("origin", ["*", "app.example", "https://app.example/path", "null", ""])
def test_what_is_no_origin_is_refused(origin: str) -> None:
    with one_line_error(UsageError, "origin", "https://app.example"):
        ServiceSettings(allow_origin=(origin,))
