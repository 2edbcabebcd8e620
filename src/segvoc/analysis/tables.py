"""Tables in Markdown, and their files."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from segvoc.storage.atomic_writes import write_atomically
from segvoc.storage.json_files import write_json


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with a heading for each column, ending with a newline."""
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines) + "\n"


def save_table(folder: Path, name: str, markdown: str, content: Mapping[str, object]) -> None:
    """Write a table as NAME.md, for people, and NAME.json, for programs.

    Raises:
        OutputError: a file can't be written.
    """
    write_json(folder / f"{name}.json", content)
    write_atomically(folder / f"{name}.md", lambda file: file.write(markdown.encode()))
