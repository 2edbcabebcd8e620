"""Embeddings of words: of the data sets' classes, and of the ImageNet class names that ConSE mixes."""

from collections.abc import Sequence

import torch
from timm.data.imagenet_info import ImageNetInfo
from torch import Tensor
from torch.nn import functional

from segvoc.encoders.efficientnet import IMAGENET_CLASSES
from segvoc.encoders.minilm import MiniLM

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


def center_of_names(text: MiniLM) -> Tensor:
    """Mean embedding (C) of all ImageNet names: what any name of a thing has in common."""
    return sentence_embeddings(text, [name for names in imagenet_names() for name in names]).mean(dim=0)


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
