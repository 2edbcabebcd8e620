"""Pages of the site that follow the code: the command line, models, recipes, public names and what extends segvoc.

MkDocs calls the `on_...` functions (`hooks` in mkdocs.yml); nothing is written into docs/.
"""

import inspect
import re
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import segvoc
from segvoc.cli import command_line
from segvoc.records import to_json

SOURCES = Path(__file__).resolve().parents[1] / "src"
EXTENSION_POINTS = (
    "segvoc.imaging.annotations",
    "segvoc.inference.protocols",
    "segvoc.networks.base",
    "segvoc.networks.choices",
    "segvoc.training.callbacks",
    "segvoc.training.recipe",
)
"""Modules with a page beside the names of `import segvoc`: what guides link to and what an extension builds on."""

LAST_IN_SEARCH = "---\nsearch:\n  boost: 0.2\n---\n"
"""Ranks a generated page below the guides."""

EXAMPLES = Path(__file__).parents[1] / "docs/reference/examples.md"
"""A page with a section for each public name."""

OUTSIDE = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*?\b(?:src|href)=\"?(?:https?:)?//[^>]*>")
"""What would make a reader's browser ask another machine."""


def pages() -> dict[str, str]:
    """Every generated page: its place below docs/, and its Markdown."""
    found = {
        "reference/command_line.md": "\n".join(command_line_page()),
        "reference/models.md": "\n".join(models_page()),
        "reference/recipes.md": "\n".join(recipes_page()),
        "reference/python/index.md": "\n".join(public_names_page()),
        "reference/modules/index.md": "\n".join(modules_page()),
    }
    examples = examples_by_name()
    found |= {
        f"reference/python/{name}.md": f"{LAST_IN_SEARCH}::: segvoc.{name}\n\n## Example\n\n{examples[name]}"
        for name in segvoc.__all__
    }
    return found | {f"reference/modules/{name}.md": f"{LAST_IN_SEARCH}::: {name}\n" for name in EXTENSION_POINTS}


def examples_by_name() -> dict[str, str]:
    """The Python block of each public name."""
    text = EXAMPLES.read_text(encoding="utf-8")
    return dict(re.findall(r"^## (\w+)\n\n(```python\n.*?^```\n)", text, re.DOTALL | re.MULTILINE))


def command_line_page() -> Iterator[str]:
    """The help of every command, as the terminal shows it."""
    yield "# Command line\n"
    yield "The help of every command, as `--help` prints it. Exit codes: 0 all done, 1 some inputs failed (they are"
    yield "named, the others are done), 2 the call was wrong.\n"
    for path, text in helps((), command_line):
        yield f"\n## {' '.join(('segvoc', *path))}\n"
        yield f"```text\n{text.rstrip()}\n```\n"


