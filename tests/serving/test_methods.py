"""HEAD, OPTIONS and wrong methods, as they come over the connection."""

import pytest

from annotate.tests.services import listening
from tests.serving.test_connections import BODY, HEAD, answer, connected

GET = "GET, HEAD, OPTIONS"


def asked(port: int, method: str, path: str, *headers: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of an answer, after which the service closes the connection."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", *headers, "", ""]
    with connected(port) as connection:
        connection.sendall("\r\n".join(lines).encode())
        head, _, body = answer(connection).partition(b"\r\n\r\n")
    first, *rest = head.decode().split("\r\n")
    return (
        int(first.split()[1]),
        {name.lower(): value for name, _, value in (line.partition(": ") for line in rest)},
        body,
    )


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    page = tmp_path_factory.mktemp("page")
    (page / "index.html").write_text("page")
    with listening(page=page) as port:
        yield port


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/v1/models", "/openapi.json", "/backends.json", "/"])
def test_head_is_get_without_a_body(port, path):
    status, headers, body = asked(port, "GET", path)
    assert (status, len(body)) == (200, int(headers["content-length"]))
    head_status, head_headers, head_body = asked(port, "HEAD", path)
    assert (head_status, head_body) == (200, b"")
    for name in ("date", "x-request-id"):
        headers[name] = head_headers[name]
    assert headers == head_headers


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/v1/segment", 405, "POST, OPTIONS"),
        ("HEAD", "/v1/segment", 405, "POST, OPTIONS"),
        ("DELETE", "/healthz", 405, GET),
        ("POST", "/v1/models", 405, GET),
        ("TRACE", "/v1/models", 405, GET),
        ("PUT", "/", 405, GET),
        ("OPTIONS", "/v1/segment", 204, "POST, OPTIONS"),
        ("OPTIONS", "/healthz", 204, GET),
        ("OPTIONS", "/", 204, GET),
    ],
)
def test_allow_names_the_methods_of_the_address(port, method, path, status, allow):
    got, headers, body = asked(port, method, path)
    assert (got, headers["allow"]) == (status, allow)
    assert bool(body) == (status == 405 and method != "HEAD")


def test_addresses_of_nobody_are_not_found(port):
    assert [asked(port, method, "/v1/nothing")[0] for method in ("GET", "HEAD")] == [404, 404]


def test_two_lengths_close_the_connection(port):
    lengths = b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n" % len(BODY)
    for head in (HEAD + lengths, HEAD + lengths.replace(b"Transfer", b"Transfer-Encoding: chunked\r\nTransfer")):
        with connected(port) as connection:
            connection.sendall(head + b"%x\r\n" % len(BODY) + BODY + b"\r\n0\r\n\r\n")
            assert answer(connection).startswith(b"HTTP/1.1 400 ")
