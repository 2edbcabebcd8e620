"""`segvoc info`: what a model is made of."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from segvoc.configuration import differences, parse_settings, with_settings

if TYPE_CHECKING:
    from segvoc.models.presets import Preset


@click.command()
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON.")
@click.option("--set", "options", multiple=True, metavar="NAME=VALUE", help="Depart from the preset: blocks=2, ...")
@click.option("--macs", is_flag=True, help="Count the multiply-adds for one picture too.")
@click.option("--classes", default=150, show_default=True, type=click.IntRange(1, 100_000), help="Words, for --macs.")
def info(model: str, as_json: bool, options: Sequence[str], macs: bool, classes: int) -> None:
    """Show the parts of MODEL, its parameters, and the origin, licence and scores of its weights.

    MODEL is a preset or a .safetensors of segvoc.
    """
    facts = describe(model, options)
    if macs:
        from segvoc.analysis.multiply_adds import describe_multiply_adds  # here, since PyTorch takes seconds to import

        facts |= {"macs": describe_multiply_adds(facts.get("preset", model), facts.get("options", {}), classes)}
    click.echo(json.dumps(facts) if as_json else "\n".join(_lines(facts)))


def describe(model: str, options: Sequence[str] = ()) -> dict[str, Any]:
    """Facts about a preset or a file of segvoc.

    These are "name", "summary", "parameters" (all, trainable, and of each part) and "weights"; of a file also "preset".
    "trainable" counts what the published recipe trains: all but the towers, and some of the towers' attention.

    Raises:
        UsageError: there is no preset of that name, no such file, or no such option.
    """
    import torch  # here, since it takes seconds to import

    from segvoc.checkpoints.files import read_header
    from segvoc.models.headers import configuration_of
    from segvoc.models.loading import is_own_path, named_preset
    from segvoc.models.presets import find_preset

    file = read_header(model) if is_own_path(model) else None
    name, record = (model, {}) if file is None else (named_preset(file), file.record)
    preset = find_preset(name)
    configuration = preset.configuration if file is None else configuration_of(file, preset)
    configuration = with_settings(configuration, parse_settings(options), model)
    changes = differences(configuration, preset.configuration)
    with torch.device("meta"):
        network = preset.build(configuration)
    parameters = dict(network.named_parameters())
    parts: dict[str, int] = {}
    for key, value in parameters.items():
        part = key.partition(".")[0]
        parts[part] = parts.get(part, 0) + value.numel()
    return {
        "name": model,
        **({"preset": name} if record else {}),
        "summary": preset.summary,
        "parameters": sum(value.numel() for value in parameters.values()),
        "trainable": sum(parameters[key].numel() for key in network.trainable_parameters()),
        "parts": parts,
        **({"options": changes} if changes else {}),
        "templates": list(preset.templates_of(configuration)),
        "weights": _recorded(record) if record else _weights(preset),
    }


def _recorded(record: dict[str, Any]) -> dict[str, Any]:
    told = {key: value for key, value in record.items() if key not in ("preset", "options", "configuration", "status")}
    return {"status": "file", **told}


def _weights(preset: "Preset") -> dict[str, Any]:
    if preset.shipped:
        return {"status": "shipped", **preset.read_record()}
    if preset.published is None:
        return {"status": "not published", "how_to_get": preset.how_to_get}
    wanted = ("repository", "filename", "revision", "sha256", "size", "licence", "page")
    return {"status": "published", **{key: getattr(preset.published, key) for key in wanted}}


def _lines(facts: dict[str, Any], indent: str = "") -> list[str]:
    """An indented list for people; counts get their thousands apart."""
    lines: list[str] = []
    for key, value in facts.items():
        title = f"{indent}{_shown(key if '.' in key else key.replace('_', ' '))}:"
        if isinstance(value, dict):
            lines += [title, *_lines(value, f"{indent}  ")]
        elif isinstance(value, list):
            lines += [title, *(f"{indent}  {_shown(entry)}" for entry in value)]
        else:
            lines.append(f"{title} {value:,}" if isinstance(value, int) else f"{title} {_shown(value)}")
    return lines


def _shown(value: object) -> str:
    """A value as text; one that could command the terminal is quoted, since files tell what they like."""
    text = str(value)
    return text if text.isprintable() else repr(text)
