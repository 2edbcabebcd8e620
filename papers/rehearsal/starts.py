"""Initial weights in place of published ones: encoders trained on the drawn scenes, and SynSeg's decoder.

Each cell's embedding is near its names. SynSeg starts from CLIPSeg's weights (version 2 of its paper), whose decoder
was trained on masks; a random decoder learns nothing from so few captions.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from segvoc.checkpoints.files import write_weights
from segvoc.data.benchmarks import BENCHMARKS
from segvoc.encoders.base import ImageEncoder
from segvoc.encoders.clip_text import ClipTextEncoder
from segvoc.models.presets import PRESETS
from segvoc.networks.syn_seg import SynSeg
from tests.data.scenes import CONCEPTS, Scene, draw_scene, part_labels_of, place_in

STEPS, PART_STEPS, BATCH, LEARNING_RATE = 120, 240, 8, 2e-3

TEMPERATURE = 0.1
"""Cosines are divided by this before the softmax over names."""

NEGATIVES = 24
"""Negative names per step."""

MASK_STEPS, MASK_RATE, MASK_NEGATIVES = 180, 3e-3, 10
"""The same for SynSeg's decoder, where each name is a mask."""

MASK_NORM = 0.1
"""Its gradient clipping norm; with larger norms it only learns that masks are rare."""

_STREAM = 1_000_000
"""Seed of the encoders' training scenes, used by no dataset."""


def write_start(preset: str, path: Path) -> float:
    """Train a small network's encoders, and SynSeg's decoder, on drawn scenes, and write them as a segvoc file.

    In each step, every cell of a few scenes is compared with one name of each concept (for networks of parts, in turn
    with those of objects, of parts, and of parts of objects) and with names of other classes.

    Args:
        preset: the network; its small version is in the table.
        path: the file.

    Returns:
        The accuracy of the cells' nearest names over the last ten steps.
    """
    torch.manual_seed(0)
    known = PRESETS[preset]
    network, parts = known.build(known.configuration), known.family in ("PartCATSeg", "PCA-Seg for parts")
    text, image = cast(ClipTextEncoder, network.text_encoder), cast(ImageEncoder, network.image_encoder)
    towers = [*text.parameters(), *network.image_encoder.parameters()]
    steps = PART_STEPS if parts else STEPS
    optimizer = torch.optim.AdamW(towers, lr=LEARNING_RATE, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    generator, right = np.random.default_rng(0), []
    templates = known.templates_of(known.configuration)
    for step, (pixels, scenes) in zip(range(steps), _batches(image.input_size, generator), strict=False):
        names, maps = _targets(scenes, step % 3 if parts else 0, generator)
        template = templates[int(generator.integers(len(templates)))]
        words = F.normalize(text(text.tokenize([template.format(name) for name in names])), dim=-1)
        loss = torch.zeros(())
        for features in image(pixels).maps:
            cells = F.interpolate(maps[:, None].float(), features.shape[-2:], mode="nearest-exact")[:, 0].long()
            logits = torch.einsum("bchw,nc->bnhw", F.normalize(features, dim=1), words) / TEMPERATURE
            loss = loss + F.cross_entropy(logits, cells, ignore_index=-1)
            right.append(float((logits.argmax(1) == cells)[cells >= 0].float().mean()))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(towers, 1.0)
        optimizer.step()
        schedule.step()
    kept = network.state_dict()
    if isinstance(network, SynSeg):
        _learn_masks(network, templates[0], generator)
    else:
        kept = {name: value for name, value in kept.items() if not name.startswith("aggregation.")}
    write_weights(path, kept, preset)
    return float(np.mean(right[-10:]))


def _learn_masks(network: SynSeg, template: str, generator: np.random.Generator) -> None:
    """Train the decoder: each name's mask against all other pixels."""
    text, image = cast(ClipTextEncoder, network.text_encoder), cast(ImageEncoder, network.image_encoder)
    network.image_encoder.requires_grad_(False)
    optimizer = torch.optim.AdamW(network.aggregation.parameters(), lr=MASK_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, MASK_RATE, total_steps=MASK_STEPS)
    for _, (pixels, scenes) in zip(range(MASK_STEPS), _batches(image.input_size, generator), strict=False):
        names, maps = _targets(scenes, 0, generator)
        names = names[: len(CONCEPTS) + MASK_NEGATIVES]
        with torch.no_grad():
            words = text(text.tokenize([template.format(name) for name in names]))[:, None]
        logits = network(pixels, words)
        cells = F.interpolate(maps[:, None].float(), logits.shape[-2:], mode="nearest-exact")[:, 0].long()
        truth = F.one_hot(cells, len(names)).permute(0, 3, 1, 2).float()
        loss = F.binary_cross_entropy_with_logits(logits, truth)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.aggregation.parameters(), MASK_NORM)
        optimizer.step()
        schedule.step()


