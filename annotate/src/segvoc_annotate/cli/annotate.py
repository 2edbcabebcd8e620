"""`segvoc annotate`: a project in the browser."""

import logging
import os
import socket
import sys
import threading
import time
import webbrowser
from collections.abc import Sequence
from contextlib import suppress
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from segvoc import UsageError
from segvoc.cli.options import NETWORK_OPTIONS, ModelOptions, WordOptions, model_options, word_options
from segvoc.cli.output import echo
from segvoc.cli.serve import naming_fastapi

if TYPE_CHECKING:
    from segvoc_annotate.projects.project import Project

HOST = "127.0.0.1"
PORT = 8000
"""Default port of the page."""


@click.command()
@click.argument("folder", metavar="DIR")
@word_options
@click.option(
    "--images",
    metavar="FOLDER",
    help="Leave a new project's images in this folder; new ones are copied there. An existing one must be of this "
    "folder and have the words.",
)
@click.option("--model", metavar="NAME", help="The model, or a path, each time.  [default: the project's, else tiny]")
@model_options(*NETWORK_OPTIONS, "taught", dtype="auto")
@click.option("--port", type=click.IntRange(0, 65_535), help="Port of the page.  [default: a free port]")
@click.option("--no-browser", is_flag=True, help="Only print the page's address.")
def annotate(
    folder: str,
    words: WordOptions,
    images: str | None,
    model: str | None,
    port: int | None,
    no_browser: bool,
    chosen: ModelOptions,
) -> None:
    """Open the project in the folder DIR, or its zip, in your browser; create it if missing.

    \b
    segvoc annotate street --words "car, road, sky" --images photos
    segvoc annotate street
    segvoc annotate street.zip

    The first line may be given again, as in a script: it goes on with the project if its images are in this folder and
    it has these words, whatever others were added since. Without --images, missing words are added.

    The page is for this machine only; `segvoc serve --project DIR` serves a project to others, with an API key.
    """
    from segvoc.labeling.formats.project import is_project
    from segvoc.models.catalog import catalog
    from segvoc_annotate.projects.archive import open_project
    from segvoc_annotate.projects.project import Project
    from segvoc_annotate.projects.pyramid import TILED_PIXELS
    from segvoc_annotate.projects.records import ProjectOptions
    from segvoc_annotate.settings import AnnotateSettings

    vocabulary = words.vocabulary()
    names = () if vocabulary is None else vocabulary.words
    if is_project(folder) or folder.lower().endswith(".zip"):
        if images is not None and not is_project(folder):
            raise UsageError(f"{folder!r} has its own images; leave out --images")
        project = open_project(folder)
        if images is None:
            project.add_words(names)
        else:
            _check_same(folder, project, images, names)
    else:
        if vocabulary is None and images is None:
            _ask_for_new(Path(folder))
        # a path holds on this machine alone, and is given each time
        options = ProjectOptions(model=model if model and model in catalog().models else "tiny")
        project = Project.create(folder, words=names, images=images, options=options)
    options = project.record.options
    if model is None and options.model not in catalog().models:
        raise UsageError(f"the project's model {options.model[:60]!r} is no known one; name or give one: --model NAME")
    port = port or (_is_free(PORT) if port is None else 0) or _is_free(0)
    if _is_free(port):  # else the service reports the error
        address = f"http://{HOST}:{port}"
        echo(f"{project.record.name}: {address} (Ctrl+C ends); loading the model {model or options.model} ...")
        address_to_open = port, None if no_browser else address
        threading.Thread(target=_announce_when_ready, args=address_to_open, name="segvoc-address", daemon=True).start()
    for problem in project.recover():
        echo(f"segvoc: {problem}", err=True)
    with naming_fastapi():  # after the address, since this takes as long as all before
        from segvoc.serving.server import run
        from segvoc.serving.settings import ServiceSettings
        from segvoc_annotate.service_extension import AnnotateRoutes
    served = AnnotateSettings(project=project.folder, upload_bytes=2_000_000_000, archive_bytes=20_000_000_000)
    settings = ServiceSettings(
        max_bytes=200_000_000, max_pixels=TILED_PIXELS, stop_seconds=5.0, extensions=(AnnotateRoutes(served),)
    )
    logging.disable(logging.INFO)  # users read the page, not the service's log
    try:
        run([partial(chosen.open, model or options.model)], settings, host=HOST, port=port)
    finally:
        logging.disable(logging.NOTSET)


def _check_same(folder: str, project: "Project", images: str, words: Sequence[str]) -> None:
    """`UsageError` if a project isn't what its first line said: its images are elsewhere, or a word is missing."""
    if os.path.realpath(images) != os.path.realpath(project.images_folder):
        raise UsageError(
            f"{folder!r} has its images in {str(project.images_folder)!r}, not in {images!r}; leave out --images"
        )
    known = {word.name for word in project.record.present}
    if missing := [word for word in words if word not in known]:
        raise UsageError(
            f"{folder!r} has no word {missing[0]!r} (renamed, removed or never added); leave out --words, or add it: "
            f"segvoc project words {folder} --add {missing[0]!r}"
        )


def _ask_for_new(folder: Path) -> None:
    """Confirm before creating a project, whose name may be mistyped; scripts skip this."""
    if folder.exists() or sys.stdin is None or not sys.stdin.isatty():
        return
    from segvoc.labeling.formats.project import is_project

    beside = [other.name for other in folder.absolute().parent.glob("*/") if is_project(other)]
    alike = get_close_matches(folder.name, beside, n=1)
    hint = f"; did you mean {str(folder.with_name(alike[0]))!r}?" if alike else "."
    click.confirm(f"There is no project {str(folder)!r}{hint} Create it?", default=not alike, abort=True)


def _is_free(port: int) -> int:
    """Return the port if it is free (any free port for 0), else 0."""
    with socket.socket() as trial, suppress(OSError):
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        trial.bind((HOST, port))
        return trial.getsockname()[1]
    return 0


def _announce_when_ready(port: int, address: str | None) -> None:
    """Say so once the service listens, and open the address in the browser, if any."""
    while True:
        with suppress(OSError), socket.create_connection((HOST, port), timeout=1):
            break
        time.sleep(0.1)
    echo("the page is ready")
    if address is not None:
        webbrowser.open(address)
