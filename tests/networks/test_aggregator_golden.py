"""The aggregators of CAT-Seg and PCA-Seg at real size, stage by stage against the official code."""

import pytest
import torch
from safetensors.torch import load_file

from segvoc.networks.official_weights import aggregator_name
from tests.golden_rules import golden_input
from tests.golden_sets import GRADIENT_TOLERANCE, TOLERANCE, GoldenCase, cases_of, compact_case, full_case
from tests.networks.golden_stages import (
    FAMILIES,
    VARIANTS,
    aggregator_gradient,
    aggregator_inputs,
    aggregator_stages,
    aggregator_training,
    aggregator_variant,
    released_value,
)

pytestmark = pytest.mark.golden

COMMON = ["conv1", "guidance_projection", "text_guidance_projection", "layer0", "layer1", "decoder1", "head", "logits"]
STAGES = {"cat": [*COMMON, "layer0.swin.block_1", *FAMILIES["cat"].streams], "pca": [*COMMON, *FAMILIES["pca"].streams]}


training_step = pytest.mark.slow
"""In float64 it takes a minute; `test_network_golden.py` compares that of tiny networks of the same layers."""


def each(names: dict[str, list[str]]) -> list[tuple[str, str]]:
    return [(family, name) for family, several in names.items() for name in several]


@pytest.fixture(scope="module", params=["compact", "full"])
def of(request):
    """The aggregator's case of a family, of either set."""
    return cases_of(request, lambda family: FAMILIES[family].aggregator)


@pytest.mark.parametrize(("family", "stage"), each(STAGES))
def test_evaluation(of, family, stage):
    assert of(family).error(f"eval.{stage}", aggregator_stages(family)[f"eval.{stage}"]) <= TOLERANCE


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "variant", [pytest.param(one, marks=pytest.mark.slow if one.startswith("c300") else ()) for one in VARIANTS]
)
def test_variant(of, family, variant):
    assert of(family).error(variant, aggregator_variant(family, variant)) <= TOLERANCE


@pytest.mark.parametrize("family", FAMILIES)
def test_classes_in_chunks(of, family):
    assert of(family).error("eval.logits", aggregator_variant(family, "eval.logits in chunks")) <= TOLERANCE


@training_step
@pytest.mark.parametrize("family", FAMILIES)
def test_training_logits_and_loss(of, family):
    _, logits, fod, _ = aggregator_training(family)
    assert of(family).error("train.logits", logits) <= TOLERANCE
    loss = logits.square().mean() + (1000 * fod if family == "pca" else 0)
    assert of(family).scalar_error("train_loss", loss.item()) <= TOLERANCE


@training_step
def test_orthogonality(of):
    case, (_, _, fod, cosines) = of("pca"), aggregator_training("pca")
    assert case.scalar_error("fod_returned(=0.001*mean over layers of mean of 2)", fod.item()) <= TOLERANCE
    terms = case.record["fod_terms (mean cos^2, mean cos) in call order"]
    for ours, theirs in zip(cosines, terms, strict=True):
        assert ours == pytest.approx(theirs, rel=TOLERANCE)


@training_step
@pytest.mark.parametrize("family", FAMILIES)
def test_stored_gradients_and_the_norms_of_all(of, family):
    for stage, name in FAMILIES[family].gradients.items():
        shape = compact_case(FAMILIES[family].aggregator).record["tensors"][stage]["shape"]
        assert of(family).error(stage, aggregator_gradient(family, name).reshape(shape)) <= GRADIENT_TOLERANCE
    ours = {name: aggregator_gradient(family, name).norm().item() for name in of(family).record["grad_norm"]}
    assert of(family).norms_error(ours) <= GRADIENT_TOLERANCE


@training_step
def test_batch_statistics_after_one_step(of):
    for statistic in ("running_mean", "running_var"):
        name = f"layers.0.fusion_by_channel_first.expert_layers.0.1.{statistic}"
        ours = released_value(dict(aggregator_training("pca")[0].named_buffers()), aggregator_name(name))
        assert of("pca").error(f"train_after.{name}", ours) <= TOLERANCE


@pytest.mark.parametrize("family", FAMILIES)
def test_every_stored_stage_is_compared(of, family):
    compared = {f"eval.{stage}" for stage in STAGES[family]} | set(VARIANTS) | set(FAMILIES[family].gradients)
    stored = {name for name in of(family).record["tensors"] if "text_feats" not in name}
    assert {name for name in stored if not name.startswith("train_after.")} == compared | {"train.logits"}


def test_the_rule_gives_the_stored_inputs(golden):
    stored = load_file(golden / "cat_pca" / "aggregator_inputs.safetensors")
    image, text, guidance = aggregator_inputs()
    assert torch.equal(image, stored["img_feats"].float())
    assert torch.equal(text, stored["text_feats"].float())
    assert all(torch.equal(ours, stored[f"guid{number}"].float()) for number, ours in enumerate(guidance))
    for family in FAMILIES.values():
        case: GoldenCase = full_case(golden, family.aggregator)
        assert torch.equal(golden_input("txt6", (2, 6, 1, 512)), case.tensors["trunc.text_feats"])
        assert torch.equal(golden_input("txt300", (1, 300, 1, 512)), case.tensors["c300.text_feats"])
