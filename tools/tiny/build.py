"""The towers of tiny, from the two packages, and what both commands share."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from segvoc.encoders.efficientnet import EfficientNetLite
from segvoc.encoders.minilm import MiniLM
from segvoc.runtime.process_settings import keep_freed_memory
from tools.tiny.features import TrainingData, read_features
from tools.tiny.packages import text_tower, trunk_state, write_tokenizer
from tools.tiny.photos import DATA_SETS, Folders, Photo, read_photos
from tools.tiny.words import center_of_names, class_embeddings, sentence_embeddings


def build_text_tower(tokenizer_file: Path) -> MiniLM:
    """The sentence encoder, centered on the ImageNet names; its tokenizer is written to `tokenizer_file`."""
    write_tokenizer(tokenizer_file)
    text = text_tower(tokenizer_file)
    text.center.copy_(center_of_names(text))
    return text


def build_image_tower(text: MiniLM) -> EfficientNetLite:
    """The trunk with the embeddings of its classes; the projections are still untrained."""
    tower = EfficientNetLite()
    tower.trunk.load_state_dict(trunk_state())
    tower.class_embeddings.copy_(class_embeddings(text))
    return tower.eval()


def words_of(photos: Sequence[Photo]) -> list[str]:
    """Every word of the data sets, once, in order of appearance."""
    return list(dict.fromkeys(word for photo in photos for word in photo.words if word is not None))


def embed(text: MiniLM, words: Sequence[str]) -> Tensor:
    """Embeddings (T C) as the model sees words: centered, unit length."""
    return torch.nn.functional.normalize(sentence_embeddings(text, words) - text.center, dim=-1)


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
    tower = build_image_tower(text)
    photos = photos_of(folders)
    words = words_of(photos)
    embedded = embed(text, words).clone().to(device)  # no tensor of inference mode: losses are computed with it
    tower.requires_grad_(False).to(device)
    features = read_features(tower, photos, words, cache)
    return TrainingData(tower=tower, words=words, text=embedded, features=features, cache=cache), text
