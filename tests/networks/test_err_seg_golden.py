"""ERR-Seg's head at real size, stage by stage against the official code."""

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from segvoc.layers.aggregation import cost_volume
from segvoc.layers.aggregation_context import AggregationContext
from segvoc.layers.class_selection import scatter_to_all
from segvoc.layers.selection_rules import Voted
from segvoc.networks.err_seg import ErrAggregation, ErrAggregationConfig, err_head_state, err_seg_name
from segvoc.training.objectives import GroundTruthFirst, released_segmentation_loss
from tests.golden_sets import ERR_FOLDER, TOLERANCE, err_case, err_record
from tests.networks.golden_stages import gradient, record

pytestmark = pytest.mark.golden


@pytest.fixture(scope="module")
def case(golden):
    return err_case(golden, "err_decoder_B_io")


def filled(golden, **options) -> ErrAggregation:
    module = ErrAggregation(ErrAggregationConfig(**options), 640, (1024, 512, 256, 128))
    weights = load_file(golden / ERR_FOLDER / "err_decoder_B_weights_fp16.safetensors")
    official = {name.removeprefix("decoder."): value.float() for name, value in weights.items()}
    module.load_state_dict(err_head_state(official, module))
    return module


@pytest.fixture(scope="module")
def head(golden):
    return filled(golden).eval()


def inputs(case) -> tuple[list[Tensor], Tensor, list[Tensor]]:
    tensors = {name: value.float() for name, value in case.tensors.items() if value.is_floating_point()}
    maps = [tensors["in.feat_os16"], tensors["in.feat_os32"]]
    taps = [tensors[f"in.guid_os{stride}"] for stride in (32, 16, 8, 4)]
    return maps, tensors["in.text"], [maps[0], *taps]


@pytest.fixture(scope="module")
def stages(case, head):
    """What each stage gives in one pass with 12 of 20 classes, by the goldens' names."""
    seen: dict[str, Tensor] = {}
    hooked = {
        "low_corr_fusion": head.merge_costs,
        "low_img_fusion": head.merge_guidance,
        "text_guidance": head.text_guidance,
        "aggregator_layers.0.spatial_fusion": head.blocks[0].spatial,
        "aggregator_layers.0": head.blocks[0],
        "aggregator_layers.3": head.blocks[3],
        "up_decoder1": head.decoder.stages[0],
        "head": head.decoder.head,
    }
    for name, part in hooked.items():
        record(part, seen, name)
    maps, text, guidance = inputs(case)
    with torch.no_grad():
        logits, kept = head(maps, text, guidance, AggregationContext((2, 2), Voted(12), 12))
    for part in hooked.values():
        part._forward_hooks.clear()
    seen["aggregator_layers.0.class_fusion"] = seen["aggregator_layers.0"]
    for name in seen:
        if name.endswith("_fusion") and "layers" in name:
            seen[name] = seen[name].permute(0, 1, 4, 2, 3).flatten(0, 1)
        elif "layers" in name:
            seen[name] = seen[name].permute(0, 4, 1, 2, 3)
    costs = {name: cost_volume(image, text) for name, image in zip(("S3", "S4"), maps, strict=True)}
    words = {"text_guidance_projection": F.gelu(seen["text_guidance"])}
    return seen | costs | words | {"logits": logits, "kept": kept}


def test_kept_classes_are_the_official_ones(case, stages):
    assert case.agreement("mid.kept_eval", stages["kept"], case.tensors["mid.kept_eval"]) == 1


STAGES = ["S3", "S4", "low_corr_fusion", "low_img_fusion", "text_guidance_projection", "up_decoder1", "head"]
BLOCKS = [f"aggregator_layers.{name}" for name in ("0.spatial_fusion", "0.class_fusion", "0", "3")]


@pytest.mark.parametrize("stage", STAGES + BLOCKS)
def test_stage(case, stages, stage):
    stored, ours = case.tensors[f"mid.{stage}"], stages[stage]
    if stored.dtype == torch.float16:  # rounded to half on storing: half a unit in the last place of the largest value
        assert ((ours - stored.float()).abs() <= 1e-4 * stored.abs().max() + 2**-11 * stored.float().abs()).all()
    else:
        assert case.error(f"mid.{stage}", ours) <= TOLERANCE


def test_logits(case, stages):
    assert case.error("out.logits_eval", scatter_to_all(stages["logits"], stages["kept"], 20)) <= TOLERANCE


@pytest.mark.parametrize("chunk", [20, 3])
def test_logits_of_all_classes(case, head, chunk):
    maps, text, guidance = inputs(case)
    with torch.no_grad():
        logits, kept = head(maps, text, guidance, AggregationContext((2, 2), None, chunk))
    assert kept is None
    assert case.error("out.logits_noreduction", logits) <= TOLERANCE


@pytest.fixture(scope="module")
def step(case, golden):
    """The head, its inputs, kept classes, logits and loss after one backward pass, drop path off.

    In float64: in float32 rounding flips single ReLUs, by the number of threads, and moves gradients by up to 5e-4.
    """
    module = filled(golden, drop_path=0.0).train().double()
    maps, text, guidance = inputs(case)
    maps, guidance, text = [x.double() for x in maps], [x.double() for x in guidance], text.double()
    leaves = {"feat_os16": maps[0], "feat_os32": maps[1], "text": text, "guid_os16_is_agg_only": guidance[2]}
    for leaf in leaves.values():
        leaf.requires_grad_(True)
    labels = case.tensors["in.targets"]
    selection = GroundTruthFirst(labels, Voted(12), fill="released")
    logits, kept = module(maps, text, [maps[0].detach(), *guidance[1:]], AggregationContext((2, 2), selection, 12))
    logits = scatter_to_all(logits, kept, 20)
    loss = released_segmentation_loss(logits, labels)
    loss.backward()
    return module, leaves, kept, logits.detach(), loss.detach()


def test_training_keeps_labeled_classes_and_gives_the_official_logits_and_loss(case, step):
    assert case.agreement("mid.kept_train", step[2], case.tensors["mid.kept_train"].sort(dim=1).values) == 1
    assert case.error("out.logits_train", step[3]) <= TOLERANCE
    assert case.error("out.loss", step[4][None]) <= TOLERANCE


def test_gradients_of_inputs_and_parameters_and_the_norms_of_all(golden, case, step):
    for name, leaf in step[1].items():
        assert case.error(f"grad.{name}", leaf.grad) <= TOLERANCE, name
    stored = [name.removeprefix("grad.param.") for name in case.tensors if name.startswith("grad.param.")]
    assert len(stored) == 5
    for name in stored:
        assert case.error(f"grad.param.{name}", gradient(step[0], err_seg_name(name))) <= TOLERANCE, name
    norms = err_record(golden, "err_decoder_B_meta")["grad_norms"]
    for name, norm in norms.items():
        ours = gradient(step[0], err_seg_name(name.removeprefix("decoder."))).norm().item()
        assert ours == pytest.approx(norm, rel=5e-4, abs=1e-7), name
