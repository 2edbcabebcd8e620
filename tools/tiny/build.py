"""The towers of tiny from the two packages, and what both commands share."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from segvoc.encoders.efficientnet import EfficientNetLite
from segvoc.encoders.minilm import MiniLM
from segvoc.layers.no_aggregation import CostSum
from tools.tiny.features import PhotoFeatures, costs, photo_features
from tools.tiny.packages import text_tower, trunk_state, write_tokenizer
from tools.tiny.photos import DATA_SETS, read_photos
from tools.tiny.scoring import calibrate
from tools.tiny.words import centre_of_names, class_embeddings, sentence_embeddings

COST_WEIGHTS = (0.8, 1.2, 0.5)
NOVELTY_WEIGHTS = (0.0, 0.0, 1.0)
"""What a wholly new word adds to the weights: only ImageNet's classes say something of it."""

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


@torch.no_grad()
def mean_probabilities(tower: EfficientNetLite, features: Sequence[PhotoFeatures]) -> Tensor:
    """ImageNet probabilities (N 1000) of an average cell of each picture."""
    classifier = tower.trunk.get_classifier()
    return torch.stack([classifier(photo.head.float()).softmax(dim=-1).mean(dim=0) for photo in features])


def centred_classes(class_embeddings: Tensor, probabilities: Tensor, share: float = 0.9) -> Tensor:
    """Class embeddings less most of what ConSE says of an average cell: else a few words are close to every cell.

    Probabilities add up to one, so this is a shift of all classes. It needs photographs, but no labels.

    Args:
        class_embeddings: of the names (1000 C).
        probabilities: `mean_probabilities` of the training pictures (N 1000).
        share: of the mean that is taken away.
    """
    return class_embeddings - share * (probabilities.mean(dim=0) @ class_embeddings)


def words_of(photos_root: Path) -> list[str]:
    """Every word of the data sets, once, in order of appearance."""
    firsts = [read_photos(photos_root, data_set)[0] for data_set in DATA_SETS]
    return list(dict.fromkeys(word for photo in firsts for word in photo.words if word is not None))


def embed(text: MiniLM, words: Sequence[str]) -> Tensor:
    """Embeddings (T C) as the model sees words: centred, unit length."""
    return torch.nn.functional.normalize(sentence_embeddings(text, words) - text.centre, dim=-1)


def read_features(tower: EfficientNetLite, root: Path, words: Sequence[str], cache: Path) -> list[PhotoFeatures]:
    """Features of all data sets."""
    photos = [photo for data_set in DATA_SETS for photo in read_photos(root, data_set)]
    return photo_features(tower, photos, words, cache)


def folds_of(photos: list[str], seed: int) -> list[set[str]]:
    """The keys of photographs in `FOLDS` random parts."""
    order = torch.randperm(len(photos), generator=torch.Generator().manual_seed(seed))
    return [{photos[i] for i in part.tolist()} for part in order.chunk(FOLDS)]


def cost_sum(familiar: Tensor, scale: float = 1.0, bias: float = 0.0) -> CostSum:
    """The sum of tiny's costs, with what it must know of the words (N C) that the projections were trained on."""
    skip = CostSum(len(COST_WEIGHTS), *familiar.shape)
    values = {"weight": scale * torch.tensor(COST_WEIGHTS), "novelty_weight": scale * torch.tensor(NOVELTY_WEIGHTS)}
    skip.load_state_dict(values | {"bias": torch.tensor(bias), "familiar": familiar})
    return skip


def logits(tower: EfficientNetLite, skip: CostSum, photo: PhotoFeatures, text: Tensor) -> Tensor:
    """Logits (T h w) of a photograph for words of the embeddings `text` (T C)."""
    return skip(costs(tower, photo, text)[None], text[None, :, None])[0]


@torch.inference_mode()
def _calibration_pairs(
    tower: EfficientNetLite,
    skip: CostSum,
    photo: PhotoFeatures,
    text: Tensor,
    columns: Tensor,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Logits and targets of the words in a photograph and of as many random others: a usual choice of words."""
    share = photo.targets[:, columns].float() / 255
    present = (share.sum(dim=0) > 2).nonzero()[:, 0]
    absent = (share.sum(dim=0) == 0).nonzero()[:, 0]
    absent = absent[torch.randperm(len(absent), generator=generator)[: len(present)]]
    chosen = torch.cat([present, absent])
    values = logits(tower, skip, photo, text[columns[chosen]]).flatten(1).T
    labelled = photo.targets.sum(dim=1, dtype=torch.int32) > 128
    return values[labelled].flatten(), share[labelled][:, chosen].flatten().clamp(max=1)


def calibrated(
    tower: EfficientNetLite,
    skip: CostSum,
    held_out: Sequence[PhotoFeatures],
    text: Tensor,
    columns: Sequence[int],
    seed: int,
) -> tuple[float, float]:
    """Scale and bias of the logits from photographs that the projections have not seen.

    Args:
        tower: with projections fitted on other photographs.
        skip: the sum of its costs, not calibrated.
        held_out: labelled photographs.
        text: embeddings of the words that the targets count.
        columns: the words of the benchmark among them.
        seed: of the choice of absent words.
    """
    generator = torch.Generator().manual_seed(seed)
    pairs = [_calibration_pairs(tower, skip, photo, text, torch.tensor(columns), generator) for photo in held_out]
    return calibrate(torch.cat([values for values, _ in pairs]), torch.cat([target for _, target in pairs]))
