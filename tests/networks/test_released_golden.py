"""CAT-Seg and PCA-Seg against the official code: aggregators at real size, whole networks, the published protocols."""

from dataclasses import replace
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from segvoc.encoders.eva_clip import EvaClipImageEncoder
from segvoc.inference.protocols import Protocol, clip_protocols
from segvoc.inference.strongest_class import StrongestClass
from segvoc.inference.windows import merged
from segvoc.networks.base import SegmentationNetwork
from segvoc.networks.official_weights import aggregator_name
from tests.golden_sets import GRADIENT_TOLERANCE, TOLERANCE, GoldenCase, cases_of, compact_case, full_case, golden_input
from tests.inference.small_network import views
from tests.networks import golden_stages as own

pytestmark = pytest.mark.golden

COMMON = ["conv1", "guidance_projection", "text_guidance_projection", "layer0", "layer1", "decoder1", "head", "logits"]
STAGES = {
    "cat": [*COMMON, "layer0.swin.block_1", *own.FAMILIES["cat"].streams],
    "pca": [*COMMON, *own.FAMILIES["pca"].streams],
}


training_step = pytest.mark.slow
"""In float64 it takes a minute; that of tiny networks of the same layers is compared below."""


def each(names: dict[str, list[str]]) -> list[tuple[str, str]]:
    return [(family, name) for family, several in names.items() for name in several]


@pytest.fixture(scope="module", params=["compact", "full"])
def of(request):
    return cases_of(request, lambda family: own.FAMILIES[family].aggregator)


@pytest.mark.parametrize(("family", "stage"), each(STAGES))
def test_evaluation(of, family, stage):
    assert of(family).error(f"eval.{stage}", own.aggregator_stages(family)[f"eval.{stage}"]) <= TOLERANCE


@pytest.mark.parametrize("family", own.FAMILIES)
@pytest.mark.parametrize(
    "variant", [pytest.param(one, marks=pytest.mark.slow if one.startswith("c300") else ()) for one in own.VARIANTS]
)
def test_variant(of, family, variant):
    assert of(family).error(variant, own.aggregator_variant(family, variant)) <= TOLERANCE


@pytest.mark.parametrize("family", own.FAMILIES)
def test_classes_in_chunks(of, family):
    assert of(family).error("eval.logits", own.aggregator_variant(family, "eval.logits in chunks")) <= TOLERANCE


@training_step
@pytest.mark.parametrize("family", own.FAMILIES)
def test_training_logits_and_loss(of, family):
    _, logits, fod, _ = own.aggregator_training(family)
    assert of(family).error("train.logits", logits) <= TOLERANCE
    loss = logits.square().mean() + (1000 * fod if family == "pca" else 0)
    assert of(family).scalar_error("train_loss", loss.item()) <= TOLERANCE


@training_step
def test_orthogonality(of):
    case, (_, _, fod, cosines) = of("pca"), own.aggregator_training("pca")
    assert case.scalar_error("fod_returned(=0.001*mean over layers of mean of 2)", fod.item()) <= TOLERANCE
    terms = case.record["fod_terms (mean cos^2, mean cos) in call order"]
    for ours, theirs in zip(cosines, terms, strict=True):
        assert ours == pytest.approx(theirs, rel=TOLERANCE)


@training_step
@pytest.mark.parametrize("family", own.FAMILIES)
def test_stored_gradients_and_the_norms_of_all(of, family):
    for stage, name in own.FAMILIES[family].gradients.items():
        shape = compact_case(own.FAMILIES[family].aggregator).record["tensors"][stage]["shape"]
        assert of(family).error(stage, own.aggregator_gradient(family, name).reshape(shape)) <= GRADIENT_TOLERANCE
    ours = {name: own.aggregator_gradient(family, name).norm().item() for name in of(family).record["grad_norm"]}
    assert of(family).norms_error(ours) <= GRADIENT_TOLERANCE


