"""`segvoc info`: what a model is made of."""

import json
from typing import Any

import click


@click.command()
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON.")
def info(model: str, as_json: bool) -> None:
    """Show the parts of MODEL, its parameters, and the origin, licence and scores of its weights."""
    from segvoc.model_info import describe  # here, since PyTorch takes seconds to import

    facts = describe(model)
    click.echo(json.dumps(facts, ensure_ascii=False) if as_json else "\n".join(_lines(facts)))


def _lines(facts: dict[str, Any], indent: str = "") -> list[str]:
    lines: list[str] = []
    for key, value in facts.items():
        title = f"{indent}{key.replace('_', ' ')}:"
        if isinstance(value, dict):
            lines += [title, *_lines(value, indent + "  ")]
        elif isinstance(value, list):
            lines += [title, *(f"{indent}  {entry}" for entry in value)]
        else:
            lines.append(f"{title} {value:,}" if isinstance(value, int) else f"{title} {value}")
    return lines
