"""What a model is made of, without its weights in memory."""

from typing import Any

import torch

from segvoc.presets import find_preset


def describe(name: str) -> dict[str, Any]:
    """Facts about a preset: "name", "summary", "parameters" (all, trainable, and of each part) and "weights".

    "trainable" counts what the published recipe trains: all but the towers, and some of the towers' attention.

    Raises:
        UsageError: there is no preset of that name.
    """
    preset = find_preset(name)
    with torch.device("meta"):
        network = preset.build()
    parameters = dict(network.named_parameters())
    parts: dict[str, int] = {}
    for key, value in parameters.items():
        part = key.partition(".")[0]
        parts[part] = parts.get(part, 0) + value.numel()
    weights: dict[str, Any] = {"status": "shipped", **preset.read_record()}
    if not preset.shipped:
        weights = {"status": "not published", "how_to_get": preset.how_to_get}
    return {
        "name": name,
        "summary": preset.summary,
        "parameters": sum(value.numel() for value in parameters.values()),
        "trainable": sum(parameters[key].numel() for key in network.trainable_parameters()),
        "parts": parts,
        "input_size": network.image_encoder.input_size,
        "templates": list(preset.templates),
        "weights": weights,
    }
