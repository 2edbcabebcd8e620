"""What one client or key may take, and what the others still get; clients are told apart by their loopback address."""

import contextlib
import json
import socket
import time
from collections.abc import Iterator

import pytest

from segvoc.errors import UsageError
from segvoc.serving.proxies import Proxies, client_name
from tests.serving.services import GatedSegmenter, failure, in_process, listening
from tests.serving.test_connections import HEAD, WHOLE, answer, one_answer

PROBE = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
MODELS = PROBE.replace(b"/healthz", b"/v1/models")
KEY = "k" * 20


@contextlib.contextmanager
def client(port: int, address: str, sent: bytes = b"") -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), 10, (address, 0)) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(sent)
        yield connection


def status(port: int, address: str, sent: bytes) -> int:
    with client(port, address, sent) as connection:
        return one_answer(connection)[0]


def test_half_open_uploads_of_one_client_leave_places_for_others():
    with listening() as port, contextlib.ExitStack() as stack:
        half = [stack.enter_context(client(port, "127.0.0.2", WHOLE[:-40])) for _ in range(70)]
        code, body = one_answer(half[-1])
        assert (code, json.loads(body)["error"]["code"]) == (429, "too_many")
        assert status(port, "127.0.0.3", WHOLE) == 200
        assert status(port, "127.0.0.2", MODELS) == 200
        half[0].sendall(WHOLE[-40:])
        assert one_answer(half[0])[0] == 200


def test_slow_connections_leave_room_for_others_and_for_probes():
    with listening(connections=12) as port, contextlib.ExitStack() as stack:
        for number in range(45):
            stack.enter_context(client(port, f"127.0.0.{2 + number // 15}", b"GET / HTTP/1.1\r\nX: "))
        for _ in range(3):
            assert status(port, "127.0.0.9", PROBE) == 200
            assert status(port, "127.0.0.9", MODELS) == 200
        assert 'segvoc_limited_total{limit="connections"}' in metrics(port)


def test_connections_that_are_all_in_use_leave_room_for_probes():
    model = GatedSegmenter()
    with listening(model, connections=4, client_connections=2) as port, contextlib.ExitStack() as stack:
        model.gate.clear()
        working = [stack.enter_context(client(port, f"127.0.0.{2 + number // 2}", WHOLE)) for number in range(4)]
        time.sleep(0.3)
        assert status(port, "127.0.0.9", PROBE) == 200
        assert status(port, "127.0.0.9", MODELS) == 503
        # nobody's own connections are closed for the third of a client
        with client(port, "127.0.0.2", MODELS) as third:
            assert answer(third) == b""
        model.gate.set()
        assert [one_answer(connection)[0] for connection in working] == [200] * 4
        assert status(port, "127.0.0.9", MODELS) == 200


def metrics(port: int) -> str:
    with client(port, "127.0.0.8", MODELS.replace(b"/v1/models", b"/metrics")) as connection:
        return one_answer(connection)[1].decode()


def test_a_client_sends_no_faster_than_its_rate_and_probes_go_on():
    with listening(client_rate=1.0) as port:
        found = [status(port, "127.0.0.2", MODELS) for _ in range(7)]
        assert found[:5] == [200] * 5
        assert 429 in found
        assert status(port, "127.0.0.2", PROBE) == 200
        assert status(port, "127.0.0.3", MODELS) == 200
        assert 'segvoc_limited_total{limit="client_rate"}' in metrics(port)


def test_a_key_has_limits_beside_those_of_clients(tmp_path):
    (tmp_path / "keys").write_text(f"anna: {KEY}-anna\nben: {KEY}-ben\n")
    with in_process(api_key_file=tmp_path / "keys", key_rate=0.2) as served:
        ask = [served.get("/v1/models", headers={"Authorization": f"Bearer {KEY}-{name}"}) for name in ("anna",) * 2]
        assert [one.status_code for one in ask] == [200, 429]
        assert failure(ask[1]) == "too_many" and "API key" in ask[1].text
        assert 1 <= int(ask[1].headers["retry-after"]) <= 5
        assert served.get("/v1/models", headers={"Authorization": f"Bearer {KEY}-ben"}).status_code == 200


def test_open_requests_of_a_client_are_limited_by_the_client_that_a_proxy_names():
    model = GatedSegmenter()
    named = WHOLE.replace(b"Host: localhost\r\n", b"Host: localhost\r\nX-Forwarded-For: 10.1.1.1, 10.0.0.%d\r\n")
    first, second = named.replace(b"%d", b"1"), named.replace(b"%d", b"2")
    settings = {"client_requests": 1, "proxies": ("127.0.0.2",)}
    with listening(model, **settings) as port, contextlib.ExitStack() as stack:
        model.gate.clear()
        working = [stack.enter_context(client(port, "127.0.0.2", sent)) for sent in (first, second)]
        time.sleep(0.3)
        assert status(port, "127.0.0.2", first) == 429
        # whom others name isn't believed
        third = stack.enter_context(client(port, "127.0.0.3", first))
        time.sleep(0.2)
        assert status(port, "127.0.0.3", second) == 429
        model.gate.set()
        assert [one_answer(connection)[0] for connection in (*working, third)] == [200] * 3


@pytest.mark.parametrize(
    ("peer", "told", "client"),
    [
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["192.0.2.7"], "192.0.2.7"),
        ("10.0.0.1", ["203.0.113.5, 192.0.2.7 , 10.0.0.2"], "192.0.2.7"),
        ("10.0.0.1", ["203.0.113.5", "192.0.2.7:1234"], "192.0.2.7"),
        ("::ffff:10.0.0.1", ["[2001:db8::1]:443"], "2001:db8::1"),
        ("10.0.0.1", ["192.0.2.7, nonsense"], "10.0.0.1"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("192.0.2.1", ["203.0.113.5"], "192.0.2.1"),
        ("testclient", ["203.0.113.5"], "testclient"),
    ],
)
def test_the_client_is_the_last_one_that_is_no_proxy(peer, told, client):
    assert Proxies(["10.0.0.0/8"], "x-forwarded-for").client(peer, told) == client


def test_the_standard_header_is_understood_too():
    proxies = Proxies(["10.0.0.1"], "forwarded")
    told = ['for=192.0.2.43, For="[2001:db8:cafe::17]:4711";proto=https;by=203.0.113.43']
    assert proxies.client("10.0.0.1", told) == "2001:db8:cafe::17"
    assert proxies.client("10.0.0.1", ["for=192.0.2.43, for=unknown"]) == "10.0.0.1"


def test_what_is_no_address_of_a_proxy_is_refused():
    with pytest.raises(UsageError, match="'my-proxy' is not the address of a proxy"):
        Proxies(["my-proxy"], "forwarded")


def test_a_subscriber_of_ipv6_is_one_client():
    assert client_name("2001:db8:1:2:3:4:5:6") == client_name("2001:db8:1:2::9") == "2001:db8:1:2::/64"
    assert client_name("::ffff:192.0.2.1") == "192.0.2.1"


def test_bodies_that_are_whole_are_no_uploads():
    with listening(client_uploads=1) as port, client(port, "127.0.0.2", HEAD + b"Content-Length: 9\r\n\r\n") as half:
        time.sleep(0.1)
        assert status(port, "127.0.0.2", WHOLE) == 200
        assert status(port, "127.0.0.2", WHOLE[:-40]) == 429
        half.close()