@training_step
def test_batch_statistics_after_one_step(of):
    for statistic in ("running_mean", "running_var"):
        name = f"layers.0.fusion_by_channel_first.expert_layers.0.1.{statistic}"
        ours = own.released_value(dict(own.aggregator_training("pca")[0].named_buffers()), aggregator_name(name))
        assert of("pca").error(f"train_after.{name}", ours) <= TOLERANCE


@pytest.mark.parametrize("family", own.FAMILIES)
def test_every_stored_stage_is_compared(of, family):
    compared = {f"eval.{stage}" for stage in STAGES[family]} | set(own.VARIANTS) | set(own.FAMILIES[family].gradients)
    stored = {name for name in of(family).record["tensors"] if "text_feats" not in name}
    assert {name for name in stored if not name.startswith("train_after.")} == compared | {"train.logits"}


def test_the_rule_gives_the_stored_inputs(golden):
    stored = load_file(golden / "cat_pca" / "aggregator_inputs.safetensors")
    image, text, guidance = own.aggregator_inputs()
    assert torch.equal(image, stored["img_feats"].float())
    assert torch.equal(text, stored["text_feats"].float())
    assert all(torch.equal(ours, stored[f"guid{number}"].float()) for number, ours in enumerate(guidance))
    for family in own.FAMILIES.values():
        case: GoldenCase = full_case(golden, family.aggregator)
        assert torch.equal(golden_input("txt6", (2, 6, 1, 512)), case.tensors["trunc.text_feats"])
        assert torch.equal(golden_input("txt300", (1, 300, 1, 512)), case.tensors["c300.text_feats"])


NETWORK_STAGES = "text img_feats res3 res4_in res5_in res4_s2 res5_s4 layer0 layer1 logits sem_seg_s4".split()


@pytest.fixture(scope="module", params=["compact", "full"])
def tiny_of(request):
    return cases_of(request, lambda family: own.FAMILIES[family].tiny)


@pytest.mark.parametrize("family", own.FAMILIES)
class TestTinyNetwork:
    @pytest.mark.parametrize("stage", NETWORK_STAGES)
    def test_evaluation(self, tiny_of, family, stage):
        assert tiny_of(family).error(f"eval384.{stage}", own.tiny_stages(family)[f"eval384.{stage}"]) <= TOLERANCE

    def test_training_logits_and_losses(self, tiny_of, family):
        assert tiny_of(family).error("train.logits", own.tiny_training(family)[1]) <= TOLERANCE
        golden, ours = tiny_of(family).record["train_losses"], own.tiny_training(family)[2]
        assert golden.keys() == ours.keys()
        for name, loss in ours.items():
            assert tiny_of(family).scalar_error("train_losses", loss, name) <= TOLERANCE

    def test_the_norms_of_all_gradients(self, tiny_of, family):
        norms = tiny_of(family).record["grad_norm"]
        ours = {
            name: sum(part.square().sum() for part in own.tiny_gradient(family, name)).sqrt().item() for name in norms
        }
        assert tiny_of(family).norms_error(ours) <= GRADIENT_TOLERANCE

    def test_what_is_trained(self, tiny_of, family):
        """Just what gets a gradient in the official training step, and what that step leaves at none."""
        network, record = own.tiny(family), compact_case(own.FAMILIES[family].tiny).record
        ours = sum(network.get_parameter(name).numel() for name in network.trainable_parameters())
        assert ours == sum(torch.Size(record["weights"][name]).numel() for name in record["trainable"])
        assert set(tiny_of(family).record["grad_norm"]) <= set(record["trainable"])


@pytest.mark.parametrize("mode", ["csa", "qq", "kk", "vv", "all", "maskclip", "vanilla"])
def test_dense_mode_of_the_eva_tower(tiny_of, mode):
    tower = EvaClipImageEncoder(own.TINY_VIT, dense=mode).eval()
    tower.load_state_dict(own.tiny("pca").image_encoder.state_dict())
    with torch.no_grad():
        dense = tower(own.images("image384_u8")).maps[0].flatten(2).mT
    assert tiny_of("pca").error(f"dense_{mode}", dense) <= TOLERANCE


