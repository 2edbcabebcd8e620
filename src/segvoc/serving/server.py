"""Running the service: its socket, its processes, and their end."""

import errno
import logging
import logging.config
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from segvoc.errors import UsageError
from segvoc.inference.segmenter import Segmenter
from segvoc.process_settings import cores, end_with_parent, for_own_process
from segvoc.serving.logs import FIELDS, LOGGER, log_settings
from segvoc.serving.metrics import FOLDER_VARIABLE
from segvoc.serving.settings import ServiceSettings
from segvoc.serving.vocabularies import DefinitionFiles
from segvoc.storage.files import scratch_folder

if TYPE_CHECKING:
    from fastapi import FastAPI

    from segvoc.serving.service import Service

BACKLOG = 128
"""Connections that the system keeps until the service accepts them."""

LONGEST_HEADERS = 16_384
"""Bytes of a request's first line and headers."""

LEAVING_SECONDS = 2.0
"""Time for the workers of a service that was killed to leave their address [s]."""


def run(
    open_model: Callable[[], Segmenter], settings: ServiceSettings, *, host: str, port: int, workers: int = 1
) -> None:
    """Serve until SIGTERM or SIGINT; then answer what was accepted.

    Args:
        open_model: loads the model. With several processes, each calls it, so it has to be picklable.
        settings: settings of each process.
        host: address to listen at.
        port: port to listen at; 0: any free one, which the log names.
        workers: processes, each with its own model and queue.

    Raises:
        UsageError: the address can't be used, or the model can't be loaded.
    """
    logging.config.dictConfig(log_settings())
    with bound_socket(host, port) as listener:
        name = f"[{host}]" if ":" in host else host
        address = f"http://{name}:{listener.getsockname()[1]}"
        LOGGER.info("starting", extra={FIELDS: {"address": address, "workers": workers}})
        config = partial(service_config, settings=settings, workers=workers)
        if workers > 1:
            _run_workers(open_model, settings, config, listener, workers)
        else:
            opened = _Opened(open_model)
            _run_one(uvicorn.Server(config(partial(process_app, opened, settings))), listener)


def _itself(value: object) -> object:
    return value


class _Opened:
    """Gives the model that was opened before the service listens; a process that it is sent to opens its own."""

    def __init__(self, open_model: Callable[[], Segmenter]) -> None:
        self._open_model, self._model = open_model, open_model()

    def __call__(self) -> Segmenter:
        return self._model

    def __reduce__(self) -> tuple[object, ...]:
        return _itself, (self._open_model,)


@contextmanager
def bound_socket(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that is bound to an address and doesn't listen yet, so that clients are refused until a model is loaded.

    Raises:
        UsageError: the address can't be used.
    """
    # asyncio sets TCP_NODELAY only for sockets that name their protocol; without it, an answer's body waits for 40 ms
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        if sys.platform == "win32":
            # there SO_REUSEADDR would let two programs listen at one address
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        end = time.monotonic() + LEAVING_SECONDS
        while True:
            try:
                listener.bind((host, port))
                break
            except OSError as error:
                if error.errno == errno.EADDRINUSE and time.monotonic() < end:
                    time.sleep(0.1)
                    continue
                raise UsageError(
                    f"the service can't listen at {host} port {port}: {error.strerror or error}; choose another --host "
                    "or --port"
                ) from None
        yield listener


def service_config(app: Callable[[], "FastAPI"], settings: ServiceSettings, workers: int = 1) -> uvicorn.Config:
    """The configuration of uvicorn for the service; FORWARDED_ALLOW_IPS names proxies that aren't on this machine.

    Args:
        app: makes the application; called in each process.
        settings: settings of the service.
        workers: number of processes.
    """
    return uvicorn.Config(
        app,
        factory=True,
        workers=workers,
        lifespan="on",
        http="h11",
        loop="asyncio",
        ws="none",
        log_config=log_settings(),
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        h11_max_incomplete_event_size=LONGEST_HEADERS,
        timeout_graceful_shutdown=round(settings.stop_seconds),
    )


def process_app(
    open_model: Callable[[], Segmenter],
    settings: ServiceSettings,
    definitions: MutableMapping[str, bytes] | None = None,
    threads: int | None = None,
) -> "FastAPI":
    """The application of a process, which has so many CPU threads; see `create_app`."""
    if multiprocessing.parent_process() is not None:
        for_own_process(threads)
        end_with_parent()
    from segvoc.serving.app import create_app  # here: a worker has to know of the folder of metrics first

    logging.captureWarnings(True)
    app = create_app(open_model, settings, definitions)
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            _note_stop(number, app.state.service)
    return app


def _note_stop(number: int, service: "Service") -> None:
    """Let a signal tell the service that it stops, before uvicorn gets it."""
    stop = signal.getsignal(number)

    def noted(number: int, frame: FrameType | None) -> None:
        service.stopping = True
        if callable(stop):
            stop(number, frame)

    signal.signal(number, noted)


def _run_one(server: uvicorn.Server, listener: socket.socket) -> None:
    # uvicorn ends by raising the signal again that stopped it
    previous = signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        server.run([listener])
    except KeyboardInterrupt:
        return
    finally:
        signal.signal(signal.SIGTERM, previous)


def _run_workers(
    open_model: Callable[[], Segmenter],
    settings: ServiceSettings,
    config: Callable[..., uvicorn.Config],
    listener: socket.socket,
    workers: int,
) -> None:
    with scratch_folder() as folder:
        os.environ[FOLDER_VARIABLE] = folder
        definitions = DefinitionFiles(Path(folder) / "vocabularies")
        threads = None if "OMP_NUM_THREADS" in os.environ else max(1, cores() // workers)
        supervisor = Multiprocess(config(partial(process_app, open_model, settings, definitions, threads)), [listener])
        supervisor.run()
        if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
            raise UsageError("the model can't be loaded; the log says why")
