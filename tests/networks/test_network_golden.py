"""Complete networks against the official code: tiny ones stage by stage, and the base models at full size."""

from functools import cache

import pytest
import torch

from segvoc.encoders.eva_clip import EvaClipImageEncoder
from tests.golden_sets import GRADIENT_TOLERANCE, TOLERANCE, cases_of, compact_case, full_case
from tests.networks.golden_stages import (
    FAMILIES,
    FULL_WORDS,
    TINY_VIT,
    full_stages,
    images,
    tiny,
    tiny_gradient,
    tiny_stages,
    tiny_training,
)

pytestmark = pytest.mark.golden

STAGES = "text img_feats res3 res4_in res5_in res4_s2 res5_s4 layer0 layer1 logits sem_seg_s4".split()


@pytest.fixture(scope="module", params=["compact", "full"])
def of(request):
    """The tiny network's case of a family, of either set."""
    return cases_of(request, lambda family: FAMILIES[family].tiny)


@pytest.mark.parametrize("family", FAMILIES)
class TestTinyNetwork:
    @pytest.mark.parametrize("stage", STAGES)
    def test_evaluation(self, of, family, stage):
        assert of(family).error(f"eval384.{stage}", tiny_stages(family)[f"eval384.{stage}"]) <= TOLERANCE

    def test_training_logits_and_losses(self, of, family):
        assert of(family).error("train.logits", tiny_training(family)[1]) <= TOLERANCE
        golden, ours = of(family).record["train_losses"], tiny_training(family)[2]
        assert golden.keys() == ours.keys()
        for name, loss in ours.items():
            assert of(family).scalar_error("train_losses", loss, name) <= TOLERANCE

    def test_the_norms_of_all_gradients(self, of, family):
        norms = of(family).record["grad_norm"]
        ours = {name: sum(part.square().sum() for part in tiny_gradient(family, name)).sqrt().item() for name in norms}
        assert of(family).norms_error(ours) <= GRADIENT_TOLERANCE

    def test_what_is_trained(self, of, family):
        """Just what gets a gradient in the official training step, and what that step leaves at none."""
        network, record = tiny(family), compact_case(FAMILIES[family].tiny).record
        ours = sum(network.get_parameter(name).numel() for name in network.trainable_parameters())
        assert ours == sum(torch.Size(record["weights"][name]).numel() for name in record["trainable"])
        assert set(of(family).record["grad_norm"]) <= set(record["trainable"])


@pytest.mark.parametrize("mode", ["csa", "qq", "kk", "vv", "all", "maskclip", "vanilla"])
def test_dense_mode_of_the_eva_tower(of, mode):
    tower = EvaClipImageEncoder(TINY_VIT, dense=mode).eval()
    tower.load_state_dict(tiny("pca").image_encoder.state_dict())
    with torch.no_grad():
        dense = tower(images("image384_u8")).maps[0].flatten(2).mT
    assert of("pca").error(f"dense_{mode}", dense) <= TOLERANCE


@pytest.fixture(scope="module")
def stages(golden):
    return cache(lambda family: full_stages(golden, family, images("image384_u8"), FULL_WORDS))


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
class TestFullNetwork:
    @pytest.mark.parametrize(
        ("stage", "step"), [("text", 1), ("img_feats", 4), ("res4", 8), ("res5", 16), ("logits", 4), ("sem_seg", 8)]
    )
    def test_stage(self, golden, stages, family, stage, step):
        case, value = full_case(golden, FAMILIES[family].full), stages(family)[stage]
        name, value = ("text", value) if step == 1 else (f"{stage}_s{step}", value[..., ::step, ::step])
        assert case.error(f"eval384.{name}", value) <= TOLERANCE
        if stage in ("logits", "sem_seg"):
            theirs = case.tensors[f"eval384.{name}"].argmax(-3)
            assert case.agreement(f"eval384.{name}", value.argmax(-3), theirs) >= 0.999