def _batches(side: int, generator: np.random.Generator) -> Iterator[tuple[Tensor, list[Scene]]]:
    """Crops of scenes, as windows show them, and their pixels in [0, 255] as squares, brighter or darker by a fifth."""
    number = 0
    while True:
        share = float(generator.uniform(0.45, 1))
        scenes = [_crop(draw_scene((_STREAM, number + place)), share, generator) for place in range(BATCH)]
        number += BATCH
        pixels = torch.from_numpy(np.stack([scene.image for scene in scenes])).permute(0, 3, 1, 2).float()
        pixels = F.interpolate(pixels, (side, side), mode="bilinear", antialias=True)
        yield (pixels * float(generator.uniform(0.8, 1.2))).clamp(0, 255), scenes


def _crop(scene: Scene, share: float, generator: np.random.Generator) -> Scene:
    """A part of a scene with this share of its height and width."""
    height, width = scene.concepts.shape
    rows, columns = round(share * height), round(share * width)
    top, left = int(generator.integers(0, height - rows + 1)), int(generator.integers(0, width - columns + 1))
    place = slice(top, top + rows), slice(left, left + columns)
    return Scene(image=scene.image[place], concepts=scene.concepts[place], parts=scene.parts[place])


def _targets(scenes: list[Scene], kind: int, generator: np.random.Generator) -> tuple[list[str], Tensor]:
    """Names, and for each scene the map of places among them (-1: none).

    Args:
        scenes: the scenes.
        kind: 0 for names of concepts, 1 for parts of objects ("cat's head"), 2 for parts ("head").
        generator: chooses among names of one concept, and the names of nothing.
    """
    if kind == 0:
        names = [str(generator.choice(concept.names)) for concept in CONCEPTS]
        maps = [scene.concepts for scene in scenes]
        others = generator.permutation(_OTHERS)[:NEGATIVES]
        return [*names, *others], torch.from_numpy(np.stack(maps))
    specific = list(_PARTS)
    maps = np.stack([part_labels_of(scene, specific, -1) for scene in scenes])
    if kind == 1:
        return [*specific, *generator.permutation(_OTHER_PARTS)[:NEGATIVES]], torch.from_numpy(maps)
    names = list(dict.fromkeys(name.partition("'s ")[2] for name in specific))
    general = np.array([*(names.index(name.partition("'s ")[2]) for name in specific), -1])
    others = {name.rpartition("'s ")[2] for name in _OTHER_PARTS} - set(names)
    return [*names, *generator.permutation(sorted(others))[:NEGATIVES]], torch.from_numpy(general[maps])


def _words(*, parts: bool) -> list[str]:
    known = [benchmark for benchmark in BENCHMARKS.values() if (benchmark.parts is not None) == parts]
    return sorted({name.split(", ")[0] for benchmark in known for name in benchmark.classes})


_PARTS = tuple(f"{concept.names[-1]}'s {part}" for concept in CONCEPTS for part in concept.parts)
_OTHERS = [name for name in _words(parts=False) if all(place_in([name], concept) is None for concept in CONCEPTS)]
_OTHER_PARTS = [name for name in _words(parts=True) if name not in _PARTS]
