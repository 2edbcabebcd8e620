"""Make the shipped weights of tiny: towers from the two packages, the rest trained on the photographs.

    python -m tools.tiny.make_tiny --photos ../shared/data/photos --scores cross_validation.json

`--scores` is what `cross_validate --out` wrote: the calibration of the logits and the figures of the record come from
photographs that the models had not seen. The same photographs, seed and machine give the same bytes.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path

import torch
from torch import Tensor, nn

from segvoc.checkpoints.files import pack_int8_rows, write_weights
from segvoc.models.headers import configuration_record
from segvoc.networks.tiny import TinyConfig
from tools.shipped_networks import write_record
from tools.tiny.model import SHIPPED, Model, train
from tools.tiny.photos import Folders, command
from tools.tiny.quantize import pack_text_tower
from tools.tiny.refinement import AGGREGATION, rescale
from tools.tiny.towers import imagenet_names, read_training_data, write_tokenizer

WEIGHTS = Path("src/segvoc/weights")


def _on_cpu(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.cpu() for name, value in module.state_dict().items()}


def _prefixed(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": value for name, value in state.items()}


def packed(model: Model, scale: float, bias: float) -> dict[str, Tensor]:
    """Weights of all but the text tower, as they ship; calibrates the model in place."""
    rescale(model.aggregation, scale, scale, bias)
    tower = model.data.tower
    model.projections.write_to(tower, 0)
    # depthwise kernels are few numbers whose rows are whole filters: fp16 costs 0.1 MB
    depthwise = [name for name in tower.state_dict() if "conv_dw" in name or "conv_stem" in name]
    image = _prefixed(pack_int8_rows(_on_cpu(tower), keep_fp16=depthwise), "image_encoder")
    of_words = ("skip.familiar", "synthesized.anchors")
    small = [name for name in model.aggregation.state_dict() if name not in of_words]
    return image | _prefixed(pack_int8_rows(_on_cpu(model.aggregation), keep_fp16=small), "aggregation")


def main() -> None:
    """Parse the command line, train, write the weights and their record."""
    parser = command(__doc__, Path("build/tiny"))
    parser.add_argument("--scores", type=Path, required=True, help="JSON file of cross_validate --out")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    arguments = parser.parse_args()
    figures = json.loads(arguments.scores.read_text())
    scale, bias = figures.pop("scale"), figures.pop("bias")
    arguments.out.mkdir(parents=True, exist_ok=True)
    data, text = read_training_data(Folders.of(arguments), arguments.cache)
    everything = torch.ones(len(data.features.photos), dtype=torch.bool, device=data.features.device)
    model = train(data, everything, data.known(), SHIPPED)
    familiar = model.aggregation.get_submodule("skip").get_buffer("familiar")
    configuration = TinyConfig(aggregation=replace(AGGREGATION, familiar_words=len(familiar)))
    write_weights(
        arguments.out / "tiny.safetensors",
        packed(model, scale, bias),
        "tiny",
        **configuration_record(configuration),
    )
    names = [name for names in imagenet_names() for name in names]
    write_weights(
        arguments.out / "minilm_l6.safetensors", _prefixed(pack_text_tower(text, names), "text_encoder"), "tiny"
    )
    write_tokenizer(arguments.out / "minilm_l6_tokenizer.json")
    files = ("tiny.safetensors", "minilm_l6.safetensors", "minilm_l6_tokenizer.json")
    # whoever adds a data set adds its line to the record that ships
    origin = json.loads((WEIGHTS / "tiny.json").read_text(encoding="utf-8"))["origin"]
    today = date.today().isoformat()
    write_record("tiny", today, [arguments.out / name for name in files], origin, scores=figures)


if __name__ == "__main__":
    main()
