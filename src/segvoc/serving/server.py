"""Running the service: socket, process and shutdown."""

import logging
import logging.config
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from segvoc.errors import UsageError
from segvoc.inference.segmenter import Segmenter
from segvoc.serving.app import create_app
from segvoc.serving.middleware import FIELDS, LOGGER, log_settings
from segvoc.serving.settings import ServiceSettings

BACKLOG = 128

LONGEST_HEADERS = 16_384
"""Maximum size of a request's first line and headers [bytes]."""


def run(open_model: Callable[[], Segmenter], settings: ServiceSettings, *, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT, then finish accepted requests; `UsageError` if the address can't be used."""
    logging.config.dictConfig(log_settings())
    logging.captureWarnings(True)
    with bound_socket(host, port) as listener:
        name = f"[{host}]" if ":" in host else host
        address = f"http://{name}:{listener.getsockname()[1]}"
        LOGGER.info("starting", extra={FIELDS: {"address": address}})
        server = service_server(create_app(open_model, settings, open_model()), settings)
        # uvicorn re-raises the signal that stopped it
        previous = signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        try:
            server.run([listener])
        except KeyboardInterrupt:
            return
        finally:
            signal.signal(signal.SIGTERM, previous)


@contextmanager
def bound_socket(host: str, port: int) -> Iterator[socket.socket]:
    """Bind a socket without listening yet, so that connections are refused until the model is loaded."""
    # asyncio sets TCP_NODELAY only for sockets with an explicit protocol; without it, response bodies wait for 40 ms
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        # on Windows, SO_REUSEADDR would let two programs listen on the same address
        reuse = socket.SO_EXCLUSIVEADDRUSE if sys.platform == "win32" else socket.SO_REUSEADDR
        listener.setsockopt(socket.SOL_SOCKET, reuse, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise UsageError(
                f"the service can't listen at {host} port {port}: {error.strerror or error}; choose another --host "
                "or --port"
            ) from None
        yield listener


def service_server(app: FastAPI, settings: ServiceSettings) -> uvicorn.Server:
    """Create the uvicorn server; FORWARDED_ALLOW_IPS lists proxies on other machines."""
    config = uvicorn.Config(
        app,
        lifespan="on",
        http="h11",
        loop="asyncio",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        h11_max_incomplete_event_size=LONGEST_HEADERS,
        timeout_graceful_shutdown=round(settings.stop_seconds),
    )
    app.state.service.server = server = uvicorn.Server(config)
    return server
