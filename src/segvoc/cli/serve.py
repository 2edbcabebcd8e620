"""`segvoc serve`: a model as an HTTP service."""

import copy
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from segvoc.cli.options import ModelOptions, model_options
from segvoc.cli.output import example
from segvoc.errors import UsageError, naming_extra
from segvoc.serving.settings import KEY_VARIABLE, ServiceSettings, installed_extensions, key_settings

if TYPE_CHECKING:
    from segvoc.inference.segmenter import Segmenter

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
@click.argument("models", metavar="[MODEL]...", nargs=-1, envvar="SEGVOC_MODEL", default=("tiny",))
@click.option(
    "--model",
    "named",
    envvar="SEGVOC_MODELS",
    multiple=True,
    metavar="NAME=MODEL",
    help="A further model, which requests choose by this name; repeatable.",
)
@click.option("--host", default="127.0.0.1", help="Address to listen on; any other address needs an API key.")
@click.option("--port", default=8000, type=click.IntRange(0, 65_535), help="Port to listen on.")
@click.option(
    "--queue",
    default=ServiceSettings.queue,
    show_default=True,
    type=click.IntRange(1),
    help="Max queued images of a model (429 beyond).",
)
@click.option(
    "--max-pixels",
    default=ServiceSettings.max_pixels,
    type=click.IntRange(1),
    help="Max pixels of decoded images in memory; a larger image is labeled alone, in tiles.",
)
@click.option(
    "--image-cache",
    default=ServiceSettings.image_cache,
    show_default=True,
    type=click.IntRange(0),
    metavar="MB",
    help="Memory for encoded images, which cost only the words if they come again; 0: none.",
)
@model_options("weights", "device", "dtype", "taught", dtype="auto")
@click.option(
    "--api-key-file",
    metavar="FILE",
    help=f"File with the API key, or with lines 'NAME: KEY ROLE 60/min'; or set {KEY_VARIABLE}.",
)
@click.option(
    "--key-rate", type=click.IntRange(1), metavar="N", help="Max requests of an API key per minute (429 beyond)."
)
@click.option(
    "--allow-origin",
    multiple=True,
    metavar="URL",
    help="A site whose pages may use the service from a browser (CORS); repeatable.",
)
@click.option("--metrics-port", type=click.IntRange(1, 65_535), help="Serve /metrics without a key at this port, too.")
@click.option("--log-probes", is_flag=True, help="Log the requests of probes and of Prometheus, too.")
@click.option("--traces", is_flag=True, help="Send OpenTelemetry traces where OTEL_EXPORTER_OTLP_ENDPOINT says.")
def serve_command(
    models: tuple[str, ...],
    named: tuple[str, ...],
    host: str,
    port: int,
    chosen: ModelOptions,
    api_key_file: str | None,
    metrics_port: int | None,
    **more: Any,
) -> None:
    """Serve MODEL (or SEGVOC_MODEL; tiny, if there is none) over HTTP; several of them, if requests choose by name.

    POST /v1/segment labels images; /openapi.json describes the API. By default the service listens on this machine
    only. With another --host, clients need an API key; put a proxy with TLS in front of it. Every option can also be
    set by its environment variable; the first line of the log has all values.
    """
    with naming_fastapi():
        from segvoc.serving.admission import is_loopback
        from segvoc.serving.server import run

    keys = key_settings(api_key_file, "--api-key-file")
    if not is_loopback(host) and not any(keys.values()):
        raise UsageError(
            f"--host {host} is reachable from other machines; give --api-key-file FILE, or set {KEY_VARIABLE}"
        )
    extensions = tuple(extension.routes(more) for extension in installed_extensions())
    own = {field.name: more[field.name] for field in fields(ServiceSettings) if field.name in more}
    settings = ServiceSettings(extensions=extensions, **own, **keys)
    opened = [partial(chosen.open, model) for model in models]
    opened += [_named(text, chosen) for text in named]
    run(
        opened,
        settings,
        host=host,
        port=port,
        metrics_port=metrics_port,
        logged_settings=click.get_current_context().params,
    )


def _named(text: str, chosen: ModelOptions) -> Callable[[], "Segmenter"]:
    """What opens a model of --model NAME=MODEL; `UsageError` if it isn't of this form."""
    name, separator, model = text.partition("=")
    if not (name and separator and model):
        raise UsageError(f"--model {text!r} is not NAME=MODEL; give for example --model street=run/model.safetensors")

    def opened() -> "Segmenter":
        other = copy.copy(chosen.open(model))
        other.name = name
        return other

    return opened


for _extension in installed_extensions():
    serve_command.params.extend(_extension.options)
for _option in serve_command.params:
    if isinstance(_option, click.Option):
        _option.show_envvar = True
