"""`segvoc info`: what a model is made of."""

import json
from collections.abc import Sequence
from typing import Any

import click


@click.command()
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON.")
@click.option("--set", "options", multiple=True, metavar="NAME=VALUE", help="Depart from the preset: blocks=2, ...")
def info(model: str, as_json: bool, options: Sequence[str]) -> None:
    """Show the parts of MODEL, its parameters, and the origin, licence and scores of its weights."""
    facts = describe(model, options)
    click.echo(json.dumps(facts) if as_json else "\n".join(_lines(facts)))


def describe(model: str, options: Sequence[str] = ()) -> dict[str, Any]:
    """Facts about a preset: "name", "summary", "parameters" (all, trainable, and of each part) and "weights".

    "trainable" counts what the published recipe trains: all but the towers, and some of the towers' attention.

    Raises:
        UsageError: there is no preset of that name, or no such option.
    """
    import torch  # here, since it takes seconds to import

    from segvoc.networks.options import Options
    from segvoc.presets import find_preset

    preset, chosen = find_preset(model), Options.parse(options)
    with torch.device("meta"):
        network = preset.build(chosen)
    parameters = dict(network.named_parameters())
    parts: dict[str, int] = {}
    for key, value in parameters.items():
        part = key.partition(".")[0]
        parts[part] = parts.get(part, 0) + value.numel()
    weights: dict[str, Any] = {"status": "shipped", **preset.read_record()}
    if not preset.shipped:
        weights = {"status": "not published", "how_to_get": preset.how_to_get}
    return {
        "name": model,
        "summary": preset.summary,
        "parameters": sum(value.numel() for value in parameters.values()),
        "trainable": sum(parameters[key].numel() for key in network.trainable_parameters()),
        "parts": parts,
        **({"options": chosen.chosen()} if chosen.chosen() else {}),
        "templates": list(preset.templates),
        "weights": weights,
    }


def _lines(facts: dict[str, Any], indent: str = "") -> list[str]:
    """An indented list for people; counts get their thousands apart."""
    lines: list[str] = []
    for key, value in facts.items():
        title = f"{indent}{key if '.' in key else key.replace('_', ' ')}:"
        if isinstance(value, dict):
            lines += [title, *_lines(value, f"{indent}  ")]
        elif isinstance(value, list):
            lines += [title, *(f"{indent}  {entry}" for entry in value)]
        else:
            lines.append(f"{title} {value:,}" if isinstance(value, int) else f"{title} {value}")
    return lines
