"""What the site takes from the code: help of commands, models, recipes and public names.

MkDocs calls the `on_...` functions (`hooks` in mkdocs.yml): `<!-- made: models -->` in a page becomes what `models`
gives, and each public name gets a page. Nothing is written into docs/.
"""

import inspect
import re
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path

import click
import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import segvoc
from segvoc.cli import command_line
from segvoc.cli.info import describe
from segvoc.cli.models import summary_of_weights
from segvoc.data.published_scores import PUBLISHED_ROWS
from segvoc.models.catalog import catalog
from segvoc.training.recipe import Recipe
from segvoc.training.recipes import RECIPES

OUTSIDE = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*?\b(?:src|href)=\"?(?:https?:)?//[^>]*>")
"""What would make a reader's browser ask another machine."""


def commands(command: click.Command = command_line, name: str = "segvoc") -> Iterator[str]:
    """The help of a command, as the terminal shows it; then those of its subcommands."""
    context = click.Context(command, info_name=name, max_content_width=100, terminal_width=100, show_default=True)
    yield f"## {name}\n\n```text\n{command.get_help(context).rstrip()}\n```\n"
    if isinstance(command, click.Group):
        for part in command.list_commands(context):
            if inner := command.get_command(context, part):
                yield from commands(inner, f"{name} {part}")


def models() -> Iterator[str]:
    """The table of presets, with parameters counted."""
    yield "| name | network | parameters | trainable | weights |\n|---|---|---|---|---|"
    for name, model in catalog().models.items():
        counted, weights = describe(name), summary_of_weights(model, here=False)
        summary = model.summary[0].upper() + model.summary[1:]
        yield f"| `{name}` | {summary} | {counted['parameters']:,} | {counted['trainable']:,} | {weights} |"


def recipes() -> Iterator[str]:
    """The table of recipes."""
    columns = ("model", "data.dataset", "optimizer.steps", "optimizer.batch_size", "optimizer.lr", "data.crop_size")
    columns = (*columns, "objective.fod_weight")
    yield f"| name | {' | '.join(column.rpartition('.')[2].replace('_', ' ') for column in columns)} |"
    yield f"|---|{'---|' * len(columns)}"
    for name, recipe in RECIPES.items():
        cells = (attrgetter(column)(recipe()) for column in columns)
        texts = (f"{cell:,}" if isinstance(cell, int) else str(cell) or "–" for cell in cells)
        yield f"| [`{name}`](#{name}) | {' | '.join(texts)} |"


def docstrings() -> Iterator[str]:
    """Every recipe with its docstring and the published scores of its networks."""
    for name, recipe in RECIPES.items():
        yield f"## {name}\n\n{inspect.cleandoc(recipe.__doc__ or Recipe.__doc__ or '')}\n"
        for row in PUBLISHED_ROWS:
            if row.main and row.recipe == name:
                scores = (f"{data} {' / '.join(map(str, values.values()))}" for data, values in row.scores.items())
                yield f"- {row.name}: {', '.join(scores)}\n"


def public_names() -> Iterator[str]:
    """The names that `import segvoc` offers, with the first line of each docstring."""
    yield "| name | |\n|---|---|"
    for name in segvoc.__all__:
        summary = (inspect.getdoc(getattr(segvoc, name)) or "").partition("\n")[0].replace("|", "\\|")
        yield f"| [`segvoc.{name}`]({name}.md) | {summary} |"


def pages() -> dict[str, str]:
    """The pages of public names: the place below docs/, and the Markdown, which ranks below the guides in a search."""
    text = (Path(__file__).parents[1] / "docs/reference/examples.md").read_text(encoding="utf-8")
    examples = dict(re.findall(r"^## (\w+)\n\n(```python\n.*?^```\n)", text, re.DOTALL | re.MULTILINE))
    page = "---\nsearch:\n  boost: 0.2\n---\n::: segvoc.{name}\n\n## Example\n\n{example}"
    return {f"reference/python/{name}.md": page.format(name=name, example=examples[name]) for name in segvoc.__all__}


MADE = {made.__name__: made for made in (commands, models, recipes, docstrings, public_names)}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages of public names into the navigation."""
    reference = next(entry["Reference"] for entry in config.nav or () if "Reference" in entry)
    (api,) = (entry["Python API"] for entry in reference if "Python API" in entry)
    api += [{name: f"reference/python/{name}.md"} for name in segvoc.__all__]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of names and modules to those of docs/."""
    for place, text in pages().items():
        files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fill in what follows the code."""
    return re.sub(r"<!-- made: (\w+) -->", lambda match: "\n".join(MADE[match[1]]()), markdown)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Refuse a page that loads anything from elsewhere.

    Raises:
        PluginError: it does.
    """
    if found := OUTSIDE.search(output):
        raise PluginError(f"{page.file.src_uri} loads from outside: {found.group()[:200]}; keep a copy in docs/")
    return output


class PlainDefaults(griffe.Extension):
    """Shows defaults in signatures as a caller reads them: neither `field(...)` nor the source of a lambda."""

    def on_package(self, *, pkg: griffe.Module, **_: object) -> None:
        """Change the signatures of a loaded package."""
        for member in _members(pkg):
            if isinstance(member, griffe.Attribute) and isinstance(value := member.value, griffe.ExprCall):
                if str(value.function) == "field":
                    given = {one.name: one.value for one in value.arguments if isinstance(one, griffe.ExprKeyword)}
                    member.value = given.get("default")
            elif isinstance(member, griffe.Attribute) and isinstance(member.value, griffe.ExprLambda):
                member.value = None
            elif isinstance(member, griffe.Function):
                for parameter in member.parameters:
                    if isinstance(parameter.default, griffe.ExprLambda):
                        parameter.default = "..."


def _members(thing: griffe.Object) -> Iterator[griffe.Object]:
    """All members of a module or class, and theirs."""
    for member in thing.members.values():
        if isinstance(member, griffe.Object):
            yield member
            yield from _members(member)
