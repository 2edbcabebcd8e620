"""Our side of the goldens: every stage of the aggregators at real size, of tiny complete networks and of the full ones.

The tests compare them with the full set or, where that is missing, with the compact one.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from segvoc.checkpoints.strict import inside
from segvoc.encoders.clip_text import ClipTextConfig, ClipTextEncoder
from segvoc.encoders.eva_clip import EvaClipImageEncoder
from segvoc.encoders.openai_clip import OpenAIClipImageEncoder
from segvoc.encoders.vit import VitConfig
from segvoc.layers.aggregation import DecoderSizes
from segvoc.layers.aggregation_context import AggregationContext
from segvoc.layers.class_selection import scatter_to_all
from segvoc.layers.selection import ClassSelection
from segvoc.networks.base import CostAggregation, SegmentationNetwork
from segvoc.networks.cat_seg import CAT_SEG
from segvoc.networks.choices import block_of, build_aggregation, decoder_of
from segvoc.networks.cost_aggregation_config import CostAggregationConfig
from segvoc.networks.official_weights import aggregation_state, aggregator_name, network_state
from segvoc.networks.pca_seg import PCA_SEG
from segvoc.training.losses import StreamSimilarity, orthogonality_loss, released_segmentation_loss, stream_cosine
from tests.built import built
from tests.golden_sets import compact_case, golden_input, golden_parameter

TINY_VIT = VitConfig(
    channels=64, width=128, layers=9, heads=2, patch_size=16, pretrained_size=224, input_size=384, taps=(3, 7)
)
RELEASED_WEIGHT = 0.001
CLIP = "sem_seg_head.predictor.clip_model."
AGGREGATOR = "sem_seg_head.predictor.transformer."
SMALL = {"dim": 32, "guidance_dim": 16, "decoder_sizes": DecoderSizes(taps=(24, 16), guidance=(16, 8), stages=(32, 16))}
FULL_WORDS = ["aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable"]
FULL_WORDS += ["dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"]


@dataclass(frozen=True)
class Family:
    """One of the two released networks, and what its goldens are called.

    layers: our blocks whose outputs are those of the official layers 0 and 1. streams: official name of a stage, our
    block and its part; coarse: the step of the stored cells of some of these.
    """

    aggregator: str
    tiny: str
    full: str
    keys: str
    preset: str
    config: CostAggregationConfig
    eva: bool
    layers: tuple[int, int]
    streams: dict[str, tuple[int, str]]
    gradients: dict[str, str]
    coarse: dict[str, int] = field(default_factory=dict)


ENDS = ("conv1.weight", "head.weight")
PCA = Family(
    aggregator="pca_aggregator",
    tiny="tiny_pca_eva",
    full="full_pca_eva_vitb_384_voc20",
    keys="keys_pca_eva_vitb_384",
    preset="pca-seg-b",
    config=PCA_SEG,
    eva=True,
    layers=(1, 3),
    streams={
        f"layer0.{official}_{half}": (block, part)
        for block, half in enumerate(("first", "second"))
        for official, part in (("swin_block", "spatial"), ("attention", "semantic"), ("fusion", "fuse"))
    },
    gradients={f"grad.{name}": name for name in (*ENDS, "layers.0.attention_first.padding_tokens")}
    | {"grad.gate": "layers.0.fusion_by_channel_first.gate_net.0.weight"},
    coarse={"layer0.swin_block_second": 2, "layer0.attention_second": 2},
)
CAT = Family(
    aggregator="cat_aggregator",
    tiny="tiny_cat_openai",
    full="full_cat_vitb_384_voc20",
    keys="keys_cat_vitb_384",
    preset="cat-seg-b",
    config=CAT_SEG,
    eva=False,
    layers=(0, 1),
    streams={"layer0.swin_block": (0, "spatial"), "layer0.attention": (0, "semantic")},
    gradients={f"grad.{name}": name for name in (*ENDS, "layers.0.attention.padding_tokens")},
)
FAMILIES = {"cat": CAT, "pca": PCA}


@contextmanager
def recorded(parts: Mapping[str, nn.Module]) -> Iterator[dict[str, Any]]:
    """What each of these modules gave last."""
    seen: dict[str, Any] = {}

    def hook(name: str, part: nn.Module) -> RemovableHandle:
        return part.register_forward_hook(lambda _, inputs, output: seen.update({name: output}))

    hooks = [hook(name, part) for name, part in parts.items()]
    yield seen
    for handle in hooks:
        handle.remove()


def classes_second(tokens: Tensor, step: int = 1) -> Tensor:
    """(B T H W C) of the first image as (1 C T H W), every `step`-th cell."""
    return tokens[:1].permute(0, 4, 1, 2, 3)[..., ::step, ::step]


# The aggregators at real size


@cache
def aggregator_inputs() -> tuple[Tensor, Tensor, list[Tensor]]:
    text = golden_input("txt", (2, 5, 1, 512))
    similar = compact_case("pca_aggregator").tensors["similar_cells"][:, None]
    image = golden_input("img", (2, 512, 24, 24)) + 2 * similar * text[:, 0, 0, :, None, None]
    shapes = {"g0": (2, 512, 24, 24), "g1": (2, 256, 48, 48), "g2": (2, 128, 96, 96)}
    guidance = [(golden_input(name, shape) * 0.5).half().float() for name, shape in shapes.items()]
    return image.half().float(), text.half().float(), guidance


def aggregation(name: str, **changes) -> CostAggregation:
    family = FAMILIES[name]
    shapes = compact_case(family.aggregator).record["weights"]
    if changes.get("pad_classes") == 0:
        shapes = {name: shape for name, shape in shapes.items() if ".padding_" not in name}
    config = replace(family.config, decoder_sizes=DecoderSizes(lifts=()), **changes)
    module = CostAggregation(config, 512, block_of, decoder_of(()))
    official = {name: golden_parameter(f"agg.{name}", tuple(shape)) for name, shape in shapes.items()}
    module.load_state_dict(aggregation_state(official, module))
    return module.eval()


def aggregator_stages(name: str) -> dict[str, Tensor]:
    family, (image, text, guidance) = FAMILIES[name], aggregator_inputs()
    module = aggregation(name)
    parts = {
        "conv1": module.embed_cost,
        "guidance_projection": module.guidance,
        "text_guidance_projection": module.text_guidance,
        "decoder1": module.decoder.stages[0],
        "head": module.decoder.head,
        "layer0": module.blocks[family.layers[0]],
        "layer1": module.blocks[family.layers[1]],
        **{stage: getattr(module.blocks[block], part) for stage, (block, part) in family.streams.items()},
        "windows": module.blocks[0].spatial.blocks[0],
    }
    with torch.no_grad(), recorded(parts) as seen:
        stages = {"logits": module([image], text, guidance, AggregationContext((2, 2), None, 5))[0]}
    for stage in ("guidance_projection", "text_guidance_projection"):
        stages[stage] = F.relu(seen[stage])
    stages |= {stage: seen[stage][:5] for stage in ("conv1", "head")} | {"decoder1": seen["decoder1"][:5, :, ::2, ::2]}
    stages |= {
        stage: classes_second(seen[stage], family.coarse.get(stage, 1)) for stage in seen if stage.startswith("layer")
    }
    if name == "cat":
        stages["layer0.swin.block_1"] = seen["windows"][0].flatten(1, 2)[:, ::3]
    return {f"eval.{stage}": value for stage, value in stages.items()}


VARIANTS = ["trunc_padlen4.logits", "fullattn.logits", "eval_pool1.logits", "padlen0.logits"]


def aggregator_variant(name: str, variant: str) -> Tensor:
    """Logits with what the variant's name says; those of the plain aggregator (`eval.logits`) in chunks."""
    image, text, guidance = aggregator_inputs()
    pooling, keep, chunk, step, changes = (2, 2), None, None, 2, {}
    match variant:
        case "eval.logits":
            chunk, step = 2, 1
        case "eval_pool1.logits":
            pooling, step = (1, 1), 1
        case "trunc_padlen4.logits":
            changes, text, keep = {"pad_classes": 4}, golden_input("txt6", (2, 6, 1, 512)), 4
        case "padlen0.logits":
            changes = {"pad_classes": 0}
        case "fullattn.logits":
            changes = {"class_attention": "softmax"}
        case "c300.logits_s8":
            text, keep = golden_input("txt300", (1, 300, 1, 512)), 256
            image, guidance, chunk, step = image[:1], [guide[:1] for guide in guidance], 64, 8
    module = aggregation(name, **changes)
    with torch.no_grad():
        logits, kept = module(
            [image],
            text,
            guidance,
            AggregationContext(pooling, keep and ClassSelection(keep=keep, by="similarity"), chunk or text.shape[1]),
        )
    return scatter_to_all(logits, kept, text.shape[1])[..., ::step, ::step]


