"""PartCATSeg's aggregation at its real channels, stage by stage against the official code; its losses are in
tests/training/test_part_losses.py."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from segvoc.checkpoints.official_cost_aggregation import part_aggregation_state
from segvoc.encoders.prompts import PartNames
from segvoc.layers.aggregation_context import AggregationContext
from segvoc.networks.part_cat_seg import PART_CAT_SEG, Level, PartAggregation, PartWords
from tests.err_goldens import err_case
from tests.golden_sets import TOLERANCE, GoldenCase

pytestmark = pytest.mark.golden

NAMES = ["cat's tail", "cat's head", "dog's tail", "dog's head", "dog's ear", "bus's wheel", "car's wheel"]
PARTS = 4


class GoldenAggregation(PartAggregation):
    """The stored inputs have a vector for none of its own for every prompt and level."""

    nones: list[Tensor]

    def _with_none(self, text, image):
        return torch.cat((text, self.nones[len(text) == len(NAMES)])).expand(len(image), -1, -1, -1)


@cache
def stages(folder: Path, chunk: int) -> tuple[GoldenCase, Level, Level]:
    case = err_case(folder, "part_aggregator_io")
    stored = case.tensors
    weights = load_file(folder / "err_part_syn" / "part_aggregator_weights_fp16.safetensors")
    config = replace(PART_CAT_SEG, costs=8, prompts=8, window=4)
    module = GoldenAggregation(config, 512, (384, 384)).eval()
    official = {name: value.float() for name, value in weights.items()}
    module.load_state_dict(part_aggregation_state(official, module))
    general, specific = stored["in.text_part_obj"][0], stored["in.text_specific"][0]
    module.nones = [general[-1:], specific[-1:]]
    words = PartWords(
        general=general[:-1],
        specific=specific[:-1],
        part_of=stored["in.part_index"],
        object_of=PARTS + stored["in.obj_index"],
        places=torch.arange(PARTS, PARTS + len(NAMES)),
        parts=PARTS,
        names_objects=False,
    )
    guidance = [stored[f"in.vis{number}"] for number in range(3)]
    with torch.no_grad():
        first, second = module.levels([stored["in.img"]], words, guidance, AggregationContext((2, 2), None, chunk))
    assert second is not None
    return case, first, second


@pytest.mark.parametrize("chunk", [99, 3])
@pytest.mark.parametrize("stage", ["part_obj_cost", "part_obj_logit", "specific_part_cost", "specific_logit"])
def test_a_stage(golden, stage, chunk):
    case, first, second = stages(golden, chunk)
    level = first if stage.startswith("part") else second
    ours = level.cost if stage.endswith("cost") else level.logits
    assert case.error(f"out.{stage}", ours) <= TOLERANCE


def test_names_are_sorted_as_the_released_code_does(golden):
    stored = stages(golden, 99)[0].tensors
    names = PartNames.of(NAMES)
    assert names.parts == ("ear", "head", "tail", "wheel") and names.objects == ("bus", "car", "cat", "dog")
    assert list(names.part_of) == stored["in.part_index"].tolist()
    assert list(names.object_of) == stored["in.obj_index"].tolist()
