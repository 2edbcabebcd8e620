"""`segvoc serve`: a model as an HTTP service."""

from functools import partial
from typing import Any

import click

from segvoc.cli.options import ModelOptions, model_options
from segvoc.cli.output import example
from segvoc.errors import UsageError, naming_extra
from segvoc.serving.settings import KEY_VARIABLE, ServiceSettings, installed_extensions, key_settings

naming_fastapi = partial(
    naming_extra,
    "FastAPI",
    "serve",
    ("fastapi", "multipart", "prometheus_client", "python_multipart", "starlette", "uvicorn"),
)


@click.command(
    "serve",
    context_settings={"auto_envvar_prefix": "SEGVOC"},
    epilog=example("segvoc serve tiny --port 8000", "SEGVOC_PORT=8000 segvoc serve"),
)
@click.argument("model", default="tiny", envvar="SEGVOC_MODEL")
@click.option("--host", default="127.0.0.1", help="Address to listen on; any other address needs an API key.")
@click.option("--port", default=8000, type=click.IntRange(0, 65_535), help="Port to listen on.")
@click.option(
    "--queue",
    default=ServiceSettings.queue,
    show_default=True,
    type=click.IntRange(1),
    help="Max queued images (429 beyond).",
)
@model_options("weights", "device", "dtype", "taught", dtype="auto")
@click.option(
    "--api-key-file", metavar="FILE", help=f"File with the API key, or with lines 'NAME: KEY'; or set {KEY_VARIABLE}."
)
def serve_command(
    model: str, host: str, port: int, queue: int, chosen: ModelOptions, api_key_file: str | None, **more: Any
) -> None:
    """Serve MODEL (or SEGVOC_MODEL) over HTTP.

    POST /v1/segment labels images; /openapi.json describes the API. By default the service listens on this machine
    only. With another --host, clients need an API key; put a proxy with TLS in front of it. Every option can also be
    set by its environment variable; the first line of the log has all values.
    """
    with naming_fastapi():
        from segvoc.serving.app import run
        from segvoc.serving.middleware import is_loopback

    keys = key_settings(api_key_file, "--api-key-file")
    if not is_loopback(host) and not any(keys.values()):
        raise UsageError(
            f"--host {host} is reachable from other machines; give --api-key-file FILE, or set {KEY_VARIABLE}"
        )
    extensions = tuple(extension.routes(more) for extension in installed_extensions())
    settings = ServiceSettings(queue=queue, extensions=extensions, **keys)
    told = click.get_current_context().params
    run(partial(chosen.open, model), settings, host=host, port=port, told=told)


for _extension in installed_extensions():
    serve_command.params.extend(_extension.options)
for _option in serve_command.params:
    if isinstance(_option, click.Option):
        _option.show_envvar = True
