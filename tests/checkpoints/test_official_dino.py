"""DINOv2 as Meta, timm and transformers name its weights, into our tower."""

import pytest
import torch
from torch import Tensor

from segvoc.checkpoints.official_towers import dino_state
from segvoc.encoders.clip_with_dino import DinoTokens
from tests.golden_sets import TOLERANCE
from tests.transformers_models import (
    DINO_IMAGES,
    VERSIONS,
    in_memory,
    shapes_of,
    small_dino,
    transformers_case,
    weights_of,
)


@pytest.fixture(scope="module")
def files() -> dict[str, dict[str, Tensor]]:
    """The same weights in every form."""
    file = weights_of("dinov2")
    classifier = {"classifier.weight": torch.zeros(5, 64), "classifier.bias": torch.zeros(5)}
    classified = {f"dinov2.{name}": value for name, value in file.items()} | classifier
    assert {name: value.shape for name, value in classified.items()} == shapes_of("files", "dinov2_classifier")
    timms = dino_state(file, small_dino())
    ours = {name.removeprefix("tower."): value for name, value in timms.items()}
    return {
        "transformers' file": file,
        "transformers' classifier": classified,
        "version 5 in memory": in_memory(file, "dinov2"),
        "Meta": ours | {"mask_token": file["embeddings.mask_token"]},
        "timm": ours,
    }


FORMS = ("transformers' file", "transformers' classifier", "version 5 in memory", "Meta", "timm")


@pytest.mark.parametrize("form", FORMS)
def test_tokens_are_those_of_transformers(files, form):
    dino = small_dino()
    dino.load_state_dict(dino_state(files[form], dino))
    with torch.no_grad():
        tokens = dino(DINO_IMAGES).flatten(2).mT
    for version in VERSIONS:
        assert transformers_case().error(f"{version}.dinov2.tokens", tokens) <= TOLERANCE


def test_every_name_and_shape_of_the_published_size_fits():
    with torch.device("meta"):
        dino = DinoTokens()
        official = {name: torch.empty(shape) for name, shape in shapes_of("full", "dinov2").items()}
    state = dino_state(official, dino)
    assert {name: x.shape for name, x in state.items()} == {name: x.shape for name, x in dino.state_dict().items()}
