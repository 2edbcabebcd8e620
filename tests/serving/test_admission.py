"""Who may call the service: the API key, what one key may take, other sites; and the headers of every answer."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from segvoc.errors import UsageError
from segvoc.serving.admission import HEADERS, is_loopback
from segvoc.serving.settings import ServiceSettings
from tests.serving.services import GatedSegmenter, failure, in_process, png

KEY = "a key of sixteen".replace(" ", "-") + "-and-more"


@pytest.mark.parametrize("path", ["/v1/models", "/metrics"])
def test_the_key_is_demanded(path):
    with in_process(api_key=KEY) as client:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": KEY}, {"Authorization": "Basic YTpi"}):
            answer = client.get(path, headers=headers)
            assert (answer.status_code, failure(answer)) == (401, "unauthorized")
            assert answer.headers["www-authenticate"] == "Bearer"
        assert client.get(path, headers={"Authorization": f"Bearer {KEY}"}).status_code == 200


def test_bodies_are_not_read_without_the_key():
    with in_process(api_key=KEY) as client:
        for path in ("/v1/segment", "/v1/vocabularies"):
            assert client.post(path, content=b"x" * 100_000_000).status_code == 401


def test_health_and_description_need_no_key():
    with in_process(api_key=KEY) as client:
        assert [client.get(path).status_code for path in ("/healthz", "/readyz", "/openapi.json")] == [200] * 3


def test_without_a_key_none_is_demanded():
    with in_process() as client:
        assert client.get("/v1/models").status_code == 200


@pytest.mark.parametrize("key", ["short", "with a space in it", "ключ-из-букв-и-ещё", "x" * 15, "line\nbreak-and-more"])
def test_weak_keys_are_refused(key):
    with pytest.raises(UsageError, match="16 or more characters"):
        ServiceSettings(api_key=key)


def test_the_key_is_not_shown():
    assert KEY not in repr(ServiceSettings(api_key=KEY))


def test_every_answer_has_the_headers():
    with in_process() as client:
        for path in ("/v1/models", "/nowhere", "/healthz", "/"):
            headers = client.get(path).headers
            assert {name: headers[name] for name in HEADERS} == HEADERS
            assert headers["cache-control"] == "no-store"
            assert "access-control-allow-origin" not in headers
    policy = HEADERS["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe-inline" not in policy


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost", 200), ("127.0.0.1:8000", 200), ("[::1]:8000", 200), ("[::1]", 200), ("LOCALHOST:1", 200)]
    + [
        (name, 403) for name in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8000", "[::2]", ":8")
    ],
)
def test_other_names_are_refused(host, status):
    with in_process() as client:
        answer = client.get("/v1/models", headers={"Host": host})
        assert answer.status_code == status
        if status == 403:
            assert failure(answer) == "forbidden"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 201),
        ({"Origin": "http://127.0.0.1"}, 201),
        ({"Origin": "https://127.0.0.1", "Sec-Fetch-Site": "same-origin"}, 201),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://[bad"}, 403),
        ({"Origin": "http://127.0.0.1:81"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
def test_other_sites_cannot_use_the_service(headers, status):
    with in_process() as client:
        answer = client.post("/v1/vocabularies", json={"words": "cat"}, headers=headers)
        assert answer.status_code == status


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("localhost", True)]
    + [(name, False) for name in ("0.0.0.0", "::", "192.168.1.2", "example.org", "localhost.example.org", "")],
)
def test_loopback_is_recognized(host, local):
    assert is_loopback(host) is local


def test_with_keys_the_service_has_any_name():
    with in_process(api_key=KEY, host="labels.example.org") as client:
        headers = {"Authorization": f"Bearer {KEY}", "Origin": "https://labels.example.org:8443"}
        assert client.post("/v1/vocabularies", json={"words": "cat"}, headers=headers).status_code == 201


def with_key(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {KEY}-{name}"}


@pytest.fixture
def two_keys(tmp_path):
    (tmp_path / "keys").write_text(f"anna: {KEY}-anna\nben: {KEY}-ben\n")
    return tmp_path / "keys"


def test_a_key_asks_no_faster_than_its_rate(two_keys):
    with in_process(api_key_file=two_keys, key_rate=0.2) as client:
        first, second = (client.get("/v1/models", headers=with_key("anna")) for _ in range(2))
        assert (first.status_code, second.status_code) == (200, 429)
        assert failure(second) == "too_many" and "API key" in second.text
        assert 1 <= int(second.headers["retry-after"]) <= 5
        assert client.get("/healthz").status_code == 200
        metrics = client.get("/metrics", headers=with_key("ben"))
        assert 'segvoc_limited_total{limit="key_rate"} 1.0' in metrics.text


def test_a_key_has_so_many_requests_open(two_keys):
    model = GatedSegmenter()
    with in_process(model, api_key_file=two_keys, key_requests=1) as client, ThreadPoolExecutor() as threads:
        model.gate.clear()

        def label(name: str):
            files = {"image": ("a.png", png())}
            return client.post("/v1/segment", files=files, data={"words": "cat"}, headers=with_key(name))

        first = threads.submit(label, "anna")
        while "segvoc_open_requests 2.0" not in client.get("/metrics", headers=with_key("ben")).text:
            time.sleep(0.05)
        assert label("anna").status_code == 429
        model.gate.set()
        assert first.result().status_code == label("ben").status_code == label("anna").status_code == 200
