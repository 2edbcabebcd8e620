"""CAT-Seg's first version (arXiv:2303.11797v1): a backbone for guidance, bilinear upsampling, Table 2's blocks.

The released network, cat-seg-b and cat-seg-l, is that of the CVPR version. What the preprint's network has besides is
here: `first_version` builds it of a released one, and the script trains and scores it.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

import click
import timm
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from segvoc.checkpoints.files import read_weights
from segvoc.checkpoints.strict import fit_exactly, renamed, shapes_of
from segvoc.cli import run_command
from segvoc.cli.dataset_options import SeveralBenchmarks, data_option, data_root
from segvoc.cli.output import echo
from segvoc.encoders.base import ImageEncoder, ImageFeatures, normalized_pixels
from segvoc.evaluation.report import ModelOrigin
from segvoc.evaluation.runner import evaluate
from segvoc.evaluation.score_tables import percent
from segvoc.evaluation.task import EvaluationSettings, EvaluationTask
from segvoc.layers.aggregation import (
    ClassAggregation,
    SpatialAggregation,
    UpsamplingDecoder,
    UpsamplingStage,
)
from segvoc.layers.aggregation_context import AggregationContext
from segvoc.layers.class_selection import SelectedLogits
from segvoc.layers.maps import resized
from segvoc.layers.shapes import ClassTokens, FeatureMaps, ImageGuidance, PromptEmbeddings, TextGuidance
from segvoc.models.opening import load_network
from segvoc.networks.base import CostAggregation, SegmentationNetwork
from segvoc.networks.choices import block_of
from segvoc.networks.cost_aggregation_config import CostAggregationConfig
from segvoc.networks.err_seg import SplitStage
from segvoc.runtime.distributed import join_processes
from segvoc.training.recipe import Recipe
from segvoc.training.recipes import RECIPES
from segvoc.training.run import train
from segvoc.training.start import Start, build
from segvoc.training.training_data import recipe_data

Order = Literal["serial", "spatial", "joint"]
Guidance = Literal["backbone", "clip", "clip-alone"]

BACKBONES: Mapping[str, Mapping[str, Any]] = {
    "b": {"model_name": "resnet101", "out_indices": (1, 2, 3)},
    "l": {"model_name": "swin_base_patch4_window12_384", "out_indices": (0, 1, 2), "strict_img_size": False},
}
"""timm's guidance backbone of each size (Sec. 4.1 and A.1), up to the stages at stride 4, 8 and 16."""

BACKBONE_STRIDE = 16
"""Pixels of the backbone's image for each cell of the cost volume."""

BLOCKS: Mapping[Order, int] = {"serial": 2, "spatial": 3, "joint": 6}
"""Number of blocks of each order (Table 2)."""


@click.command(cls=SeveralBenchmarks)
@click.argument("size", type=click.Choice(list(BACKBONES)))
@click.option("--order", type=click.Choice(list(BLOCKS)), default="serial", help="Table 2: VI, IV or III.")
@click.option("--guidance", type=click.Choice(["backbone", "clip", "clip-alone"]), default="backbone", help="Table 4.")
@click.option("--backbone-weights", metavar="FILE", help="ResNet-101 or Swin-B; by default random.")
@click.option("--benchmark", "benchmarks", multiple=True, default=["a-150"], metavar="NAME...", help="What scores it.")
@data_option("The data folder, with prepared benchmarks.")
@click.option("--out", required=True, metavar="FOLDER", help="Folder for the run and the reports.")
@click.option("--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda, cuda:1, ...")
def cat_seg_v1(size: str, order: Order, guidance: Guidance, out: str, device: str, **given: Any) -> None:
    """Train CAT-Seg's first version with ViT-B/16 or ViT-L/14, and score it (arXiv v1, Tables 1, 2 and 4).

    \b
    python -m papers.cat_seg_v1 l --backbone-weights swin_b.pth --data ROOT --out FOLDER

    CLIP is fetched. Writes run/, and a folder with the report of each benchmark. An interrupted run is continued.
    """
    root = data_root(given["data"], "--data is missing; name the data folder with --data ROOT")
    recipe = first_recipe(size)
    built = build(recipe, Start(), seed=0)
    backbone = None
    if guidance == "backbone":
        backbone = timm.create_model(**BACKBONES[size], features_only=True, feature_cls="getter")
        if given["backbone_weights"] is not None:
            backbone.load_state_dict(backbone_state(read_weights(given["backbone_weights"]).tensors, backbone))
    layers = cast(Any, recipe.network_config()).aggregation
    network = first_version(built.network, layers, backbone, order=order, cost_gradient=guidance != "clip-alone")
    images, validation = recipe_data(recipe, root)
    run = Path(out) / "run"
    trained = train(built.recipe, images, run, network=network, validation=validation, device=device, resume=True)
    with join_processes("gloo") as processes:
        weights, where = str(trained.weights), processes.own_device(device)
        segmenter = load_network(recipe.model, weights=weights, network=network, device=where, dtype="float32")
        origin = ModelOrigin(preset=recipe.model, weights=weights)
        settings = EvaluationSettings(options={"keep_classes": "all"})  # however many classes there are
        for name in given["benchmarks"]:
            task = EvaluationTask.of_benchmark(name, root)
            report = evaluate(
                segmenter, task, Path(out) / name, settings, origin=origin, processes=processes, progress=True
            )
            if processes.first:
                echo(f"{task.title}: {percent(report['miou'])} mIoU")


