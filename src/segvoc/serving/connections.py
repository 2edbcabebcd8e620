"""Connections that may not stay open at the client's leisure: what uvicorn leaves to a proxy in front of it."""

import asyncio
import itertools
import socket
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import h11
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol

from segvoc.serving.proxies import Proxies, client_name, ip_address

LONGEST_HEADERS = 16_384
"""Bytes of a request's first line and headers."""

RESERVE = 16
"""Connections beyond the limit, on which health probes are answered and nothing else."""

LEAST_READ = 100_000
"""Bytes of an answer that a client reads at least in `download_seconds`."""

_NUMBERS = itertools.count()


@dataclass(frozen=True, kw_only=True)
class ConnectionLimits:
    """What a client may take."""

    connections: int
    """Connections that may be open at once."""
    of_client: int
    """Connections that one client may have of them; proxies may have all."""
    proxies: Proxies
    """The proxies in front of the service."""
    header_seconds: float
    """Time for the headers of a request, and for the rest of a body that was answered before its end [s]."""
    download_seconds: float
    """Time in which a client reads a part of its answer [s]."""


class LimitedConfig(Config):
    """uvicorn's configuration, with limits for its connections.

    Args:
        app: as for `uvicorn.Config`.
        limits: the limits.
        options: as for `uvicorn.Config`.
    """

    def __init__(self, app: Any, limits: ConnectionLimits, **options: Any) -> None:
        super().__init__(app, http=LimitedConnection, ws="none", **options)
        self.limits = limits


class StrictConnection(h11.Connection):
    """Refuses requests with two lengths.

    A proxy that goes by the one while the service goes by the other would take the end of a body for another
    client's request (RFC 9112, section 6.3).
    """

    def next_event(self) -> Any:
        """The next part of a request.

        Raises:
            h11.RemoteProtocolError: it isn't HTTP, or ambiguous.
        """
        event = super().next_event()
        if isinstance(event, h11.Request) and {b"content-length", b"transfer-encoding"} <= dict(event.headers).keys():
            raise h11.RemoteProtocolError("a request has both Content-Length and Transfer-Encoding")
        return event


class LimitedConnection(H11Protocol):
    """A connection of uvicorn's that ends where its client doesn't go on.

    While the application has a request in hand, its own limits apply (`upload_seconds`).
    """

    config: LimitedConfig
    reserved = False
    """Whether only health probes are to be answered."""
    draining = False
    """Whether the service is stopping, and only waits for the answer that is being made."""
    _name = ""
    _number = 0
    _leaving = False
    _waiting: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _left = 0

    @property
    def has_whole_body(self) -> bool:
        """Whether the body of the present request is there."""
        return self.cycle is not None and not self.cycle.more_body

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Begin to wait for a request, or refuse the connection."""
        super().connection_made(transport)
        self.conn = StrictConnection(h11.SERVER, LONGEST_HEADERS)
        # asyncio does it for sockets that name their protocol only; without it, an answer's body waits 40 ms for the
        # client to acknowledge the headers
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer = self.client[0] if self.client else ""
        self._name, self._number = client_name(peer), next(_NUMBERS)
        self.app_state = {**self.app_state, "connection": self}
        self._take_place(is_proxy=ip_address(peer) in self.config.limits.proxies)
        self._watch()

    def _take_place(self, *, is_proxy: bool) -> None:
        """Take a place in the table, if need be that of a connection that is only waited for."""
        limits = self.config.limits
        others = [one for one in self.connections if isinstance(one, LimitedConnection) and one is not self]
        others = [one for one in others if not one._leaving]
        own = [one for one in others if one._name == self._name]
        if not is_proxy and len(own) >= limits.of_client:
            if not _close_first(own):
                self._close()
            return
        table, reserve = [one for one in others if not one.reserved], [one for one in others if one.reserved]
        if len(table) < limits.connections:
            return
        sizes = Counter(one._name for one in table)
        # those with the most come first, and none that has fewer than this one would have
        for name, size in sizes.most_common():
            if (size > len(own) or name == self._name) and _close_first([one for one in table if one._name == name]):
                return
        self.reserved = True
        if len(reserve) >= RESERVE and not _close_first(reserve):
            self._close()

    def _close(self) -> None:
        self._leaving = True
        self.transport.abort()
        if "metrics" in self.app_state:
            self.app_state["metrics"].limited.labels("connections").inc()

    @property
    def _in_hand(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def shutdown(self) -> None:
        """Close the connection after the answer that is being made, since the service is stopping."""
        self.draining = True
        super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._waiting, self._unread = _cancelled(self._waiting), _cancelled(self._unread)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take a part of a request."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Wait for the next request, or for the rest of one whose body nobody wanted to read."""
        super().on_response_complete()
        self._watch()

    def pause_writing(self) -> None:
        """Begin to wait for the client to read."""
        super().pause_writing()
        self._await_reader()

    def resume_writing(self) -> None:
        """The client reads."""
        super().resume_writing()
        self._unread = _cancelled(self._unread)

    def _await_reader(self) -> None:
        """Come back after a while, and end the connection if hardly anything of the answer was read until then."""
        left = self.transport.get_write_buffer_size()
        if self._unread is not None and self._left - left < LEAST_READ:
            self.transport.abort()
            return
        self._left = left
        self._unread = self.loop.call_later(self.config.limits.download_seconds, self._await_reader)

    def _watch(self) -> None:
        between = self.timeout_keep_alive_task is not None and self.conn.their_state is not h11.SEND_BODY
        if self._in_hand or between:
            self._waiting = _cancelled(self._waiting)
        elif self._waiting is None:
            self._waiting = self.loop.call_later(self.config.limits.header_seconds, self.transport.abort)


def _close_first(connections: Sequence[LimitedConnection]) -> bool:
    """Close the oldest of those that are waited for, between requests only if all are; whether there was one."""
    waited = [one for one in connections if not one._in_hand]
    if not waited:
        return False
    min(waited, key=lambda one: (one._waiting is None, one._number))._close()
    return True


def _cancelled(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
