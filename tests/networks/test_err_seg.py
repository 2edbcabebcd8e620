"""The contract of networks for a small ERR-Seg, its switches and sizes; its head against the official code."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

import segvoc
from segvoc.checkpoints.strict import with_prefixes
from segvoc.encoders.clip_text import ClipTextConfig
from segvoc.encoders.convnext_clip import ConvNextClipImageEncoder
from segvoc.encoders.openai_clip import OpenAIClipImageEncoder
from segvoc.errors import CheckpointError, UsageError
from segvoc.inference.label_options import LabelOptions
from segvoc.layers.aggregation import DecoderSizes, cost_volume
from segvoc.layers.aggregation_context import AggregationContext
from segvoc.layers.class_selection import GroundTruthFirst, scatter_to_all
from segvoc.layers.selection import ClassSelection, Votes
from segvoc.networks.base import SegmentationNetwork
from segvoc.networks.err_seg import (
    ErrAggregation,
    ErrAggregationConfig,
    PaperStarMLP,
    StarMLP,
    err_head_state,
    err_seg_name,
    err_seg_state,
)
from segvoc.storage.records import parse_settings
from segvoc.training.losses import released_segmentation_loss
from tests.built import built
from tests.encoders.test_convnext_clip import TINY
from tests.golden_sets import ERR_FOLDER, err_case, err_record
from tests.networks.aggregation_contract import VALUES_ALONE, VIT, SelectionContract, text_tower
from tests.networks.contract import PaperContract, assert_alike
from tests.networks.golden_stages import gradients, recorded, released_value

TOWER = replace(TINY, channels=32, widths=(8, 16, 32, 64), depths=(1, 1, 1, 1))
DECODER = DecoderSizes(lifts=(), taps=(32, 16, 8), guidance=(8, 8, 8), stages=(32, 16, 8))

SMALL = ErrAggregationConfig(embed_dim=16, dim=32, heads=2, blocks=2, decoder_sizes=DECODER)


def small(*, hierarchical: bool = True, **changes) -> SegmentationNetwork:
    config = replace(SMALL, **changes)
    tower = ConvNextClipImageEncoder(replace(TOWER, hierarchical=hierarchical))
    aggregation = ErrAggregation(config, tower.channels, tower.tap_channels, maps=2 if hierarchical else 1)
    return SegmentationNetwork(tower, text_tower("qkv"), aggregation)


def plain_clip() -> SegmentationNetwork:
    """The aggregation on a ViT, whose dense map and taps guide it."""
    config, tower = replace(SMALL, decoder_sizes=replace(DECODER, lifts=(2, 4))), OpenAIClipImageEncoder(VIT)
    return SegmentationNetwork(tower, text_tower("qv"), ErrAggregation(config, 32, (32, *tower.tap_channels), 1))


OF_WORDS = ("aggregation.text_guidance.",)
"""What guides class aggregation alone."""

OF_APPEARANCE = ("aggregation.guidance.", "aggregation.merge_guidance.")
"""What guides spatial aggregation alone."""


class ErrContract(SelectionContract):
    finer = 8
    ignored: tuple[str, ...] = ()
    """How the names of parameters begin that no logit depends on."""

    build = staticmethod(small)

    def unused(self, network):
        ignored = {name for name, _ in network.named_parameters() if name.startswith(self.ignored)}
        return super().unused(network) | ignored

    def inputs(self, network, *, batch=1, rows=3, columns=3, classes=3):
        return super().inputs(network, batch=batch, rows=rows, columns=columns, classes=classes)

    def test_voted_classes_alone_give_what_they_give_in_the_crowd(self, built):
        image, text = self.inputs(built, classes=9)
        with torch.no_grad():
            logits, kept = built.selected_logits(image, text, selection=ClassSelection(keep=4))
            assert kept is not None and kept.shape == (1, 4)
            assert_alike(logits, built(image, text[kept[0]]))


class TestErrSeg(ErrContract, PaperContract):
    """As released."""


def choice(*ignored: str, **options: object) -> type[ErrContract]:
    return type("Choice", (ErrContract,), {"build": lambda self: small(**options), "ignored": ignored})


TestWithoutReduction = pytest.mark.slow(choice(ssr=1, csr=1))  # Table 11, first row
TestSingleMap = pytest.mark.slow(choice(hierarchical=False))  # Table 6, "Single"
TestVanillaMlp = pytest.mark.slow(choice(mlp="vanilla"))  # Table 12
# Eq. 8, Sec. 3.2.1 and Sec. 3.1.2, where the released code differs
TestLetterOfThePaper = pytest.mark.slow(choice(mlp="star-paper", local="before", voting_map="stride_32"))
# Table 10
TestSpatialAlone = pytest.mark.slow(choice(*OF_WORDS, streams="spatial"))
TestClassAlone = pytest.mark.slow(choice(*OF_APPEARANCE, streams="class"))
TestWithoutAggregation = choice(*OF_WORDS, *OF_APPEARANCE, streams="none")


def test_the_star_mlp_activates_one_factor_or_the_product():
    torch.manual_seed(0)
    released, paper, x = StarMLP(4), PaperStarMLP(4), torch.randn(5, 4)
    with torch.no_grad():
        assert_alike(released(x), released.fc3(released.fc1(x).clamp(0, 6) * released.fc2(x)))
        assert_alike(paper(x), paper.fc3((paper.fc1(x) * paper.fc2(x)).clamp(0, 6)))


@pytest.mark.slow
class TestPlainClip(ErrContract):
    """Table 13, "ViT-B/16"."""

    build = staticmethod(plain_clip)
    idle = frozenset({VALUES_ALONE})

    def size(self, network, rows, columns):
        # cells of 32 px, as ConvNeXt's, since keys are reduced by 2 x 2
        return 32 * rows, 32 * columns


@pytest.mark.parametrize(("voting_map", "kept"), [("stride_16", [1]), ("stride_32", [3])])
def test_the_voting_map_is_the_released_or_the_papers(voting_map, kept):
    torch.manual_seed(0)
    network = small(voting_map=voting_map).eval()
    text = torch.eye(32)[:4, None]
    s3, s4 = (text[label].view(1, 32, 1, 1).expand(1, 32, cells, cells) for label, cells in ((1, 4), (3, 2)))
    taps = [torch.randn(1, channels, cells, cells) for channels, cells in ((64, 2), (32, 4), (16, 8), (8, 16))]
    context = AggregationContext((2, 2), ClassSelection(keep=1), None)
    with torch.no_grad():
        _, selected = network.aggregation((s3, s4), text[None], (s3, *taps), context)
    assert selected.tolist() == [kept]


@pytest.mark.golden
@pytest.mark.parametrize(
    ("size", "clip"), [("B", "convnext_base_w_320"), pytest.param("L", "convnext_large_d_320", marks=pytest.mark.slow)]
)
def test_the_key_lists_of_the_released_models_fit_and_their_parameters_are_trained(golden, size, clip):
    lists = {"clip_model.": f"err_clip_{clip}_keys", "decoder.": f"err_decoder_{size}_keys"}
    trained = set(err_record(golden, f"err_clip_{clip}_trainable"))
    with torch.device("meta"):
        network = built(f"err-seg-{size.lower()}")
        # the map keeps dtypes, which tell what becomes of the trained ones
        states = {
            part: {
                name: torch.empty(shape, dtype=torch.float64 if part == "clip_model." and name in trained else None)
                for name, shape in err_record(golden, keys).items()
            }
            for part, keys in lists.items()
        }
    official = with_prefixes({f"sem_seg_head.{part}": state for part, state in states.items()})
    state = err_seg_state(official, network)
    assert state.keys() == network.state_dict().keys()
    ours = {name for name in network.trainable_parameters() if not name.startswith("aggregation.")}
    assert ours == {name for name, value in state.items() if value.dtype == torch.float64}
    with pytest.raises(CheckpointError, match="weights aren't from ERR-Seg"):
        err_seg_state(official | {"backbone.weight": torch.empty(1, device="meta")}, network)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("ssr=0", "ssr=0 is out of range; give a number from 1 to 8"),
        ("side=630", "side=630 is not a multiple of 32, the coarsest stride; give 640"),
        ("encoder=vit_b16", "no map at a second stride; give maps=single"),
    ],
)
def test_values_that_no_network_can_have_are_refused(setting, message):
    with pytest.raises(UsageError, match=message):
        built("err-seg-b", **parse_settings([setting]))


@pytest.fixture(scope="module")
def model():
    """err-seg-b as it is loaded, with towers of a few channels: the published ones would take 0.8 GB."""
    text = ClipTextConfig(channels=TOWER.channels, width=16, layers=1, heads=1, quick_gelu=False, fine_tuned="qkv")
    options = {"side": 64, "top": 1, "decay": 0.5, "blocks": 1}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("segvoc.encoders.convnext_clip.convnext_base_w", lambda: TOWER)
        patch.setattr("segvoc.encoders.clip_text.convnext_text", lambda channels, layers: text)
        return segvoc.load("err-seg-b", weights="random", options=options, device="cpu")


def test_side_and_votes_are_those_of_the_segmenter(model):
    """Table 14, Table 7, Fig. 6: what the command line's --set asks for is what images get."""
    assert model.protocols["single"].size == model.protocols["official"].size == 64
    found = model.segment(np.zeros((90, 70, 3), np.uint8), ["cat", "dog", "sofa"], keep_classes=2)
    assert found.labels.shape == (90, 70) and found.selected.sum() == 2
    for options, kept in ((LabelOptions(), 16), (LabelOptions(keep_classes=7), 7)):
        selection = model.protocol(options).selection
        assert selection.votes == Votes(top=1, decay=0.5) and selection.number(40) == kept


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