def first_recipe(size: str) -> Recipe:
    """The recipe of Table 1: the image encoder's attention and positions learn, with CLIP's 80 prompts and no padding.

    The paper doesn't say whether the backbone learns; here it is frozen. Hardware: 4 RTX 3090; batch 4.
    """
    changes = {"trainable_encoders": "image", "prompts": "imagenet", "pad_classes": 0}
    return RECIPES[f"cat-seg-{size}"]().with_settings(**changes)


def first_version(
    network: SegmentationNetwork,
    config: CostAggregationConfig,
    backbone: nn.Module | None = None,
    *,
    order: Order = "serial",
    cost_gradient: bool = True,
) -> SegmentationNetwork:
    """CAT-Seg of arXiv v1, with the encoders of a released one and an aggregation with random weights.

    Args:
        network: the released network, whose encoders it takes.
        config: sizes of the aggregation.
        backbone: guides the aggregation; None: CLIP does (Table 4).
        order: order of spatial and class aggregation; without guidance where it isn't serial (Table 2).
        cost_gradient: whether gradients reach CLIP through the costs, or through its guidance alone (Table 4).
    """
    encoder, guidance_dim = GuidedClip(network.image_encoder, backbone), config.guidance_dim if order == "serial" else 0
    sizes = config.decoder_sizes
    if backbone is not None:
        sizes = replace(sizes, lifts=(), taps=encoder.tap_channels)
    changes = {"appearance_channels": encoder.appearance_channels, "decoder_sizes": sizes, "guidance_dim": guidance_dim}
    config = replace(config, blocks=BLOCKS[order], **changes)
    kind = CostAggregation if cost_gradient else GuidanceAlone
    attention = {"dim": config.dim, "guidance_dim": guidance_dim, "heads": config.heads}

    def block(config: CostAggregationConfig) -> nn.Module:
        if order == "spatial":
            return SpatialBlock(SpatialAggregation(**attention, window=config.window))
        return JointBlock(ClassAggregation(**attention, pad_classes=0)) if order == "joint" else block_of(config)

    def decoder(config: CostAggregationConfig) -> UpsamplingDecoder:
        return BilinearDecoder(config.dim, encoder.tap_channels, config.decoder_sizes)

    aggregation = kind(config, encoder.channels, block, decoder)
    return SegmentationNetwork(encoder, network.text_encoder, aggregation, average_prompts=True)


class GuidedClip(nn.Module):
    """CLIP's dense map (not of unit norm), and the backbone's maps at stride 16, 8 and 4 for guidance."""

    def __init__(self, clip: nn.Module, backbone: nn.Module | None) -> None:
        super().__init__()
        self.clip, self.backbone = clip, backbone
        tower = cast(ImageEncoder, clip)
        self.input_size, self.stride, self.channels = tower.input_size, tower.stride, tower.channels
        self.tap_channels, self.appearance_channels = tower.tap_channels, tower.channels
        if backbone is not None:
            fine, middle, self.appearance_channels = cast(Any, backbone).feature_info.channels()
            self.tap_channels = (middle, fine)

    def fine_tuned_parameters(self) -> tuple[str, ...]:
        """Names of the parameters that the paper's recipe trains: CLIP's attention and position embeddings (Fig. 9)."""
        names = (name for name, _ in self.named_parameters() if name.startswith("clip."))
        return tuple(name for name in names if ".attn." in name or name.endswith("positional_embedding"))

    def forward(self, image: Float[Tensor, "B 3 H W"]) -> ImageFeatures:
        """Encode RGB pixels in [0, 255]. The backbone reads the image at 16 px per CLIP cell, so both share a grid."""
        features = self.clip(image)
        if self.backbone is None:
            return features
        rows, columns = features.maps[0].shape[2:]
        pixels = normalized_pixels(resized(image, (BACKBONE_STRIDE * rows, BACKBONE_STRIDE * columns)))
        found = self.backbone(pixels.to(next(self.backbone.parameters()).dtype))
        grids = ((scale * rows, scale * columns) for scale in (4, 2, 1))
        fine, middle, coarse = (resized(one, grid) for one, grid in zip(found, grids, strict=True))
        return ImageFeatures(maps=features.maps, taps=(middle, fine), appearance=coarse)


