"""Makes the goldens of Hugging Face's transformers, which the project doesn't depend on: tests/golden/transformers.*.

Usage: PYTHONPATH=src:. python -m tests.golden.make_transformers FOLDER_4 FOLDER_5. Each folder is an installation of
transformers (`pip install --target FOLDER_4 "transformers<5"`). Both fill small CLIPSeg, CLIP, SigLIP and DINOv2
networks with weights made by the rule of `tests/golden_sets.py` from the names in the files that they write. What is
kept: those names and their shapes, the names of weights in memory that differ, those of some published models, and
some values of the outputs.
"""

import json
import math
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from segvoc.encoders.base import normalized_pixels
from segvoc.encoders.clip_text import ClipTextEncoder, openai_text
from tests.golden_sets import COMPACT, golden_parameter
from tests.transformers_models import (
    CLIP_IMAGES,
    CLIPSEG_IMAGES,
    DINO_IMAGES,
    PHOTOGRAPHS,
    PHRASES,
    SIGLIP_TOKENS,
    STATISTICS,
)

VALUES = 300
"""About so many values of an output are kept."""

ROOT = Path(__file__).resolve().parents[2]
_VISION = {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 4, "num_attention_heads": 2}
_TEXT = _VISION | {"num_hidden_layers": 2}
_CLIP = {"text_config": _TEXT, "vision_config": _VISION | {"image_size": 64, "patch_size": 16}, "projection_dim": 32}
_DECODER = {"extract_layers": [0, 1, 2], "reduce_dim": 16, "decoder_num_attention_heads": 2}
_SEG = _CLIP | _DECODER | {"decoder_intermediate_size": 24}
_DINO = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 56}
_SIGLIP_TEXT = _TEXT | {"vocab_size": 300, "max_position_embeddings": 32, "projection_size": 64}
_SIGLIP = {"vision_config": _VISION | {"num_hidden_layers": 3, "image_size": 64}, "text_config": _SIGLIP_TEXT}
_LARGE_TEXT = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12}
_LARGE_VISION = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}


def main(folders: list[str]) -> None:
    """Run both versions, check that their files have the same names, and write the goldens."""
    runs = [_run(folder) for folder in folders]
    (old, tensors), (new, more) = runs
    assert old["files"] == new["files"] and not old["memory"] and old["full"]["clip"] == new["full"]["clip"]
    record = {"versions": [old["version"], new["version"]], "memory": new["memory"]}
    record |= {"files": old["files"], "full": old["full"], "tensors": old["tensors"] | new["tensors"]}
    save_file(tensors | more, COMPACT / "transformers.safetensors")
    (COMPACT / "transformers.json").write_text(json.dumps(record, separators=(",", ":")) + "\n")


