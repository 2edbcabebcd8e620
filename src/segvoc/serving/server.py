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

from segvoc.errors import UsageError
from segvoc.inference.segmenter import Segmenter
from segvoc.process_settings import cores, end_with_parent, for_own_process
from segvoc.serving.api_keys import ApiKeys
from segvoc.serving.connections import ConnectionLimits, LimitedConfig
from segvoc.serving.logs import FIELDS, LOGGER, log_settings
from segvoc.serving.metrics import FOLDER_VARIABLE
from segvoc.serving.proxies import Proxies
from segvoc.serving.readiness import Readiness
from segvoc.serving.settings import ServiceSettings
from segvoc.serving.supervision import Supervisor
from segvoc.serving.tracing import tracing_is_wanted
from segvoc.serving.vocabularies import DefinitionFiles
from segvoc.storage.scratch import scratch_folder

if TYPE_CHECKING:
    from fastapi import FastAPI

BACKLOG = 128
"""Connections that the system keeps until the service accepts them."""

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
        UsageError: the address can't be used, the model can't be loaded, or traces are wanted and their package isn't
            installed.
    """
    tracing_is_wanted()
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
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    with listener:
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


def service_config(app: Callable[[], "FastAPI"], settings: ServiceSettings, workers: int = 1) -> LimitedConfig:
    """The configuration of uvicorn for the service.

    Args:
        app: makes the application; called in each process.
        settings: settings of the service.
        workers: number of processes.
    """
    return LimitedConfig(
        app,
        ConnectionLimits(
            connections=settings.connections,
            of_client=settings.connections_of_client,
            proxies=Proxies(settings.proxies, settings.proxy_header),
            header_seconds=settings.header_seconds,
            download_seconds=settings.download_seconds,
        ),
        factory=True,
        workers=workers,
        lifespan="on",
        loop="asyncio",  # uvloop, if something else has installed it, isn't what the limits were tested with
        log_config=log_settings(),
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=round(settings.stop_seconds),
    )


def process_app(
    open_model: Callable[[], Segmenter],
    settings: ServiceSettings,
    definitions: MutableMapping[str, bytes] | None = None,
    board: Path | None = None,
    threads: int | None = None,
) -> "FastAPI":
    """The application of a process, which has so many CPU threads; see `create_app`."""
    if multiprocessing.parent_process() is not None:
        for_own_process(threads)
        end_with_parent()
    from segvoc.serving.app import create_app  # here: a worker has to know of the folder of metrics first

    logging.captureWarnings(True)
    readiness = Readiness(board)
    app = create_app(open_model, settings, definitions, readiness)
    if threading.current_thread() is threading.main_thread():
        _take_signals(settings, readiness, app.state.keys)
    return app


def _take_signals(settings: ServiceSettings, readiness: Readiness, keys: ApiKeys) -> None:
    """Let SIGTERM end the process after the time to settle, and SIGHUP read the API keys again."""
    stop = signal.getsignal(signal.SIGTERM)  # uvicorn's, which only sets a flag

    def settle(number: int, frame: FrameType | None) -> None:
        again, readiness.stopping = readiness.stopping, True
        if not callable(stop):
            return
        if again or not settings.settle_seconds:
            stop(number, frame)
        else:
            timer = threading.Timer(settings.settle_seconds, stop, (number, frame))
            timer.daemon = True
            timer.start()

    signal.signal(signal.SIGTERM, settle)
    if hasattr(signal, "SIGHUP") and (settings.api_key_file is not None or readiness.board is not None):
        signal.signal(signal.SIGHUP, lambda *_: keys.reload())


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
    config: Callable[..., LimitedConfig],
    listener: socket.socket,
    workers: int,
) -> None:
    with scratch_folder() as folder:
        os.environ[FOLDER_VARIABLE] = folder
        board, definitions = Path(folder) / "missing.txt", DefinitionFiles(Path(folder) / "vocabularies")
        threads = None if "OMP_NUM_THREADS" in os.environ else max(1, cores() // workers)
        app = partial(process_app, open_model, settings, definitions, board, threads)
        supervisor = Supervisor(config(app), [listener], board)
        supervisor.run()
        if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
            raise UsageError("the model can't be loaded; the log says why")