def inputs(case) -> tuple[list[Tensor], Tensor, list[Tensor]]:
    tensors = {name: value.float() for name, value in case.tensors.items() if value.is_floating_point()}
    maps = [tensors["in.feat_os16"], tensors["in.feat_os32"]]
    taps = [tensors[f"in.guid_os{stride}"] for stride in (32, 16, 8, 4)]
    return maps, tensors["in.text"], [maps[0], *taps]


def test_every_stage_with_12_of_20_classes_and_the_logits_of_all(case, golden):
    head = filled(golden).eval()
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
    maps, text, guidance = inputs(case)
    with torch.no_grad(), recorded(hooked) as seen:
        logits, kept = head(maps, text, guidance, AggregationContext((2, 2), ClassSelection(keep=12), 12))
    with torch.no_grad():
        every, of_all = head(maps, text, guidance, AggregationContext((2, 2), None, 3))
    assert case.agreement("mid.kept_eval", kept, case.tensors["mid.kept_eval"]) == 1 and of_all is None
    case.check({"out.logits_eval": scatter_to_all(logits, kept, 20), "out.logits_noreduction": every})
    seen["aggregator_layers.0.class_fusion"] = seen["aggregator_layers.0"]
    for name in [name for name in seen if "layers" in name]:
        fused = name.endswith("_fusion")
        seen[name] = seen[name].permute(0, 1, 4, 2, 3).flatten(0, 1) if fused else seen[name].permute(0, 4, 1, 2, 3)
    seen["text_guidance_projection"] = F.gelu(seen.pop("text_guidance"))
    seen |= {name: cost_volume(image, text) for name, image in zip(("S3", "S4"), maps, strict=True)}
    for name, ours in seen.items():
        stored = case.tensors[f"mid.{name}"]
        if stored.dtype == torch.float16:  # rounded to half on storing: half a unit in the last place
            rounding = 1e-4 * stored.abs().max() + 2**-11 * stored.float().abs()
            assert ((ours - stored.float()).abs() <= rounding).all(), name
        else:
            case.check({f"mid.{name}": ours})