def aggregator_training(name: str) -> tuple[CostAggregation, Tensor, Tensor, list[tuple[float, float]]]:
    """The module after one backward pass of the goldens' loss, its logits, FOD, and each block's mean cosines.

    In float64: in float32, rounding flips single ReLUs, depending on threads and vector instructions. Activations are
    computed twice, since they would take 1.5 GB.
    """
    image, text, guidance = aggregator_inputs()
    image, text, guidance = image.double(), text.double(), [guide.double() for guide in guidance]
    module, streams, cosines = aggregation(name).double().train(), StreamSimilarity(), []

    def observe(block: int, spatial: Tensor, semantic: Tensor) -> None:
        streams.observe(block, spatial, semantic)
        cosine = stream_cosine(spatial, semantic)
        cosines.append((cosine.square().mean().item(), cosine.mean().item()))

    logits, _ = module([image], text, guidance, AggregationContext((2, 2), None, 5, observe, recompute=True))
    fod = orthogonality_loss(streams.means(), RELEASED_WEIGHT)
    (logits.square().mean() + (1000 * fod if name == "pca" else 0)).backward()
    return module, logits.detach(), fod.detach(), cosines


def gradients(module: nn.Module) -> dict[str, Tensor]:
    """Of all parameters. What no logit depends on has none here; the released code computes it, too, and gets zeros."""
    return {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in module.named_parameters()}


