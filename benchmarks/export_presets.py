"""Compare exported programs with PyTorch's networks: all presets in small, two at their real size, tiny on photographs.

    python -m benchmarks.export_presets small [PRESET ...] [--format onnx|triton]
    python -m benchmarks.export_presets real [PRESET ...]            # pca-seg-b and cat-seg-b; up to 12 GB
    python -m benchmarks.export_presets photos FOLDER [--count 50]   # tiny in float32, float16 and int8

`small` builds each preset with towers and an aggregation of a few channels and random weights, exports it, and compares
logits for 5 sizes of images, 1, 27 and 1,000 words, every pooling, and with and without class selection where there is
one. `difference` is the largest one of a logit, relative to the largest logit of its image; only calls in which both
keep the same words count (`same_words`). `real` is what `segvoc export` compares itself. `photos` is the share of
pixels with equal labels. Each run replaces its own rows in results/export_presets.json.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.machine import update
from segvoc.arrays import to_numpy
from segvoc.encoders import clip_text, clip_with_dino, convnext_clip
from segvoc.encoders.clip_text import ClipTextConfig
from segvoc.encoders.convnext_clip import ConvNextClipConfig
from segvoc.encoders.timm_clip_sizes import TIMM_CLIPS
from segvoc.encoders.vit import VitConfig
from segvoc.exported.segmenter import ExportedSegmenter
from segvoc.exporting.comparison import WORDS
from segvoc.exporting.export import export
from segvoc.inference.protocols import Protocol
from segvoc.layers.decoder_sizes import DecoderSizes
from segvoc.models.builders import NetworkConfig
from segvoc.models.loading import load_network, segmenter_of
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.models.presets import PRESETS
from segvoc.networks.cost_aggregation_config import ClipNetworkConfig, TimmEncoders
from segvoc.networks.err_seg import ErrSegConfig
from segvoc.networks.part_cat_seg import PartNetworkConfig
from segvoc.networks.syn_seg import SynSegConfig
from segvoc.selection_rules import MostSimilar, Voted, VotedShare
from segvoc.vocabulary import Vocabulary

NAME = "export_presets"
CELLS = ((6, 6), (6, 9), (9, 6), (7, 11), (12, 12))
COUNTS = (1, 27, 1000)
RULES = (None, Voted(5), VotedShare(share=0.9, least=3), MostSimilar(4))
PROMPTS = 4
PHOTO_WORDS = Path(__file__).parent / "coco_panoptic_words.txt"


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["small", "real", "photos"])
    parser.add_argument("names", nargs="*", help="presets; for photos the folder")
    parser.add_argument("--format", default="onnx", choices=["onnx", "triton"])
    parser.add_argument("--count", type=int, default=50)
    given = parser.parse_args()
    if given.what == "small":
        rows = (
            small_row(name, given.format)
            for name in given.names or (name for name in PRESETS if name not in TIMM_CLIPS)
        )
    elif given.what == "real":
        rows = (real_row(name, given.format) for name in given.names or ("pca-seg-b", "cat-seg-b"))
    else:
        rows = photo_rows(Path(given.names[0]), given.count)
    for row in rows:
        print(*(f"{key}={value}" for key, value in row.items()), flush=True)
        update(NAME, [row], ["model", "size", "format", "dtype"])


def small_row(name: str, format: str) -> dict[str, Any]:
    """Export a preset in small, and compare."""
    model = small_model(name)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        export(model, Path(folder) / "out", format=format)  # type: ignore[arg-type]
        seconds = time.perf_counter() - start
        theirs = ExportedSegmenter(Path(folder) / "out")
        differences = list(differences_of(model, theirs))
    same = [one for one in differences if one is not None]
    return {
        "model": name,
        "size": "own weights" if name == "tiny" else "small",
        "format": format,
        "dtype": "float32",
        "calls": len(differences),
        "same_words": len(same),
        "difference": float(f"{max(same):.2g}"),
        "export_s": round(seconds),
    }


def differences_of(ours: NetworkSegmenter, theirs: ExportedSegmenter) -> Iterator[float | None]:
    """Largest difference of a logit in each call, relative to the largest one; None where other words were kept."""
    stride = theirs.manifest.stride
    poolings = {protocol.pooling: protocol for protocol in ours.protocols.values()}
    for number, cells in enumerate(CELLS):
        sides = [max(stride * side, theirs.manifest.smallest + stride * (side - 6)) for side in cells]
        pixels = scene(*sides, seed=number)
        for count in COUNTS:
            vocabulary = Vocabulary(many_words(count, parts=theirs.manifest.has_parts))
            texts = [model.encode_words(vocabulary) for model in (ours, theirs)]
            for protocol in poolings.values():
                for rule in RULES if ours.selects else (None,):
                    yield difference((ours, theirs), pixels, texts, replace(protocol, selection=rule))


def many_words(count: int, *, parts: bool) -> list[str]:
    """So many different words; with `parts`, most of them are parts of others."""
    between = "'s part " if parts else " "
    return [*WORDS, *(f"{one}{between}{number}" for number in range(40) for one in WORDS)][:count]


def difference(
    models: Sequence[NetworkSegmenter | ExportedSegmenter], pixels: np.ndarray, texts: Sequence[Any], protocol: Protocol
) -> float | None:
    """The same for one call."""
    (one, kept), (other, also_kept) = (
        [None if array is None else to_numpy(array) for array in model.run(pixels, text, protocol)]
        for model, text in zip(models, texts, strict=True)
    )
    if kept is not None and not np.array_equal(kept, also_kept):  # type: ignore[arg-type]
        return None
    assert one is not None and other is not None
    return float(np.abs(one - other).max() / np.abs(one).max())


def scene(height: int, width: int, seed: int) -> np.ndarray:
    """Pixels (1 3 H W) of random patches."""
    patches = np.random.default_rng(seed).integers(0, 256, (3, -(-height // 8), -(-width // 8))).astype(np.float32)
    return patches.repeat(8, axis=1).repeat(8, axis=2)[None, :, :height, :width]


def small_model(name: str) -> NetworkSegmenter:
    """A preset in small with random weights; `tiny` with its own."""
    if name == "tiny":
        return load_network("tiny", device="cpu", dtype="float32")
    preset = PRESETS[name]
    configuration = small_configuration(preset.configuration)
    with ExitStack() as stack:
        for owner, attribute, value in SMALLER:
            stack.enter_context(patch.object(owner, attribute, value))
        torch.manual_seed(0)
        network = preset.build(configuration).requires_grad_(False).eval()
    for parameter in network.parameters():  # also of what starts at zero
        parameter.add_(0.02 * torch.randn_like(parameter))
    model = segmenter_of(name, preset, network, configuration)
    templates = model.encode_words.templates[:PROMPTS]
    model.encode_words = network.word_encoder(templates)
    return model


def small_configuration(configuration: NetworkConfig) -> NetworkConfig:
    """Towers of 4 layers and aggregations of 32 channels, with windows of 4 cells."""
    if isinstance(configuration, ClipNetworkConfig):
        encoder = configuration.encoder
        assert not isinstance(encoder, TimmEncoders)  # no preset in small; tests/exporting has theirs
        return replace(
            configuration,
            encoder=replace(encoder, vit=small_vit(encoder.vit)),
            aggregation=replace(
                configuration.aggregation, dim=32, heads=2, guidance_dim=16, window=4, decoder_sizes=SIZES
            ),
        )
    if isinstance(configuration, PartNetworkConfig):
        aggregation = replace(
            configuration.aggregation, dim=32, heads=2, guidance_dim=16, window=4, costs=PROMPTS, prompts=PROMPTS
        )
        return replace(configuration, vit=small_vit(configuration.vit), aggregation=aggregation)
    if isinstance(configuration, SynSegConfig):
        return replace(configuration, vit=small_vit(configuration.vit))
    assert isinstance(configuration, ErrSegConfig)
    return replace(
        configuration, aggregation=replace(configuration.aggregation, embed_dim=16, dim=32, heads=2, blocks=2)
    )


SIZES = DecoderSizes(taps=(24, 16), guidance=(16, 8), stages=(32, 16))


def small_vit(vit: VitConfig) -> VitConfig:
    """One of 4 layers, tapped after its first ones."""
    return replace(vit, channels=64, width=48, layers=4, heads=4, taps=tuple(range(len(vit.taps))))


def small_convnext(sizes: ConvNextClipConfig) -> ConvNextClipConfig:
    """One of a block per stage."""
    head = None if sizes.head_width is None else 64
    return replace(sizes, channels=64, widths=(16, 32, 48, 64), depths=(1, 1, 1, 1), head_width=head)


def small_text(make: Any, *given: int) -> ClipTextConfig:
    """One of 2 layers."""
    return replace(make(*given), layers=2)


SMALLER: tuple[tuple[Any, str, Any], ...] = (
    *(
        (clip_text, one, partial(small_text, getattr(clip_text, one)))
        for one in ("openai_text", "eva_text", "convnext_text")
    ),
    (convnext_clip, "convnext_base_w", lambda: BASE),
    (convnext_clip, "convnext_large_d", lambda: LARGE),
    (clip_with_dino, "DinoTokens", partial(clip_with_dino.DinoTokens, depth=2)),
)
"""What configurations of presets don't say: modules, their attributes, and what stands in for these."""