def test_a_training_step(case, golden):
    """The head after one backward pass, drop path off.

    In float64: in float32 rounding flips single ReLUs, by the number of threads, and moves gradients by up to 5e-4.
    """
    module = filled(golden, drop_path=0.0).train().double()
    maps, text, guidance = inputs(case)
    maps, guidance, text = [x.double() for x in maps], [x.double() for x in guidance], text.double()
    leaves = {"feat_os16": maps[0], "feat_os32": maps[1], "text": text, "guid_os16_is_agg_only": guidance[2]}
    for leaf in leaves.values():
        leaf.requires_grad_(True)
    labels = case.tensors["in.targets"]
    first = GroundTruthFirst(labels, fill="released")
    context = AggregationContext((2, 2), ClassSelection(keep=12), 12, first=first)
    logits, kept = module(maps, text, [maps[0].detach(), *guidance[1:]], context)
    logits = scatter_to_all(logits, kept, 20)
    loss = released_segmentation_loss(logits, labels)
    loss.backward()
    assert case.agreement("mid.kept_train", kept, case.tensors["mid.kept_train"].sort(dim=1).values) == 1
    case.check({"out.logits_train": logits, "out.loss": loss[None]})
    case.check({f"grad.{name}": leaf.grad for name, leaf in leaves.items()})
    found = gradients(module)
    stored = [name.removeprefix("grad.param.") for name in case.tensors if name.startswith("grad.param.")]
    assert len(stored) == 5
    case.check({f"grad.param.{name}": released_value(found, err_seg_name(name)) for name in stored})
    norms = err_record(golden, "err_decoder_B_meta")["grad_norms"]
    ours = {name: released_value(found, err_seg_name(name.removeprefix("decoder."))).norm().item() for name in norms}
    assert ours == {name: pytest.approx(norm, rel=5e-4, abs=1e-7) for name, norm in norms.items()}