def released_value(values: Mapping[str, Tensor], ours: str) -> Tensor:
    """The value of a released weight by our name (`aggregator_name`), put together from ours."""
    if " of expert " in ours:
        ours, _, number = ours.partition(" of expert ")
        halves = [values.get(ours.replace(".parse.", f".parse.halves.{half}.")) for half in (0, 1)]
        parts = [half.chunk(4)[int(number)] for half in halves if half is not None]
        if ".contract." in ours:
            return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]
        return torch.stack(parts, dim=1).flatten(0, 1)
    if ours in values:
        return values[ours]
    module, _, kind = ours.rpartition(".")
    if (shared := module.removesuffix(".upsample")) != module:
        return values[f"{shared}.{kind}"]
    terms = [values[name] for part in ("own", "guidance") if (name := f"{module}.{part}.{kind}") in values]
    return torch.cat(terms, dim=1) if len(terms) > 1 else terms[0]


# Complete networks


def tiny_network(name: str) -> SegmentationNetwork:
    family = FAMILIES[name]
    tower = EvaClipImageEncoder(TINY_VIT) if family.eva else OpenAIClipImageEncoder(TINY_VIT)
    config = replace(family.config, **SMALL)
    text = ClipTextConfig(
        channels=64, width=64, layers=2, heads=2, quick_gelu=not family.eva, fine_tuned="qkv" if family.eva else "qv"
    )
    return SegmentationNetwork(tower, ClipTextEncoder(text), build_aggregation(config, tower))


@cache
def tiny_weights(name: str) -> dict[str, Tensor]:
    """By the names of the released code; not to be changed."""
    shapes = compact_case(FAMILIES[name].tiny).record["weights"]
    return {key: golden_parameter(key, tuple(shape)) for key, shape in shapes.items()}


def filled_tiny(name: str) -> SegmentationNetwork:
    network = tiny_network(name)
    network.load_state_dict(network_state(tiny_weights(name), network))
    return network.eval()


tiny = cache(filled_tiny)
"""The tiny network of a family, in evaluation mode; not to be changed."""


def full_network(golden: Path, name: str, part: Literal["text", "image"] | None = None) -> SegmentationNetwork:
    """A network of the published size, which takes 0.6 GB; or the weights alone of its text tower or of the rest."""
    family = FAMILIES[name]
    shapes = json.loads((golden / "cat_pca" / f"{family.keys}.json").read_text())["state_dict"]
    with torch.device("meta"):
        network = built(family.preset)
    official = {
        key: golden_parameter(key, tuple(shape))
        if part is None or (part == "text") == (key.startswith(CLIP) and not key.startswith(f"{CLIP}visual."))
        else torch.empty(shape, device="meta")
        for key, shape in shapes.items()
    }
    network.load_state_dict(network_state(official, network), assign=True)
    return network.eval()


def embed(network: SegmentationNetwork, names: list[str]) -> Tensor:
    """Embeddings (T 1 C) by the released code's prompts: of synonyms the first, spaces kept."""
    encoder = network.text_encoder
    prompts = [f"A photo of a {name.split(', ')[0]} in the scene" for name in names]
    return encoder(encoder.tokenize(prompts))[:, None]