BASE, LARGE = (small_convnext(make()) for make in (convnext_clip.convnext_base_w, convnext_clip.convnext_large_d))


def real_row(name: str, format: str) -> dict[str, Any]:
    """Export a preset at its real size with random weights; the export compares by itself."""
    model = load_network(name, weights="random", device="cpu", dtype="float32")
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        found = export(model, Path(folder) / "out", format=format)  # type: ignore[arg-type]
        size = sum(path.stat().st_size for path in (Path(folder) / "out").rglob("*") if path.is_file())
    return {
        "model": name,
        "size": "real",
        "format": format,
        "dtype": "float32",
        "difference": float(f"{found.difference:.2g}"),
        "equal_labels": round(found.equal_labels, 6),
        "export_s": round(time.perf_counter() - start),
        "mb": round(size / 1e6),
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 1),
    }


def photo_rows(folder: Path, count: int) -> Iterator[dict[str, Any]]:
    """Labels of photographs by tiny in each precision, beside those of its network in float32."""
    photos = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    photos = photos[:: max(1, len(photos) // count)][:count]
    words = Vocabulary.read(PHOTO_WORDS)
    model = load_network("tiny", device="cpu", dtype="float32")
    expected = [model.segment(photo, words).labels for photo in photos]
    for dtype in ("float32", "float16", "int8"):
        with tempfile.TemporaryDirectory() as out:
            export(model, Path(out) / "out", dtype=dtype)  # type: ignore[arg-type]
            exported = ExportedSegmenter(Path(out) / "out")
            equal = [
                (exported.segment(photo, words).labels == labels).mean()
                for photo, labels in zip(photos, expected, strict=True)
            ]
        pixels = [labels.size for labels in expected]
        yield {
            "model": "tiny",
            "size": f"{len(photos)} photographs",
            "format": "onnx",
            "dtype": dtype,
            "words": len(words),
            "equal_labels": round(float(np.average(equal, weights=pixels)), 6),
            "least_equal": round(float(min(equal)), 6),
        }


if __name__ == "__main__":
    main()
