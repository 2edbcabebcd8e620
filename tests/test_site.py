"""The documentation site: every public name has its page, and no page loads anything from elsewhere."""

from pathlib import Path
from types import SimpleNamespace

import pytest

import segvoc
from tests.lazy_modules import lazily

site_pages = lazily("mkdocs", "mkdocs is missing", "tools.site_pages")
REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return site_pages.pages()


@pytest.mark.parametrize("name", segvoc.__all__)
def test_every_public_name_has_its_page_with_an_example(name: str, pages: dict[str, str]) -> None:
    start, reference, example = pages[f"reference/python/{name}.md"].partition(f"\n::: segvoc.{name}\n")
    assert reference and example.startswith("\n## Example\n\n```python\n"), start
    summary = [line for line in site_pages.public_names() if f"[`segvoc.{name}`]({name}.md)" in line]
    assert summary and not summary[0].endswith("|  |")


def test_a_comment_in_a_page_becomes_what_the_code_gives() -> None:
    text = site_pages.on_page_markdown("# Recipes\n\n<!-- made: recipes -->\n\nThe end", None, None, None)
    assert "<!--" not in text and "| [`pca-seg-b`](#pca-seg-b) | pca-seg-b | coco-stuff-train |" in text


@pytest.mark.parametrize(
    "tag",
    [
        '<script src="https://cdn.example/x.js"></script>',
        '<link rel="stylesheet" href="//fonts.example/css">',
        "<img alt=x src=http://example/x.png>",
    ],
)
def test_a_page_that_loads_from_elsewhere_is_refused(tag: str) -> None:
    page = SimpleNamespace(file=SimpleNamespace(src_uri="page.md"))
    with pytest.raises(site_pages.PluginError, match=r"page\.md loads from outside"):
        site_pages.on_post_page(f"<html>{tag}</html>", page, None)
    harmless = '<a href="https://example.com">elsewhere</a><img src="images/x.png">'
    assert site_pages.on_post_page(harmless, page, None) == harmless


def test_signatures_show_plain_defaults() -> None:
    griffe = pytest.importorskip("griffe")
    source = """
from dataclasses import field
class A:
    x: int = field(default=3)
    y: dict = field(default_factory=dict)
    z: object = lambda: 0
def f(on_step=lambda step: None, seed=0): ...
"""
    with griffe.temporary_visited_module(source) as module:
        site_pages.PlainDefaults().on_package(pkg=module)
        assert [str(module["A"][name].value) for name in "xyz"] == ["3", "None", "None"]
        assert [str(parameter.default) for parameter in module["f"].parameters] == ["...", "0"]