def _run(folder: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """This script in a process of its own, with one installation of transformers."""
    with tempfile.TemporaryDirectory() as out:
        path = os.pathsep.join([str(Path(folder).resolve()), str(ROOT / "src"), str(ROOT)])
        subprocess.run([sys.executable, __file__, "--one", out], check=True, env=os.environ | {"PYTHONPATH": path})
        return json.loads(Path(out, "record.json").read_text()), load_file(Path(out, "outputs.safetensors"))


def one_version(out: Path) -> None:
    """Names and outputs of the transformers that can be imported here."""
    import transformers as tf  # pyright: ignore[reportMissingImports]

    torch.manual_seed(0)
    record: dict[str, Any] = {"version": tf.__version__, "files": {}, "memory": {}, "full": {}, "tensors": {}}
    outputs: dict[str, Tensor] = {}

    def case(name: str, model: Any, run: Callable[[Any], dict[str, Tensor]]) -> None:
        shapes, memory, filled = _filled(model)
        record["files"][name] = _grouped(shapes)
        if memory:
            record["memory"][name] = memory
        with torch.no_grad():
            for stage, value in run(filled).items():
                step = _step_for(value.numel())
                key = f"{tf.__version__}.{name}.{stage}"
                outputs[key] = value.flatten()[::step].clone()
                record["tensors"][key] = {"shape": list(value.shape), "step": step}

    tokens = ClipTextEncoder(openai_text(64)).tokenize(PHRASES).long()
    for head, refined in (("plain", False), ("refined", True)):
        config = tf.CLIPSegConfig(**_SEG, use_complex_transposed_convolution=refined)
        case(f"clipseg_{head}", tf.CLIPSegForImageSegmentation(config), lambda model: _segmented(tf, model, tokens))
    case("clip", tf.CLIPModel(tf.CLIPConfig(**_CLIP)), lambda model: _embedded(model, tokens))
    case("siglip", tf.SiglipModel(tf.SiglipConfig(**_SIGLIP)), _compared)
    case("dinov2", tf.Dinov2Model(tf.Dinov2Config(**_DINO)), _tokens)
    classified = tf.Dinov2ForImageClassification(tf.Dinov2Config(**_DINO, num_labels=5))
    record["files"]["dinov2_classifier"] = _grouped(_filled(classified)[0])
    record["full"] = _published(tf)
    save_file(outputs, out / "outputs.safetensors")
    (out / "record.json").write_text(json.dumps(record))


def _filled(model: Any) -> tuple[dict[str, list[int]], dict[str, str], Any]:
    """Names and shapes in the model's file, names in memory that differ from them, and the model filled by the rule."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        file = Path(folder, "model.safetensors")
        with safe_open(file, framework="pt") as content:
            shapes = {name: content.get_slice(name).get_shape() for name in content.keys()}
        weights = {name: golden_parameter(name, tuple(shape)) for name, shape in shapes.items()}
        save_file(weights, file, {"format": "pt"})
        filled = type(model).from_pretrained(folder).eval()
    memory = {}
    for name, value in filled.state_dict().items():
        same = [theirs for theirs, x in weights.items() if x.shape == value.shape and torch.equal(x, value)]
        assert name in same or len(same) == 1, f"{name} is in the file as {same}"
        if name not in same:
            memory[re.sub(r"\.\d+\.", ".*.", name)] = re.sub(r"\.\d+\.", ".*.", same[0])
    return shapes, memory, filled


def _step_for(size: int) -> int:
    """A stride that leaves about `VALUES` and walks through every axis: no factor in common with the size."""
    step = max(1, size // VALUES)
    while math.gcd(step, size) > 1:
        step += 1
    return step


def _segmented(tf: Any, model: Any, tokens: Tensor) -> dict[str, Tensor]:
    """Logits of images that are given as they are, and of photographs that the published processor prepares."""
    mean, std = STATISTICS["imagenet"]
    size = {"height": 352, "width": 352}
    # version 5 resizes with torchvision unless asked for Pillow's way, which rounds otherwise
    processor = getattr(tf, "ViTImageProcessorPil", None) or tf.ViTImageProcessor
    prepare = processor(size=size, resample=2, image_mean=list(mean), image_std=list(std))
    prepared = prepare(images=[Image.fromarray(image) for image in PHOTOGRAPHS], return_tensors="pt")["pixel_values"]
    given = normalized_pixels(CLIPSEG_IMAGES, STATISTICS["openai"])
    return {"logits": _logits(model, given, tokens), "photographs": _logits(model, prepared, tokens)}


def _logits(model: Any, pixels: Tensor, tokens: Tensor) -> Tensor:
    images, words = len(pixels), len(tokens)
    done = model(
        pixel_values=pixels.repeat_interleave(words, 0),
        input_ids=tokens.repeat(images, 1),
        interpolate_pos_encoding=True,
    )
    return done.logits.unflatten(0, (images, words))


def _embedded(model: Any, tokens: Tensor) -> dict[str, Tensor]:
    done = model(pixel_values=normalized_pixels(CLIP_IMAGES, STATISTICS["openai"]), input_ids=tokens)
    state = done.vision_model_output.last_hidden_state
    return {"last_hidden_state": state, "image_embeds": done.image_embeds, "text_embeds": done.text_embeds}


def _compared(model: Any) -> dict[str, Tensor]:
    done = model(pixel_values=normalized_pixels(CLIP_IMAGES, STATISTICS["siglip"]), input_ids=SIGLIP_TOKENS)
    state = done.vision_model_output.last_hidden_state
    return {"last_hidden_state": state, "image_embeds": done.image_embeds, "text_embeds": done.text_embeds}


def _tokens(model: Any) -> dict[str, Tensor]:
    return {
        "tokens": model(pixel_values=normalized_pixels(DINO_IMAGES, STATISTICS["imagenet"])).last_hidden_state[:, 1:]
    }


def _published(tf: Any) -> dict[str, dict[str, list[Any]]]:
    """Names and shapes of models of published sizes, which take no memory here."""
    base, large = {"patch_size": 16}, {"patch_size": 14, "image_size": 336}
    with torch.device("meta"):
        seg = tf.CLIPSegForImageSegmentation(tf.CLIPSegConfig(vision_config=base))
        refined = tf.CLIPSegForImageSegmentation(
            tf.CLIPSegConfig(vision_config=base, use_complex_transposed_convolution=True)
        )
        clip = tf.CLIPModel(tf.CLIPConfig(vision_config=base))
        clip_l = tf.CLIPModel(
            tf.CLIPConfig(text_config=_LARGE_TEXT, vision_config=_LARGE_VISION | large, projection_dim=768)
        )
        dino = tf.Dinov2Model(tf.Dinov2Config(hidden_size=384, num_attention_heads=6, image_size=518))
    named = {"clipseg_plain": seg, "clipseg_refined": refined, "clip": clip, "clip_l": clip_l, "dinov2": dino}
    return {
        name: _grouped({key: list(value.shape) for key, value in model.state_dict().items()})
        for name, model in named.items()
    }


def _grouped(shapes: dict[str, list[int]]) -> dict[str, list[Any]]:
    """One entry for the equal layers of a stack: how many there are, and the shape."""
    grouped: dict[str, list[Any]] = {}
    for name, shape in shapes.items():
        count, same = grouped.get(key := re.sub(r"\b(layers?|reduces)\.\d+\.", r"\1.*.", name), (0, shape))
        assert same == shape
        grouped[key] = [count + 1, shape]
    return grouped


if __name__ == "__main__":
    one_version(Path(sys.argv[2])) if sys.argv[1] == "--one" else main(sys.argv[1:])