class GuidanceAlone(CostAggregation):
    """Gradients reach the image encoder through the guidance alone (Table 4, third row)."""

    def forward(
        self, maps: FeatureMaps, text: PromptEmbeddings, guidance: FeatureMaps, context: AggregationContext
    ) -> SelectedLogits:
        """Compute logits; see `CostAggregation.forward`."""
        return super().forward(tuple(one.detach() for one in maps), text, guidance, context)


class BilinearStage(SplitStage):
    """An upsampling stage of arXiv v1 (section 3.4): bilinear interpolation in place of the transposed convolution."""

    def __init__(self, *, dim: int, **sizes: int) -> None:
        super().__init__(dim=dim, own_dim=dim, **sizes)
        self.upsample = nn.Upsample(scale_factor=2, mode="bilinear")


class BilinearDecoder(UpsamplingDecoder):
    """The decoder of arXiv v1."""

    def build_stage(self, index: int, dim: int, guidance_dim: int, out_dim: int) -> UpsamplingStage:
        """Build the stage at an index."""
        return BilinearStage(dim=dim, guidance_dim=guidance_dim, out_dim=out_dim)


class SpatialBlock(nn.Module):
    """Spatial aggregation alone (Table 2, IV)."""

    def __init__(self, spatial: SpatialAggregation) -> None:
        super().__init__()
        self.spatial = spatial

    def forward(
        self, x: ClassTokens, guidance: ImageGuidance, text: TextGuidance, context: AggregationContext
    ) -> ClassTokens:
        """Refine every class independently."""
        guided = self.spatial.precompute_guidance(guidance)
        return context.map(self.spatial, x, shared=(guided,))


class JointBlock(nn.Module):
    """Linear attention over all cells of all classes jointly (Table 2, III)."""

    def __init__(self, attention: ClassAggregation) -> None:
        super().__init__()
        self.attention = attention

    def forward(
        self, x: ClassTokens, guidance: ImageGuidance, text: TextGuidance, context: AggregationContext
    ) -> ClassTokens:
        """Refine all classes; the guidance has no channels."""
        cells = x.shape[2] * x.shape[3]
        tokens, words = rearrange(x, "b t h w c -> b (t h w) 1 1 c"), text.repeat_interleave(cells, dim=1)
        chunk = None if context.chunk is None else context.chunk * cells
        context = replace(context, chunk=chunk, pooling=(1, 1))
        summary = self.attention.summarize(tokens, words, context)
        refined = context.map(self.attention, tokens, words, shared=(summary, context.pooling))
        return refined.reshape(x.shape)


_LEFT_OUT = ("layer4.", "layers.3.", "fc.", "head.", "norm.")
"""Modules after stride 16; of Swin's authors also tables, which timm computes."""


def backbone_state(official: Mapping[str, Tensor], backbone: nn.Module) -> dict[str, Tensor]:
    """State dict for a guidance backbone, from the weights of the whole classifier, of timm or of Swin's authors."""
    # Swin's authors downsample at the end of a stage, timm at the beginning of the next one
    theirs = "layers.0.downsample.reduction.weight" in official
    later = ((r"^layers\.(\d)\.downsample", lambda found: f"layers.{int(found[1]) + 1}.downsample"),) if theirs else ()
    named = ((name, renamed(name, later), value) for name, value in official.items())
    kept = (
        (name, f"model.{own}", value)
        for name, own, value in named
        if not own.startswith(_LEFT_OUT) and not name.endswith(("attn_mask", "relative_position_index"))
    )
    return fit_exactly(kept, shapes_of(backbone), "guidance backbone's")


if __name__ == "__main__":
    run_command(cat_seg_v1, "python -m papers.cat_seg_v1")
