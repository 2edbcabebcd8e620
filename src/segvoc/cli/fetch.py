"""`segvoc fetch`: downloads published weights ahead of their first use."""

from collections.abc import Sequence

import click

from segvoc.checkpoints.fetching import cached, check_space, fetch, transfer_size
from segvoc.checkpoints.published import PUBLISHED, UNCONFIRMED, PublishedFile, UnconfirmedFile
from segvoc.cli.output import echo, example
from segvoc.errors import CheckpointError, UsageError, counted, human_size
from segvoc.models.catalog import catalog
from segvoc.runtime.progress import aligned
from segvoc.runtime.suggestions import did_you_mean


@click.command("fetch", epilog=example("segvoc fetch cat-seg-b", more=f"Files: {', '.join(PUBLISHED)}."))
@click.argument("names", nargs=-1, metavar="NAME...")
@click.option("--all", "everything", is_flag=True, help="Fetch every file.")
@click.option(
    "--list", "listing", is_flag=True, help="List the files with size, license, use, and whether they are downloaded."
)
def fetch_command(names: Sequence[str], everything: bool, listing: bool) -> int:
    """Download published weights ahead of time, for example for offline use.

    NAME is a file, a model (its weights, or else the encoders that its training starts from) or a recipe (its
    encoders). Files already downloaded are verified. HF_HOME, HF_ENDPOINT and HF_HUB_OFFLINE are respected.
    """
    if bool(names) + everything + listing != 1:
        raise UsageError("give names of models, recipes or files, or --all, or --list")
    if listing:
        echo("\n".join(_table()))
        return 0
    wanted = PUBLISHED.values() if everything else (file for name in names for file in _files_of(name))
    files = list(dict.fromkeys(wanted))
    failed = _fetch_all(files)
    if failed:
        echo(f"segvoc: {failed} of {counted(len(files), 'file')} failed", err=True)
    return 1 if failed else 0


def _files_of(name: str) -> Sequence[PublishedFile]:
    """Resolve a name to files; prints a note if it needs none."""
    if name in UNCONFIRMED:
        raise _not_fetched(name, [UNCONFIRMED[name]])
    if name in PUBLISHED and PUBLISHED[name].kind == "encoders":
        return [PUBLISHED[name]]
    models, recipes = catalog().models, catalog().recipes
    if name not in PUBLISHED and name not in models and name not in recipes:
        others = list(dict.fromkeys([*models, *recipes]))
        meant = did_you_mean(name, [*PUBLISHED, *others])
        raise UsageError(
            f"{name!r} is unknown{meant}; it is one of the files {', '.join(PUBLISHED)}, or of the models and recipes "
            f"{', '.join(others)}"
        )
    from segvoc.models.presets import PRESETS  # here, since PyTorch takes seconds to import
    from segvoc.training.recipes import RECIPES

    preset = PRESETS.get(name) or (PRESETS[RECIPES[name]().model] if name in RECIPES else None)
    if name in PUBLISHED:
        if name in RECIPES and preset is not None and preset.fetched_encoders:
            others = " ".join(file.name for file in preset.fetched_encoders)
            echo(f"segvoc: training by the recipe {name} starts from {others}: segvoc fetch {others}", err=True)
        return [PUBLISHED[name]]
    assert preset is not None  # its name is in the catalog
    if preset.published is not None:
        return [preset.published]
    if preset.shipped:
        echo(f"{name}: ships with segvoc, nothing to fetch")
        return []
    if not preset.fetched_encoders:
        raise _not_fetched(name, [file for file in preset.encoders if isinstance(file, UnconfirmedFile)])
    return preset.fetched_encoders


def _not_fetched(name: str, files: Sequence[UnconfirmedFile]) -> UsageError:
    sources = "; ".join(f"{file.summary} ({file.reason}): get it from {file.page}" for file in files)
    return UsageError(f"{name}: not fetched, since it can't be checked: {sources}, and give the file to the command")


def _fetch_all(files: Sequence[PublishedFile]) -> int:
    """Print the total size, fetch the files, and return the number of failures."""
    here = [file for file in files if cached(file) is not None]
    sizes: dict[str, int | None] = {}
    failed = 0
    for file in files:
        try:
            if file not in here:
                sizes[file.name] = transfer_size(file)
        except CheckpointError as error:
            failed += 1
            echo(f"segvoc: error: {error}", err=True)
    if sizes:
        total = sum(size or 0 for size in sizes.values())
        at_least = "at least " if None in sizes.values() else ""
        echo(f"segvoc: {counted(len(sizes), 'file')} to fetch, {at_least}{human_size(total)}", err=True)
        check_space(total)
    for file in (file for file in files if file in here or file.name in sizes):
        try:
            path = fetch(file)
        except CheckpointError as error:
            failed += 1
            echo(f"segvoc: error: {error}", err=True)
            continue
        state = "here already" if file in here else "fetched"
        size = human_size(path.stat().st_size)
        echo(f"{file.name}: {state}, {size}, SHA-256 verified, license {file.license} -> {path}")
        if file.license_note:
            echo(f"segvoc: license of {file.name}: {file.license_note}", err=True)
    return failed


def _table() -> list[str]:
    """The lines of the list: name, size, license, cache state, use."""
    rows = [("name", "size", "license", "here", "for")]
    for file in PUBLISHED.values():
        here = "no" if cached(file) is None else "yes"
        license = f"{file.license} *" if file.license_note else file.license
        rows.append((file.name, file.size_text, license, here, _use(file)))
    return [*aligned(rows, left=len(rows[0])), "* `segvoc info NAME` has details of the license"]


def _use(file: PublishedFile) -> str:
    """The use of a file: models that load it, recipes that start from it, or else its summary."""
    listed = catalog()
    models = [name for name, model in listed.models.items() if model.published == file.name]
    trainings = [name for name, model in listed.recipes.items() if file.name in listed.models[model].encoders]
    uses = [f"{what} {', '.join(names)}" for what, names in (("model", models), ("training", trainings)) if names]
    return "; ".join(uses) or file.summary
