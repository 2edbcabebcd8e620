"""`segvoc serve`: a model as an HTTP service."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from functools import partial, reduce
from typing import Any, get_args

import click

from segvoc.cli.options import NETWORK_OPTIONS, ModelOptions, model_options
from segvoc.errors import UsageError, missing_extra
from segvoc.serving.api_keys import made_key
from segvoc.serving.extensions import installed_extensions
from segvoc.serving.proxies import ProxyHeader
from segvoc.serving.settings import KEY_VARIABLE, ServiceSettings, key_settings

_SETTINGS: Mapping[str, str] = {
    "queue": "Images that may wait for the model; more get 429.",
    "batch": "Images with equal words and options that go through the model together.",
    "batch_wait": "Seconds that an incomplete batch waits.",
    "requests": "Requests that may be open at once; more get 503.",
    "connections": "Connections that may be open at once.",
    "client_requests": "Requests of one client that may be open at once; more get 429.",
    "client_uploads": "Bodies of one client that may be on their way at once; more get 429.",
    "client_connections": "Connections of one client.",
    "client_rate": "Requests of one client in a second; more get 429.",
    "key_requests": "Requests with one API key that may be open at once; more get 429.",
    "key_uploads": "Bodies with one API key that may be on their way at once; more get 429.",
    "key_rate": "Requests with one API key in a second; more get 429.",
    "max_bytes": "Bytes of the largest image file.",
    "max_pixels": "Pixels of the largest image.",
    "max_words": "Words of a vocabulary.",
    "vocabularies": "Vocabularies that keep their names.",
    "header_seconds": "Seconds for the headers of a request.",
    "upload_seconds": "Seconds for the body of a request.",
    "queue_seconds": "Seconds that a request may wait for the model.",
    "run_seconds": "Seconds for labeling a batch.",
    "download_seconds": "Seconds in which a client reads 100 kB of its answer.",
    "settle_seconds": "Seconds after SIGTERM in which /readyz fails and everything else goes on.",
    "stop_seconds": "Seconds for answering what was accepted, after SIGTERM.",
}
"""Settings of the service that are numbers, with the help of their options."""

_DEFAULTS: Mapping[str, str] = {
    "batch": "the model's own",
    "client_requests": "half of --requests",
    "client_uploads": "a quarter of --requests",
    "client_connections": "half of --connections",
    "key_requests": "three quarters of --requests",
    "key_uploads": "half of --requests",
}
"""What stands for numbers that follow from others."""


def _print_key(context: click.Context, _: click.Parameter, name: str | None) -> None:
    if name is not None:
        click.echo(made_key(name))
        context.exit()


def _setting_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add an option for each number among the settings."""
    known = {field.name: field for field in fields(ServiceSettings)}

    def with_option(command: Callable[..., Any], name: str) -> Callable[..., Any]:
        default = known[name].default
        kind = float if isinstance(default, float) else int
        shown = _DEFAULTS[name] if default is None else True
        flag = f"--{name.replace('_', '-')}"
        return click.option(flag, name, type=kind, default=default, show_default=shown, help=_SETTINGS[name])(command)

    return reduce(with_option, reversed(list(_SETTINGS)), function)


@contextmanager
def naming_fastapi() -> Iterator[None]:
    """Raise one line that names the extra `serve` where an import inside fails for want of one of its packages."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("fastapi", "multipart", "prometheus_client", "python_multipart", "starlette", "uvicorn"):
            raise missing_extra("FastAPI", "serve") from None
        raise


@click.command()
@click.argument("model", default="tiny")
@click.option("--host", default="127.0.0.1", help="Address to listen on; 0.0.0.0: all interfaces.")
@click.option("--port", default=8000, type=click.IntRange(0, 65_535), help="Port to listen on.")
@click.option(
    "--workers", default=1, type=click.IntRange(1, 64), help="Number of processes, each with its own model and queue."
)
@model_options(*NETWORK_OPTIONS, "trust_code", "taught", dtype="auto")
@click.option(
    "--api-key-file",
    metavar="FILE",
    help=f"File with the API key, or with lines 'NAME: KEY' or 'NAME: KEY until YYYY-MM-DD'; or set {KEY_VARIABLE}.",
)
@click.option(
    "--make-key",
    metavar="NAME",
    callback=_print_key,
    expose_value=False,
    is_eager=True,
    help="Print a line with a new key for the file, and exit.",
)
@click.option("--public", is_flag=True, help="Allow other machines without an API key.")
@click.option(
    "--allow-host", "hosts", multiple=True, metavar="NAME", help="Another host name of the service; repeatable."
)
@click.option(
    "--proxy",
    "proxies",
    multiple=True,
    metavar="ADDRESS",
    help="A proxy, or network of proxies, that may name the client's address; repeatable.",
)
@click.option(
    "--proxy-header",
    type=click.Choice(get_args(ProxyHeader)),
    default="x-forwarded-for",
    show_default=True,
    help="The header in which the proxies name it.",
)
@_setting_options
def serve(
    model: str,
    host: str,
    port: int,
    workers: int,
    chosen: ModelOptions,
    api_key_file: str | None,
    public: bool,
    hosts: Sequence[str],
    proxies: Sequence[str],
    proxy_header: ProxyHeader,
    **values: Any,
) -> None:
    """Serve MODEL over HTTP.

    POST /v1/segment labels images; /openapi.json describes the whole API. By default the service listens on this
    machine only. With another --host it requires an API key from its callers, unless --public is given.
    """
    with naming_fastapi():
        from segvoc.serving.guard import LOOPBACK_NAMES, is_loopback
        from segvoc.serving.server import run

    keys = key_settings(api_key_file, "--api-key-file")
    local = is_loopback(host)
    if not local and not any(keys.values()) and not public:
        raise UsageError(
            f"--host {host} can be reached from elsewhere; set an API key ({KEY_VARIABLE} or --api-key-file), "
            "or say --public to serve everybody"
        )
    if local:
        hosts = [*LOOPBACK_NAMES, host, *hosts]
    numbers = {name: values.pop(name) for name in _SETTINGS}
    values["workers"] = workers
    settings = ServiceSettings(
        hosts=tuple(hosts),
        proxies=tuple(proxies),
        proxy_header=proxy_header,
        extensions=tuple(extension.routes(values) for extension in installed_extensions()),
        **keys,
        **numbers,
    )
    run(partial(chosen.open, model), settings, host=host, port=port, workers=workers)


for _extension in installed_extensions():
    serve.params.extend(_extension.options)