def images(*names: str) -> Tensor:
    """The goldens' images, which all cases share."""
    return torch.stack([compact_case("tiny_pca_eva").tensors[name] for name in names]).float()


def full_stages(golden: Path, name: str, image: Tensor, names: list[str]) -> dict[str, Tensor]:
    """The stages of a network of the published size: a tower and a few classes at a time, or it takes 0.9 GB."""
    with torch.no_grad():
        text = embed(full_network(golden, name, "text"), names)
    return network_stages(name, full_network(golden, name, "image"), image, text, chunk=5)


def network_stages(
    name: str, network: SegmentationNetwork, image: Tensor, text: Tensor, chunk: int | None = None
) -> dict[str, Tensor]:
    """Towers' maps, lifted taps, text, blocks, logits, and probabilities at 384 px as the released code gives them."""
    layers = FAMILIES[name].layers
    lifts, blocks = network.aggregation.decoder.lifts, network.aggregation.blocks
    hooked = {"image": network.image_encoder, "res4": lifts[0], "res5": lifts[1]}
    hooked |= {"layer0": blocks[layers[0]], "layer1": blocks[layers[1]]}
    with torch.no_grad(), recorded(hooked) as seen:
        logits = network(image, text, pooling=(2, 2), selection=ClassSelection(keep=256, by="similarity"), chunk=chunk)
        probabilities = F.interpolate(logits.sigmoid(), (384, 384), mode="bilinear", align_corners=False)[0]
    towers = {"img_feats": seen["image"].maps[0], "taps": seen["image"].taps}
    return seen | towers | {"text": text[None], "logits": logits, "sem_seg": probabilities}


def tiny_stages(name: str) -> dict[str, Tensor]:
    names = compact_case("tiny_pca_eva").record["classes"]
    with torch.no_grad():
        text = embed(tiny(name), names)
    stages = network_stages(name, tiny(name), images("image384_u8"), text)
    (res4, res5), image_features = stages["taps"], stages["img_feats"]
    lifted = {"res4_s2": stages["res4"][..., ::2, ::2], "res5_s4": stages["res5"][..., ::4, ::4]}
    blocks = {layer: classes_second(stages[layer], 2) for layer in ("layer0", "layer1")}
    towers = {"text": stages["text"], "img_feats": image_features, "res3": image_features}
    answer = {"logits": stages["logits"], "sem_seg_s4": stages["sem_seg"][:, ::4, ::4]}
    found = towers | {"res4_in": res4, "res5_in": res5} | lifted | blocks | answer
    return {f"eval384.{stage}": value for stage, value in found.items()}


def tiny_training(name: str) -> tuple[SegmentationNetwork, Tensor, dict[str, float]]:
    """The network after one backward pass of the released losses over two images, its logits, the losses."""
    names = compact_case("tiny_pca_eva").record["classes"]
    labels = compact_case("tiny_pca_eva").tensors["train.sem_seg_u8"].long()
    network, streams = filled_tiny(name).train(), StreamSimilarity()
    text = embed(network, names)
    logits = network(images("image384_u8", "train.image1_u8"), text, observe=streams.observe)
    losses = {"loss_sem_seg": released_segmentation_loss(logits, labels)}
    if name == "pca":
        losses["loss_organ"] = orthogonality_loss(streams.means(), RELEASED_WEIGHT)
    torch.stack(tuple(losses.values())).sum().backward()
    return network, logits.detach(), {kind: loss.item() for kind, loss in losses.items()}


def norm_of_gradient(gradients: Mapping[str, Tensor], official: str) -> float:
    """Of a whole network's parameter by its released name; packed projections of EVA's text tower are three here."""
    if not official.startswith(CLIP):
        name = aggregator_name(official.removeprefix(AGGREGATOR))
        return released_value(inside("aggregation.", gradients), name).norm().item()
    tower, inner = "text_encoder", official.removeprefix(CLIP).replace("_proj_weight", "_proj.weight")
    if inner.startswith("visual."):
        tower, inner = "image_encoder", inner.removeprefix("visual.")
    stem, packed, _ = f"{tower}.tower.{inner.removeprefix('text.')}".partition("in_proj.weight")
    names = [f"{stem}{letter}_proj.weight" for letter in "qkv"] if packed else [stem]
    return torch.cat([gradients[name].flatten() for name in names]).norm().item()
