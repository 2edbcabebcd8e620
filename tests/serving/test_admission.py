"""Who may call the service: API keys, what one key may take, other sites; and the headers of every answer."""

import base64
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from segvoc.errors import UsageError
from segvoc.serving import admission, app
from segvoc.serving.middleware import HEADERS
from segvoc.serving.settings import ServiceSettings
from tests.serving.services import GatedSegmenter, failure, in_process, png, wait_until_open

KEY = "a key of sixteen".replace(" ", "-") + "-and-more"


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_the_key_is_demanded_before_a_body_is_read():
    wrong = ["", "Bearer wrong", KEY, "Basic YTpi", f"Basic {KEY}", f"Token {KEY}", f"Bearer {KEY}x", "Bearer é"]
    with in_process(api_key=KEY) as client:
        for path in ("/v1/models", "/metrics"):
            for text in wrong:
                answer = client.get(path, headers={"Authorization": text.encode()})
                assert (answer.status_code, failure(answer)) == (401, "unauthorized")
                assert answer.headers["www-authenticate"] == "Bearer"
            assert client.get(path, headers=bearer(KEY)).status_code == 200
        assert client.post("/v1/segment", content=b"x" * 100_000_000).status_code == 401


def test_every_address_that_is_not_open_needs_a_key():
    with in_process(api_key=KEY) as client:
        client.app.add_api_route("/v1/added", lambda: {})  # as another part of the service would add it
        for method in ("GET", "HEAD"):
            assert client.request(method, "/v1/added").status_code == 401
        assert client.get("/v1/added", headers=bearer(KEY)).status_code == 200
        assert [client.get(path).status_code for path in ("/healthz", "/readyz", "/openapi.json")] == [200] * 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "can't be read"),
        ("# nobody\n", "there is no API key"),
        ("anna: short\n", "16 or more characters"),
        ("ключ-из-букв-и-ещё", "16 or more characters"),
        (f"anna: {KEY}\nben: {KEY}\n", "the same key twice"),
        (f'a"b: {KEY}\nben: {KEY}2\n', "entry 1 is not 'NAME: KEY'"),
        (f"anna: {KEY} LABEL\n", "a ROLE of label, read, annotate, administer"),
        (f"\udcffanna: {KEY}\n", "save it as UTF-8"),
    ],
)
def test_weak_keys_and_other_files_are_refused(text: str, said: str, tmp_path: Path):
    if text:
        (tmp_path / "keys").write_text(text, "utf-8", "surrogateescape")
    with pytest.raises(UsageError, match=said) as refused:
        ServiceSettings(api_key_file=tmp_path / "keys")
    assert KEY not in str(refused.value) and KEY not in repr(ServiceSettings(api_key=KEY))


def test_a_key_file_may_begin_with_a_byte_order_mark(tmp_path: Path):
    (tmp_path / "keys").write_text(f"anna: {KEY} label\nben: {KEY}2\ncleo: {KEY}3 read 60/min\n", "utf-8-sig")
    assert ServiceSettings(api_key_file=tmp_path / "keys").keys() == {
        KEY: ("anna", "label", None),
        f"{KEY}2": ("ben", "administer", None),
        f"{KEY}3": ("cleo", "read", 60),
    }


@pytest.fixture
def two_keys(tmp_path: Path) -> Path:
    (tmp_path / "keys").write_text(f"# the team\n\nanna: {KEY}-anna\nben@example.org: {KEY}-ben\nanna: {KEY}-new\n")
    return tmp_path / "keys"


def test_keys_have_names_in_logs_and_metrics(two_keys: Path, caplog):
    with in_process(api_key_file=two_keys) as client, caplog.at_level("INFO", "segvoc.serving"):
        for end, status in (("-anna", 200), ("-ben", 200), ("-new", 200), ("-old", 401)):
            assert client.get("/v1/models", headers=bearer(KEY + end)).status_code == status
        text = client.get("/metrics", headers=bearer(f"{KEY}-ben")).text
    assert 'segvoc_key_requests_total{key="anna",status="200"} 2.0' in text
    named = [record.fields.get("key") for record in caplog.records if record.message == "request"]
    assert named == ["anna", "ben@example.org", "anna", None]


def test_a_key_has_so_many_requests_a_minute(tmp_path: Path, monkeypatch):
    (tmp_path / "keys").write_text(f"anna: {KEY}-anna 2/min\nben: {KEY}-ben\n")
    now = 100.0
    monkeypatch.setattr(admission, "monotonic", lambda: now)

    def asked(name: str) -> tuple[int, str | None]:
        answer = client.get("/v1/models", headers=bearer(f"{KEY}-{name}"))
        assert answer.status_code == 200 or failure(answer) == "too_many"
        return answer.status_code, answer.headers.get("retry-after")

    with in_process(api_key_file=tmp_path / "keys", key_rate=3) as client:
        assert [asked("anna") for _ in range(3)] == [(200, None), (200, None), (429, "30")]
        assert [asked("ben")[0] for _ in range(4)] == [200, 200, 200, 429]
        now += 15
        assert asked("anna") == (429, "15")
        now += 15
        assert [asked("anna")[0] for _ in range(2)] == [200, 429]
        now += 1000  # no more than a minute's requests at once
        assert [asked("anna")[0] for _ in range(3)] == [200, 200, 429]


