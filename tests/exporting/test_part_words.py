"""Words of part networks as inputs of a program: their logits are those of the network."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from segvoc.encoders.prompts import PartWordEncoder
from segvoc.encoders.vocabulary_encoder import VocabularyEncoder
from segvoc.exporting.programs import PartProgram
from segvoc.inference.exported.segmenter import part_inputs
from segvoc.networks.part_cat_seg import PART_CAT_SEG
from segvoc.vocabulary import Vocabulary
from tests.networks.contract import make_image
from tests.networks.test_part_cat_seg import small


@pytest.mark.parametrize(
    "words",
    [
        ["dog's head", "dog's leg", "cat", "cat's head", "sofa"],
        ["none", "dog's head", "dog's leg"],
        ["none", "dog's head", "dog"],
        ["none", "dog", "cat"],
        ["dog", "cat"],
    ],
)
def test_the_program_answers_as_the_network(words: list[str]) -> None:
    torch.manual_seed(0)
    network, image = small(PART_CAT_SEG).eval(), make_image(1, 64, 96)
    encode = PartWordEncoder(VocabularyEncoder(network.text_encoder, ("a {}", "the {}")))
    text = encode(Vocabulary(words), none="none" if "none" in words else None)
    arrays = {field.name: getattr(text, field.name) for field in fields(text)}
    arrays = {name: value.numpy() for name, value in arrays.items() if isinstance(value, torch.Tensor)}
    inputs = {name: torch.from_numpy(np.asarray(value)) for name, value in part_inputs(replace(text, **arrays)).items()}
    with torch.no_grad():
        features = network.encoded(image).named()
        logits = PartProgram(network, (2, 2))(features | inputs)["logits"]
        torch.testing.assert_close(logits, network(image, text, pooling=(2, 2)), rtol=0, atol=1e-5)