def helps(path: Sequence[str], command: click.Command) -> Iterator[tuple[Sequence[str], str]]:
    """The names that lead to a command and its help; then those of its subcommands."""
    settings = {"max_content_width": 100, "terminal_width": 100, "show_default": True}
    context = click.Context(command, info_name=" ".join(("segvoc", *path)), **settings)
    yield path, command.get_help(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            if inner is not None:
                yield from helps((*path, name), inner)


def models_page() -> Iterator[str]:
    """The table of presets, with parameters counted."""
    from segvoc.cli.info import describe
    from segvoc.cli.models import summary_of_weights
    from segvoc.models.catalog import catalog

    yield "# Models\n"
    yield "Every preset that `segvoc.load` and `--model` take. Parameters are counted on the networks;"
    yield "`segvoc info NAME` says more about each, with its scores.\n"
    yield "| name | network | parameters | trainable | weights |\n|---|---|---|---|---|"
    for name, model in catalog().models.items():
        found = describe(name)
        weights = summary_of_weights(model, here=False)
        summary = model.summary[0].upper() + model.summary[1:]
        yield f"| `{name}` | {summary} | {found['parameters']:,} | {found['trainable']:,} | {weights} |"


def recipes_page() -> Iterator[str]:
    """Every recipe with its docstring, and every setting with its default."""
    from segvoc.training.recipe import Recipe
    from segvoc.training.recipes import RECIPES

    yield "# Recipes\n"
    yield "`segvoc train NAME` trains by one of these recipes; `segvoc train finetune --model MODEL` adapts a model to"
    yield "your own data. On N GPUs: `torchrun --nproc-per-node N --no-python segvoc train NAME --data ROOT --out RUN`,"
    yield "with the options that the recipe names. Every setting can be changed with `--set NAME=VALUE`;"
    yield "[`Recipe`](modules/segvoc.training.recipe.md) says what each one means. A setting is named by its short name"
    yield "(`--set lr=1e-4`) or with its group (`--set optimizer.lr=1e-4`).\n"
    columns = ("model", "data.dataset", "optimizer.steps", "optimizer.batch_size", "optimizer.lr", "data.crop_size")
    columns = (*columns, "objective.fod_weight")
    yield f"| name | {' | '.join(column.rpartition('.')[2].replace('_', ' ') for column in columns)} |"
    yield f"|---|{'---|' * len(columns)}"
    for name, recipe in RECIPES.items():
        values = recipe()
        cells = (attrgetter(column)(values) for column in columns)
        texts = (f"{cell:,}" if isinstance(cell, int) else str(cell) or "–" for cell in cells)
        yield f"| [`{name}`](#{name}) | {' | '.join(texts)} |"
    yield "\n## Settings\n"
    for group in fields(Recipe):
        if is_dataclass(group.default):
            values = to_json(group.default).items()
            settings = ", ".join(f"`{name}={_setting_text(value)}`" for name, value in values)
            yield f"- `{group.name}`: {settings}"
    for name, recipe in RECIPES.items():
        yield f"\n## {name}\n\n{inspect.cleandoc(recipe.__doc__ or Recipe.__doc__ or '')}\n"


def _setting_text(value: object) -> str:
    """A value as `--set` takes it."""
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def public_names_page() -> Iterator[str]:
    """The names that `import segvoc` offers."""
    yield "# Python API\n"
    yield "`import segvoc` is cheap: PyTorch is loaded by the first name that needs it. The names on this page stay"
    yield "compatible between minor versions; [the extension points](../modules/index.md) may change in any version.\n"
    yield "| name | |\n|---|---|"
    for name in segvoc.__all__:
        yield f"| [`segvoc.{name}`]({name}.md) | {first_line(getattr(segvoc, name))} |"


def modules_page() -> Iterator[str]:
    """The extension points."""
    yield "# Extension points\n"
    yield "Modules that your own network, recipe, callback or reader builds on. They may change with any version."
    yield "CONTRIBUTING.md says what each extension touches.\n"
    yield "| module | |\n|---|---|"
    for name in EXTENSION_POINTS:
        yield f"| [`{name}`]({name}.md) | {module_summary(name)} |"


def first_line(thing: Any) -> str:
    """The first sentence of a docstring; of a plain value its type."""
    text = inspect.getdoc(thing) if inspect.isclass(thing) or callable(thing) else None
    return (text or f"{type(thing).__name__}.").splitlines()[0].replace("|", "\\|")


def module_summary(name: str) -> str:
    """The first line of a module's docstring, without importing it."""
    source = (SOURCES / Path(*name.split("."))).with_suffix(".py").read_text(encoding="utf-8")
    return source.lstrip().removeprefix('"""').splitlines()[0].removesuffix('"""').replace("|", "\\|")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the generated pages into the navigation."""
    reference = next(entry["Reference"] for entry in config.nav or () if "Reference" in entry)
    python = ["reference/python/index.md", *({name: f"reference/python/{name}.md"} for name in segvoc.__all__)]
    modules = ["reference/modules/index.md", *({name: f"reference/modules/{name}.md"} for name in EXTENSION_POINTS)]
    reference[1:1] = [{"Python API": python}]
    reference.append({"Extension points": modules})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages to those of docs/."""
    for place, text in pages().items():
        files.append(File.generated(config, place, content=text))
    return files


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Refuse a page that loads anything from elsewhere.

    Raises:
        PluginError: it does.
    """
    if found := OUTSIDE.search(output):
        raise PluginError(f"{page.file.src_uri} loads from outside: {found.group()[:200]}; keep a copy in docs/")
    return output
