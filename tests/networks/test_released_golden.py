"""CAT-Seg and PCA-Seg against the official code: aggregators at real size, whole networks, the published protocols."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from segvoc.encoders.eva_clip import EvaClipImageEncoder
from segvoc.inference.protocols import Protocol
from segvoc.inference.strongest_class import StrongestClass
from segvoc.inference.windows import merged
from segvoc.networks.base import SegmentationNetwork
from segvoc.networks.clip_network import clip_protocols
from segvoc.networks.official_weights import aggregator_name
from tests.golden_sets import GRADIENT_TOLERANCE, TOLERANCE, GoldenCase, compact_case, full_case
from tests.inference.small_network import views
from tests.networks import golden_stages as own

pytestmark = pytest.mark.golden
families = pytest.mark.parametrize("family", own.FAMILIES)


@pytest.fixture(scope="module")
def stored(request: pytest.FixtureRequest) -> Callable[[str], GoldenCase]:
    """Cases by name: of the full set or, where that is missing, of the compact one, which is cut from it."""
    try:
        folder = request.getfixturevalue("golden")
    except pytest.skip.Exception:
        return cache(compact_case)
    return cache(partial(full_case, folder))


@pytest.fixture
def aggregator(stored, family) -> GoldenCase:
    return stored(own.FAMILIES[family].aggregator)


@families
def test_every_stage_of_the_aggregator(aggregator, family):
    stages = own.aggregator_stages(family)
    assert stages.keys() == {name for name in aggregator.record["tensors"] if name.startswith("eval.")}
    aggregator.check(stages)


@pytest.mark.parametrize(
    "variant", [*own.VARIANTS[:2], *(pytest.param(v, marks=pytest.mark.slow) for v in own.VARIANTS[2:])]
)
@pytest.mark.parametrize("family", ["cat", pytest.param("pca", marks=pytest.mark.slow)])
def test_logits_of_variants(aggregator, family, variant):
    aggregator.check({variant: own.aggregator_variant(family, variant)})


@pytest.mark.slow
@families
def test_logits_in_chunks_and_of_many_classes(aggregator, family):
    for variant in ("eval.logits", "c300.logits_s8"):
        aggregator.check({variant: own.aggregator_variant(family, variant)})


@pytest.mark.slow  # in float64 it takes a minute; that of tiny networks of the same layers is compared below
@families
def test_a_training_step_of_the_aggregator(aggregator, family):
    module, logits, fod, cosines = own.aggregator_training(family)
    found, buffers = own.gradients(module), dict(module.named_buffers())
    aggregator.check({"train.logits": logits})
    loss = logits.square().mean()
    if family == "pca":
        loss = loss + 1000 * fod
        assert aggregator.scalar_error("fod_returned(=0.001*mean over layers of mean of 2)", fod.item()) <= TOLERANCE
        terms = aggregator.record["fod_terms (mean cos^2, mean cos) in call order"]
        assert cosines == [pytest.approx(term, rel=TOLERANCE) for term in terms]
    assert aggregator.scalar_error("train_loss", loss.item()) <= TOLERANCE
    after = [name for name in aggregator.tensors if name.startswith("train_after.")]
    names = {name: aggregator_name(name.removeprefix("train_after.")) for name in after}
    aggregator.check({name: own.released_value(buffers, ours) for name, ours in names.items()})
    official = own.FAMILIES[family].gradients
    assert official.keys() == {name for name in aggregator.tensors if name.startswith("grad.")}
    shapes = compact_case(own.FAMILIES[family].aggregator).record["tensors"]
    gradients = {stage: own.released_value(found, aggregator_name(name)) for stage, name in official.items()}
    gradients = {stage: value.reshape(shapes[stage]["shape"]) for stage, value in gradients.items()}
    aggregator.check(gradients, GRADIENT_TOLERANCE)
    norms = aggregator.record["grad_norm"]
    ours = {name: own.released_value(found, aggregator_name(name)).norm().item() for name in norms}
    assert aggregator.norms_error(ours) <= GRADIENT_TOLERANCE


@pytest.fixture
def tiny(stored, family) -> GoldenCase:
    return stored(own.FAMILIES[family].tiny)


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


@families
class TestTinyNetwork:
    def test_every_stage(self, tiny, family):
        stages = own.tiny_stages(family)
        assert stages.keys() == {name for name in tiny.record["tensors"] if name.startswith("eval384.")}
        tiny.check(stages)

    def test_a_training_step(self, tiny, family):
        network, logits, losses = own.tiny_training(family)
        tiny.check({"train.logits": logits})
        assert losses.keys() == tiny.record["train_losses"].keys()
        for name, loss in losses.items():
            assert tiny.scalar_error("train_losses", loss, name) <= TOLERANCE
        found = own.gradients(network)
        ours = {name: own.norm_of_gradient(found, name) for name in tiny.record["grad_norm"]}
        assert tiny.norms_error(ours) <= GRADIENT_TOLERANCE
        record = compact_case(own.FAMILIES[family].tiny).record
        trained = sum(network.get_parameter(name).numel() for name in network.trainable_parameters())
        assert trained == sum(torch.Size(record["weights"][name]).numel() for name in record["trainable"])
        assert ours.keys() <= set(record["trainable"])

    def test_protocols(self, tiny, family):
        names = compact_case("tiny_pca_eva").record["classes"]
        for protocol, step in (("evalrect", 1), ("sliding", 2)):
            logits, maps = answered(own.tiny(family), PROTOCOLS[protocol], names)
            tiny.check({f"{protocol}.logits": logits[..., ::step, ::step]})
            tiny.check({f"{protocol}.sem_seg_s3": at_image_size(maps)[:, ::3, ::3]})
        if "sliding.argmax" in tiny.tensors:
            assert tiny.agreement("sliding.argmax", labels(maps), tiny.tensors["sliding.argmax"]) >= 0.999


@pytest.mark.parametrize("family", ["pca"])
def test_dense_modes_of_the_eva_tower(tiny, family):
    for mode in ("csa", "qq", "kk", "vv", "all", "maskclip", "vanilla"):
        tower = EvaClipImageEncoder(own.TINY_VIT, dense=mode).eval()
        tower.load_state_dict(own.tiny(family).image_encoder.state_dict())
        with torch.no_grad():
            dense = tower(own.images("image384_u8")).maps[0].flatten(2).mT
        tiny.check({f"dense_{mode}": dense})


@pytest.mark.slow
@families
class TestFullNetwork:
    @pytest.fixture
    def full(self, golden, family) -> GoldenCase:
        return full_case(golden, own.FAMILIES[family].full)

    def test_stages(self, full, golden, family):
        stages = own.full_stages(golden, family, own.images("image384_u8"), own.FULL_WORDS)
        full.check({"eval384.text": stages["text"]})
        for stage, step in (("img_feats", 4), ("res4", 8), ("res5", 16), ("logits", 4), ("sem_seg", 8)):
            name, value = f"eval384.{stage}_s{step}", stages[stage][..., ::step, ::step]
            full.check({name: value})
            if stage in ("logits", "sem_seg"):
                assert full.agreement(name, value.argmax(-3), full.tensors[name].argmax(-3)) >= 0.999

    def test_sliding_windows(self, full, golden, family):
        _, maps = answered(own.full_network(golden, family), PROTOCOLS["sliding"], own.FULL_WORDS)
        probabilities = at_image_size(maps)[:, ::6, ::6].reshape(full.tensors["sliding.sem_seg_s6"].shape)
        full.check({"sliding.sem_seg_s6": probabilities})
        theirs = full.tensors["sliding.argmax_s2"]
        assert full.agreement("sliding.argmax_s2", labels(maps)[::2, ::2], theirs) >= 0.999


@pytest.mark.parametrize("case", [case for one in own.FAMILIES.values() for case in (one.aggregator, one.tiny)])
def test_the_compact_set_has_every_so_manyth_value_of_each_stage_and_all_scalars(golden, case):
    compact, full = compact_case(case), full_case(golden, case)
    stages = compact.record["tensors"]
    # the others are inputs: random ones by a rule, and pictures, which one case has for all
    assert stages.keys() == {
        name for name, x in full.tensors.items() if x.dtype != torch.uint8 and not name.endswith(".text_feats")
    }
    for name, value in compact.tensors.items():
        if name in full.tensors:
            theirs, kept = full.tensors[name], stages.get(name, {"step": 1, "shape": list(value.shape)})
            assert kept["shape"] == list(theirs.shape), name
            assert torch.equal(value.flatten(), theirs.flatten()[:: kept["step"]]), name
    scalars = full.record.keys() - {"tensors"}
    assert {name: compact.record[name] for name in scalars} == {name: full.record[name] for name in scalars}
