"""The service's process: its socket, its signals and HTTP."""

import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import uvicorn
from fastapi import FastAPI
from prometheus_client import start_http_server

from segvoc.errors import UsageError
from segvoc.inference.segmenter import Segmenter
from segvoc.serving.app import create_app
from segvoc.serving.middleware import FIELDS, LOGGER, ServiceMetrics, start_log
from segvoc.serving.settings import ServiceSettings


def run(
    open_models: Sequence[Callable[[], Segmenter]],
    settings: ServiceSettings,
    *,
    host: str,
    port: int,
    metrics_port: int | None = None,
    logged_settings: Mapping[str, object] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then finish accepted requests; SIGHUP reads keys and models again.

    Args:
        open_models: open the models; see `create_app`.
        settings: the settings.
        host: the address to listen on.
        port: its port.
        metrics_port: a port of the same address that has the metrics without a key; None: there is none.
        logged_settings: settings for the first line of the log; none may be secret.

    Raises:
        UsageError: an address can't be used, or several models have the same name.
    """
    start_log()
    with bound_socket(host, port) as listener:
        name = f"[{host}]" if ":" in host else host
        address = f"http://{name}:{listener.getsockname()[1]}"
        LOGGER.info("starting", extra={FIELDS: {"address": address, "settings": logged_settings or {}}})
        app = create_app(open_models, settings)
        server, service = service_server(app, settings), app.state.service
        # uvicorn re-raises the signal that stopped it
        handlers: dict[int, Any] = {signal.SIGTERM: lambda *_: sys.exit(0)}
        if sys.platform != "win32":
            handlers[signal.SIGHUP] = lambda *_: service.reload_soon()
        previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            with nullcontext() if metrics_port is None else metrics_server(service.metrics, host, metrics_port):
                server.run([listener])
        except KeyboardInterrupt:
            return
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


@contextmanager
def metrics_server(metrics: ServiceMetrics, host: str, port: int) -> Iterator[None]:
    """Serve the metrics without a key."""
    try:
        server, thread = start_http_server(port, host, metrics.registry)
    except OSError as error:
        raise UsageError(
            f"metrics can't be served at {host} port {port}: {error.strerror or error}; choose another --metrics-port"
        ) from None
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


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
        backlog=128,
        h11_max_incomplete_event_size=16_384,  # of a request's first line and headers
        timeout_graceful_shutdown=round(settings.stop_seconds),
    )
    app.state.service.server = server = uvicorn.Server(config)
    return server