@pytest.fixture(scope="module")
def stages(golden):
    return cache(lambda family: own.full_stages(golden, family, own.images("image384_u8"), own.FULL_WORDS))


@pytest.mark.slow
@pytest.mark.parametrize("family", own.FAMILIES)
class TestFullNetwork:
    @pytest.mark.parametrize(
        ("stage", "step"), [("text", 1), ("img_feats", 4), ("res4", 8), ("res5", 16), ("logits", 4), ("sem_seg", 8)]
    )
    def test_stage(self, golden, stages, family, stage, step):
        case, value = full_case(golden, own.FAMILIES[family].full), stages(family)[stage]
        name, value = ("text", value) if step == 1 else (f"{stage}_s{step}", value[..., ::step, ::step])
        assert case.error(f"eval384.{name}", value) <= TOLERANCE
        if stage in ("logits", "sem_seg"):
            theirs = case.tensors[f"eval384.{name}"].argmax(-3)
            assert case.agreement(f"eval384.{name}", value.argmax(-3), theirs) >= 0.999


SIZE = (300, 390)
PROTOCOLS = {
    "evalrect": replace(clip_protocols(384, 16)["official-single"], loader=None),
    "sliding": replace(clip_protocols(384, 16)["official"], loader=None, pooling=(2, 2)),
}


def answered(network: SegmentationNetwork, protocol: Protocol, names: list[str]) -> tuple[Tensor, Tensor]:
    """Logits of all views of the golden rectangular image, and the map that they are put together to."""
    image = compact_case("tiny_pca_eva").tensors["image_rect_u8"].permute(1, 2, 0).contiguous().numpy()
    with torch.no_grad():
        text = own.embed(network, names)
        seen = views(image, protocol)
        logits = network(seen, text, pooling=protocol.pooling, selection=protocol.selection, chunk=8)
    return logits, merged(logits, protocol)


def at_image_size(maps: Tensor) -> Tensor:
    return F.interpolate(maps[None], size=SIZE, mode="bilinear")[0]


def labels(maps: Tensor) -> Tensor:
    best = StrongestClass(*SIZE, maps)
    best.update(maps, torch.arange(len(maps)))
    return best.index


@cache
def tiny_answer(family: str, protocol: str) -> tuple[Tensor, Tensor]:
    return answered(own.tiny(family), PROTOCOLS[protocol], compact_case("tiny_pca_eva").record["classes"])


@pytest.mark.parametrize("family", own.FAMILIES)
class TestProtocols:
    @pytest.mark.parametrize(("protocol", "step"), [("evalrect", 1), ("sliding", 2)])
    def test_logits_of_all_views(self, tiny_of, family, protocol, step):
        logits = tiny_answer(family, protocol)[0][..., ::step, ::step]
        assert tiny_of(family).error(f"{protocol}.logits", logits) <= TOLERANCE

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_probabilities_at_image_size(self, tiny_of, family, protocol):
        maps = at_image_size(tiny_answer(family, protocol)[1])
        assert tiny_of(family).error(f"{protocol}.sem_seg_s3", maps[:, ::3, ::3]) <= TOLERANCE

    def test_labels_of_sliding_windows(self, golden, family):
        case = full_case(golden, own.FAMILIES[family].tiny)
        ours = labels(tiny_answer(family, "sliding")[1])
        assert case.agreement("sliding.argmax", ours, case.tensors["sliding.argmax"]) >= 0.999


@pytest.mark.slow
@pytest.mark.parametrize("family", own.FAMILIES)
def test_sliding_windows_at_full_size(golden, family):
    case = full_case(golden, own.FAMILIES[family].full)
    _, maps = answered(own.full_network(golden, family), PROTOCOLS["sliding"], own.FULL_WORDS)
    theirs = case.tensors["sliding.sem_seg_s6"]
    probabilities = at_image_size(maps)[:, ::6, ::6].reshape(theirs.shape)
    assert case.error("sliding.sem_seg_s6", probabilities) <= TOLERANCE
    assert case.agreement("sliding.argmax_s2", labels(maps)[::2, ::2], case.tensors["sliding.argmax_s2"]) >= 0.999