def test_a_key_has_so_many_requests_open(two_keys: Path):
    model = GatedSegmenter()
    with in_process(model, api_key_file=two_keys, key_requests=1) as client, ThreadPoolExecutor() as threads:
        model.gate.clear()

        def label(name: str):
            files = {"image": ("a.png", png())}
            return client.post("/v1/segment", files=files, data={"words": "cat"}, headers=bearer(f"{KEY}-{name}"))

        first = threads.submit(label, "anna")
        wait_until_open(client, 2, **bearer(f"{KEY}-ben"))
        refused = label("new")  # another key of the same name
        assert (refused.status_code, failure(refused), refused.headers["retry-after"]) == (429, "too_many", "1")
        model.gate.set()
        assert first.result().status_code == label("ben").status_code == label("anna").status_code == 200


def test_every_answer_has_the_headers():
    with in_process() as client:
        for path in ("/v1/models", "/nowhere", "/healthz", "/"):
            headers = client.get(path).headers
            assert {name: headers[name] for name in HEADERS} == HEADERS and headers["cache-control"] == "no-store"
            assert "access-control-allow-origin" not in headers
    policy = HEADERS["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe-inline" not in policy


def test_other_names_are_refused():
    with in_process() as client:
        for host in ("localhost", "127.0.0.1:8000", "[::1]:8000", "[::1]", "LOCALHOST:1"):
            assert client.get("/v1/models", headers={"Host": host}).status_code == 200, host
        for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8000", "[::2]", ":8"):
            answer = client.get("/v1/models", headers={"Host": host})
            assert (answer.status_code, failure(answer)) == (403, "forbidden"), host


def test_other_sites_cannot_use_the_service():
    good = ({}, {"Origin": "http://127.0.0.1"}, {"Origin": "https://127.0.0.1", "Sec-Fetch-Site": "same-origin"})
    origins = ("http://evil.example", "null", "http://[bad", "http://127.0.0.1:81")
    bad = [*({"Origin": one} for one in origins), *({"Sec-Fetch-Site": one} for one in ("cross-site", "same-site"))]
    body = {"words": "cat", "image": base64.b64encode(png()).decode()}
    with in_process() as client:
        for status, cases in ((200, good), (403, bad)):
            for headers in cases:
                answer = client.post("/v1/segment", json=body, headers=headers)
                assert answer.status_code == status, headers
    with in_process(api_key=KEY, host="labels.example.org") as client:  # with keys it has any name
        headers = {**bearer(KEY), "Origin": "https://labels.example.org:8443"}
        assert client.post("/v1/segment", json=body, headers=headers).status_code == 200


@pytest.mark.parametrize("keys", [{}, {"api_key": KEY}])
def test_pages_of_allowed_sites_alone_may_use_the_service(keys: dict[str, str]):
    site, second = "https://app.example", "https://other.example:8443"
    asking = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    body = {"words": "cat", "image": base64.b64encode(png()).decode()}
    with in_process(allow_origin=(site, second), **keys) as client:
        for origin in (site, second):
            preflight = client.options("/v1/segment", headers={"Origin": origin, **asking})
            headers = {"Origin": origin, "Sec-Fetch-Site": "cross-site", **(bearer(KEY) if keys else {})}
            answer = client.post("/v1/segment", json=body, headers=headers)
            for one in (preflight, answer):
                assert (one.status_code, one.headers["Access-Control-Allow-Origin"]) == (200, origin)
            assert "X-Request-ID" in answer.headers["Access-Control-Expose-Headers"]
        other = client.post("/v1/segment", json=body, headers={"Origin": "https://evil.example"})
        assert other.status_code == (401 if keys else 403) and "Access-Control-Allow-Origin" not in other.headers


@pytest.mark.parametrize("origin", ["*", "https://app.example/path", ""])
def test_what_is_no_origin_is_refused(origin: str):
    with pytest.raises(UsageError, match=r"not the origin of a site; give scheme and host: https://app\.example"):
        ServiceSettings(allow_origin=(origin,))


# ---- keys that are added and revoked while the service runs


ANNA, BEN = "anna-has-this-key", "ben-has-this-one-"


def status(client: TestClient, key: str) -> int:
    return client.get("/v1/models", headers=bearer(key)).status_code


def test_a_key_is_added_and_one_revoked(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"anna: {ANNA}\n")
    with in_process(api_key_file=keys) as client:
        assert (status(client, ANNA), status(client, BEN)) == (200, 401)
        keys.write_text(f"anna: {ANNA}\nben: {BEN}\n")
        assert (status(client, ANNA), status(client, BEN)) == (200, 200)
        keys.write_text(f"ben: {BEN}\n")
        assert (status(client, ANNA), status(client, BEN)) == (401, 200)


@pytest.mark.parametrize("content", [None, "", "ben: short\n"])
def test_a_file_that_can_not_be_used_leaves_the_keys(tmp_path: Path, content: str | None) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"anna: {ANNA}\n")
    with in_process(api_key_file=keys) as client:
        if content is None:
            keys.unlink()
        else:
            keys.write_text(content)
        assert (status(client, ANNA), client.get("/v1/models").status_code) == (200, 401)
        keys.write_text(f"anna: {ANNA}\nben: {BEN}\n")
        assert status(client, BEN) == 200


def test_a_reload_reads_a_file_that_looks_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "RELOAD_SECONDS", 0.0)
    keys = tmp_path / "keys"
    keys.write_text(f"anna: {ANNA}\n")
    with in_process(api_key_file=keys) as client:
        written = keys.stat()
        keys.write_text(f"anna: {BEN}\n")
        os.utime(keys, ns=(written.st_atime_ns, written.st_mtime_ns))
        client.portal.call(client.app.state.service.reload)
        assert (status(client, ANNA), status(client, BEN)) == (401, 200)
