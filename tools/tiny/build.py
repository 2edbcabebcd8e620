"""The towers of tiny, from the two packages or as they ship, and what both commands share."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from segvoc.checkpoints.files import read_weights
from segvoc.encoders.efficientnet import EfficientNetLite
from segvoc.encoders.minilm import MiniLM
from segvoc.models.presets import WEIGHTS
from tools.tiny.features import read_features
from tools.tiny.packages import text_tower, trunk_state, write_tokenizer
from tools.tiny.photos import DATA_SETS, Photo, read_photos
from tools.tiny.trained import Material
from tools.tiny.words import centre_of_names, class_embeddings, sentence_embeddings

FOLDS = 5


def build_text_tower(tokenizer_file: Path) -> MiniLM:
    """The sentence encoder, centred on the ImageNet names; its tokenizer is written to `tokenizer_file`."""
    write_tokenizer(tokenizer_file)
    text = text_tower(tokenizer_file)
    text.centre.copy_(centre_of_names(text))
    return text


def build_image_tower(text: MiniLM) -> EfficientNetLite:
    """The trunk with the embeddings of its classes; the projections are still untrained."""
    tower = EfficientNetLite()
    tower.trunk.load_state_dict(trunk_state())
    tower.class_embeddings.copy_(class_embeddings(text))
    return tower.eval()


def shipped_towers() -> tuple[MiniLM, EfficientNetLite]:
    """Both towers as they ship, to train what stands on them anew where the two packages can't be had."""
    text, image = MiniLM(), EfficientNetLite()
    state = read_weights(WEIGHTS / "minilm_l6.safetensors").tensors
    text.load_state_dict({name.removeprefix("text_encoder."): value for name, value in state.items()})
    state = read_weights(WEIGHTS / "tiny.safetensors").tensors
    image.load_state_dict(
        {name.removeprefix("image_encoder."): v for name, v in state.items() if name.startswith("image_encoder.")}
    )
    image.class_embeddings.copy_(class_embeddings(text))
    return text.eval(), image.eval()


def words_of(photos_root: Path) -> list[str]:
    """Every word of the data sets, once, in order of appearance."""
    firsts = [read_photos(photos_root, data_set)[0] for data_set in DATA_SETS]
    return list(dict.fromkeys(word for photo in firsts for word in photo.words if word is not None))


def embed(text: MiniLM, words: Sequence[str]) -> Tensor:
    """Embeddings (T C) as the model sees words: centred, unit length."""
    return torch.nn.functional.normalize(sentence_embeddings(text, words) - text.centre, dim=-1)


def photos_of(root: Path) -> list[Photo]:
    """The photographs of all data sets."""
    return [photo for data_set in DATA_SETS for photo in read_photos(root, data_set)]


def folds_of(photos: list[str], seed: int) -> list[set[str]]:
    """The keys of photographs in `FOLDS` random parts."""
    order = torch.randperm(len(photos), generator=torch.Generator().manual_seed(seed))
    return [{photos[i] for i in part.tolist()} for part in order.chunk(FOLDS)]


def read_material(root: Path, shipped: bool) -> tuple[Material, MiniLM]:
    """What models are trained on, on a GPU if there is one, and the text tower."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_float32_matmul_precision("high")
    if shipped:
        text, tower = shipped_towers()
    else:
        with TemporaryDirectory() as work:
            text = build_text_tower(Path(work) / "tokenizer.json")
        tower = build_image_tower(text)
    words = words_of(root)
    embedded = embed(text, words).clone().to(device)  # no tensor of inference mode: losses are computed with it
    tower.requires_grad_(False).to(device)
    features = read_features(tower, photos_of(root), words, seed=0)
    return Material(tower=tower, words=words, text=embedded, features=features), text
