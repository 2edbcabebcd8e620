"""The table of recipes, one entry for each published row, and `finetune`.

Change a recipe with `Recipe.with_settings`, or on the command line with `--set`. On N GPUs, the command of a recipe is

    torchrun --nproc-per-node N --no-python segvoc train NAME --data ROOT --out RUN

with the options that its entry names. The scores of a row are in `data/published_scores.json`, under the recipe's name.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from segvoc.errors import UsageError
from segvoc.models.presets import find_preset
from segvoc.models.resolving import resolve
from segvoc.models.weights import architecture
from segvoc.networks.clip_network import ClipNetworkConfig
from segvoc.networks.err_seg import ErrSegConfig
from segvoc.networks.syn_seg import SynSegConfig
from segvoc.networks.tiny import TWO_BLOCKS, TinyConfig
from segvoc.runtime.suggestions import checked_call
from segvoc.training.recipe import (
    CaptionConfig,
    DataConfig,
    Method,
    ObjectiveConfig,
    OptimizerConfig,
    Recipe,
    RuntimeConfig,
    TunedWordsConfig,
)

PAPER_FOD, RELEASED_FOD = 0.01, 0.001
"""Lambda of Eq. 10: the best value of Table 5d, and the value in the released code."""


class NamedRecipe:
    """A recipe of the table, whole or as the changes of another entry. Call it for the `Recipe`.

    Args:
        base: the recipe, or the name of the entry that this one changes.
        about: the row of a paper's table, its hardware, the options of `segvoc train`.
        changes: "model" and "network" replace the base's, all others are settings (`Recipe.with_settings`).
    """

    def __init__(self, base: Recipe | str, about: str, changes: Mapping[str, object] = MappingProxyType({})) -> None:
        self.base, self.changes, self.__doc__ = base, changes, about

    def __call__(self) -> Recipe:
        """The recipe."""
        recipe = self.base if isinstance(self.base, Recipe) else RECIPES[self.base]()
        whole: dict[str, Any] = {name: self.changes[name] for name in ("model", "network") if name in self.changes}
        settings = {name: value for name, value in self.changes.items() if name not in whole}
        return replace(replace(recipe, model=whole.pop("model", recipe.model)).with_settings(**settings), **whole)


RECIPES: dict[str, Callable[[], Recipe]] = {
    # CAT-Seg (Cho et al., CVPR 2024), and PCA-Seg's serial baseline with DeCLIP's encoders.
    "cat-seg-b": NamedRecipe(
        Recipe(
            model="cat-seg-b",
            optimizer=OptimizerConfig(batch_size=4, lr=2e-4),
            data=DataConfig(crop_size=384),
            runtime=RuntimeConfig(class_chunk_size=64, activation_checkpointing="auto", num_workers=8),
        ),
        "CAT-Seg, ViT-B/16, as its released code trains it on COCO-Stuff. Row: CVPR 2024, Table 1, CAT-Seg "
        "(ViT-B/16). Hardware: 4 RTX 3090, one image per GPU, no mixed precision.\n\n"
        "On a GPU whose memory is too small for all activations (24 GB for several images), they are recomputed in "
        "the backward pass, chunk by chunk, with the same results.",
    ),
    "cat-seg-l": NamedRecipe(
        "cat-seg-b",
        "CAT-Seg, ViT-L/14 at 336 px: crops of 384 px are resized to 336 px. Row: CVPR 2024, Table 1, CAT-Seg "
        "(ViT-L/14). Hardware: 4 RTX 3090.",
        {"model": "cat-seg-l", "resize_crop_to": 336},
    ),
    "cat-seg-eva-b": NamedRecipe(
        "cat-seg-b",
        "PCA-Seg's serial baseline with DeCLIP's EVA02-CLIP-B/16 (its \"DeCLIP\" rows). Row: PCA-Seg, Table 3, serial; "
        "learning rate and batch size of its released configuration eva_vitb_384 (5e-4, 8). Hardware: 8 GPUs, one "
        "image each. Options: --encoder-weights DECLIP-B.pt",
        {"model": "cat-seg-eva-b", "batch_size": 8, "lr": 5e-4},
    ),
    "cat-seg-eva-l": NamedRecipe(
        "cat-seg-eva-b",
        "PCA-Seg's serial baseline with DeCLIP's EVA02-CLIP-L/14, at 336 px. Row: PCA-Seg, Table 3, serial; learning "
        "rate and batch size of its released configuration eva_vitl_336 (3e-4, 8). Hardware: 8 GPUs. Options: "
        "--encoder-weights DECLIP-L.pt",
        {"model": "cat-seg-eva-l", "lr": 3e-4, "resize_crop_to": 336},
    ),
    # PCA-Seg (Yin et al., CVPR 2026), with the architecture of the released code and the FOD loss weight of the paper.
    # The released training code fails at the first step (a call lacks an argument), so the published numbers can't come
    # from exactly that code. The paper doesn't state the learning rate; these are the released configurations'.
    "pca-seg-b": NamedRecipe(
        "cat-seg-eva-b",
        "PCA-Seg with DeCLIP's EVA02-CLIP-B/16. Row: Table 1, PCA-Seg (ViT-B/16). Hardware: 8 A6000, one image per "
        "GPU. Options: --encoder-weights DECLIP-B.pt",
        {"model": "pca-seg-b", "fod_weight": PAPER_FOD},
    ),
    "pca-seg-l": NamedRecipe(
        "cat-seg-eva-l",
        "PCA-Seg with DeCLIP's EVA02-CLIP-L/14, at 336 px. Row: Table 1, PCA-Seg (ViT-L/14). Hardware: 8 A6000. "
        "Options: --encoder-weights DECLIP-L.pt",
        {"model": "pca-seg-l", "fod_weight": PAPER_FOD},
    ),
    "pca-seg-b-released": NamedRecipe(
        "pca-seg-b",
        "PCA-Seg with EVA02-CLIP-B/16 and the released code's FOD loss weight. Row: Table 5d, lambda 0.001. Hardware "
        "and options: as for `pca-seg-b`.",
        {"fod_weight": RELEASED_FOD},
    ),
    "pca-seg-l-released": NamedRecipe(
        "pca-seg-l",
        "PCA-Seg with EVA02-CLIP-L/14 and the released code's FOD loss weight. Row: not published. Hardware and "
        "options: as for `pca-seg-l`.",
        {"fod_weight": RELEASED_FOD},
    ),
    "pca-seg-clip-b": NamedRecipe(
        "cat-seg-b",
        "PCA-Seg with OpenAI's ViT-B/16, as in the released configuration vitb_384. Row: not published. Hardware: 4 "
        "GPUs with 24 GB each.",
        {"model": "pca-seg-clip-b", "fod_weight": PAPER_FOD},
    ),
    "pca-seg-clip-l": NamedRecipe(
        "cat-seg-l",
        "PCA-Seg with OpenAI's ViT-L/14 at 336 px, as in the released configuration vitl_336. Row: not published. "
        "Hardware: 4 GPUs with 24 GB each.",
        {"model": "pca-seg-clip-l", "fod_weight": PAPER_FOD},
    ),
    "no-aggregation-b": NamedRecipe(
        "pca-seg-b",
        "DeCLIP's EVA02-CLIP-B/16 without aggregation: the logits are the scaled and shifted cosine similarities. "
        "Row: Table 3, without aggregation. Hardware: 8 A6000. Options: --encoder-weights DECLIP-B.pt",
        {"aggregation": "none", "fod_weight": 0.0},
    ),
    # ERR-Seg (Chen et al.), as its released code trains it.
    "err-seg-b": NamedRecipe(
        Recipe(
            model="err-seg-b",
            optimizer=OptimizerConfig(batch_size=4, lr=2e-4, warmup_steps=1000, max_grad_norm=0.0),
            objective=ObjectiveConfig(num_kept_classes=32),
            data=DataConfig(short_sides=(640,), crop_size=640),
            runtime=RuntimeConfig(precision="float16", tf32=False, num_workers=2),
        ),
        "ERR-Seg, CLIP-ConvNeXt-B, with image and text encoder fine-tuned. Row: Table 3, ERR-Seg (ConvNeXt-B, Img. "
        "and Txt.). Hardware: 4 RTX 3090, mixed precision. Options: --encoder-weights convnext_base_w_320.bin",
    ),
    "err-seg-l": NamedRecipe(
        "err-seg-b",
        "ERR-Seg, CLIP-ConvNeXt-L, trained at 640 px and tested at 768. Row: Table 3, ERR-Seg (ConvNeXt-L, Img. and "
        "Txt.). Hardware: 4 RTX 3090, mixed precision.",
        {"model": "err-seg-l"},
    ),
    "err-seg-b-frozen": NamedRecipe(
        "err-seg-b",
        "ERR-Seg, CLIP-ConvNeXt-B with frozen encoders at 384 px, trained and tested. Row: Table 13, ConvNeXt-B. The "
        "paper gives no other setting of it; these are those of `err-seg-b`. Hardware: 4 RTX 3090. Options: as for "
        "`err-seg-b`.",
        {
            "network": ErrSegConfig(encoder="convnext_base_w", side=384),
            "trainable": "none",
            "short_sides": (384,),
            "crop_size": 384,
        },
    ),
    "err-seg-vit-b-frozen": NamedRecipe(
        "err-seg-b-frozen",
        "ERR-Seg, OpenAI CLIP ViT-B/16 with frozen encoders at 384 px, trained and tested. Row: Table 13, ViT-B/16. "
        "The paper doesn't say which maps of a ViT guide the aggregation and the decoder; here they are CAT-Seg's. "
        "Hardware: 4 RTX 3090.",
        {"model": "err-seg-vit-b", "network": None},
    ),
    # PartCATSeg (Choi et al., CVPR 2025) as its released code trains it, and PCA-Seg's part mode. The available copy of
    # PCA-Seg lacks its learning rates, and no code for parts was released, so PartCATSeg's are used.
    "part-cat-seg-b": NamedRecipe(
        Recipe(
            model="part-cat-seg-b",
            optimizer=OptimizerConfig(steps=20_000, batch_size=4),
            data=DataConfig(dataset="pascal-part-116-train", max_long_side=768),
            runtime=RuntimeConfig(class_chunk_size=64, activation_checkpointing="auto"),
        ),
        "PartCATSeg on Pascal-Part-116, or on ADE20K-Part-234 with `--set dataset=ade20k-part-234-train`. Row: "
        "PCA-Seg, Table 2, PartCATSeg. Hardware: no mixed precision.\n\n"
        "CLIP is frozen, and DINOv2 is trained at a hundredth of the learning rate. The released code starts from a "
        "CAT-Seg checkpoint; this recipe starts from the encoders and a randomly initialized aggregation.",
    ),
    "pca-part-b": NamedRecipe(
        "part-cat-seg-b",
        "PCA-Seg's part mode on Pascal-Part-116, with PartCATSeg's learning rate, weight decay and gradient "
        "clipping. Row: Table 2, PCA-Seg. Hardware: 8 A6000.",
        {"model": "pca-part-b", "steps": 30_000, "batch_size": 8, "fod_weight": 0.01},
    ),
    "pca-part-b-ade": NamedRecipe(
        "pca-part-b",
        "PCA-Seg's part mode on ADE20K-Part-234. Row: Table 2, PCA-Seg. Hardware: 8 A6000.",
        {"steps": 20_000, "dataset": "ade20k-part-234-train"},
    ),
    # The embedded model.
    "tiny": NamedRecipe(
        Recipe(
            model="tiny",
            optimizer=OptimizerConfig(
                steps=200,
                batch_size=2,
                lr=2e-3,
                warmup_steps=20,
                max_grad_norm=1.0,
                encoder_lr_scale=1.0,
                trunk_lr_scale=0.1,
            ),
            objective=ObjectiveConfig(loss="competing"),
            data=DataConfig(
                dataset="", short_sides=(448, 512, 576), crop_size=448, squash_prob=0.8, swap_left_right=True
            ),
            runtime=RuntimeConfig(
                class_chunk_size=16, activation_checkpointing="auto", num_workers=2, save_every=50, eval_every=0
            ),
        ),
        "Fine-tune `tiny`: its projections, the sum of its costs, and its trunk at a tenth of their learning rate. "
        "`--set trunk_lr_scale=0` freezes the trunk, which takes a quarter of the time but fits less well: on 8 "
        "training photographs with 58 garments, 93 % of the pixels are correct after 150 steps, compared to 95 % "
        "after 60 steps with the trunk. Hardware: a laptop; minutes for tens of photographs. Command: segvoc train "
        "tiny --images DIR --labels DIR --classes classes.json --out RUN",
    ),
    "tiny-aggregation": NamedRecipe(
        "tiny",
        "Two small parallel blocks on tiny's encoders, randomly initialized, whose output is added to tiny's sum of "
        "costs. Their output is zero at first. `--set skip=none` omits the sum, so that everything is learned from "
        "scratch. `--set order=serial --set fusion=last`, `--set fusion=...`, `--set experts=...` and `--set "
        "aggregation=none` are small versions of the rows of the papers' tables. Hardware: a laptop, seconds per "
        "step. Command: segvoc train tiny-aggregation --images DIR --labels DIR --classes classes.json --out RUN",
        {
            "trunk_lr_scale": 0.0,
            "batch_size": 4,
            "fod_weight": 0.01,
            "steps": 600,
            "network": TinyConfig(aggregation=TWO_BLOCKS),
        },
    ),
    # SynSeg, which learns from captions. docs/papers/syn_seg.md lists the values taken from the paper.
    "syn-seg-b": NamedRecipe(
        Recipe(
            model="syn-seg-b",
            supervision="captions",
            seeds=(42, 43, 44, 45, 46),
            optimizer=OptimizerConfig(
                steps=10_000,
                batch_size=256,
                lr=1e-3,
                weight_decay=1e-4,
                warmup_steps=100,
                max_grad_norm=1.0,
                trainable="none",
            ),
            captions=CaptionConfig(match="substring"),
            data=DataConfig(dataset="", crop_size=224),
            runtime=RuntimeConfig(num_workers=8, save_every=500, eval_every=1000),
        ),
        "SynSeg with OpenAI's CLIP ViT-B/16: trains FiLM, projector and decoder; the encoders are frozen. Row: arXiv "
        "v2, Table 1: VOC 62.2, Context 41.8, COCO-Object 34.9, COCO-Stuff 23.6, Cityscapes 30.9, with a decoder "
        "initialized from CLIPSeg (`--weights clipseg.safetensors`, which was trained on masks of PhraseCut). arXiv "
        "v3, Table II: 60.5, 43.8, 36.0, 24.5, 35.8, and ADE20K 18.4; the decoder's initial weights are not stated. "
        "Both are means of five runs on CC12M. The learning rate is that of CLIPSeg trained from scratch; when you "
        "start from its weights, set lr=1e-4. Hardware: one RTX 4090. Command: segvoc train syn-seg-b --captions "
        '"cc12m/{00000..01242}.tar" --out RUN\n\n'
        "From the paper: seed 42, phrases found by spaCy and dropped if they contain an excluded substring, FiLM by a "
        "small MLP (in the preset). Runs with one seed are the same here, so the five runs have consecutive seeds. "
        "docs/papers/differences.md has the rest.",
    ),
}
"""Every recipe, by its name."""


@checked_call
def finetune(model: str, *, images: int = 30, steps: int | None = None, method: Method | None = None) -> Recipe:
    """Fine-tune a model on your own images.

    For tiny, the network is frozen and words are tuned on its features (`method=words`). Published networks are
    trained themselves: they keep their learning rates and losses, but train for a thousand steps, ignore unlabeled
    pixels, and swap left and right in mirror images. Without `--weights`, a network with published weights starts
    from these (`--set init_from=encoders`: from its encoders alone).

    A tenth of the images, and at least two, are held out to keep the best weights, which may be those that the run
    starts from, unless there are fewer than eight images.

    Args:
        model: what `segvoc.load` takes, except for an exported folder.
        images: number of labeled images, which determines the settings of tuned words.
        steps: number of steps; None: the default.
        method: "words" tunes words, "network" trains the network; None: "words" for tiny, otherwise "network".

    Raises:
        UsageError: the model is unknown, or an exported folder; or `images` or `steps` is less than 1.
        CheckpointError: its file can't be read or wasn't written by segvoc.
    """
    for name, number in (("images", images), ("steps", steps)):
        if number is not None and number < 1:
            raise UsageError(f"{name}={number} is out of range; give a number from 1")
    spec = resolve(model)
    preset, (_, configuration) = spec.preset, architecture(spec)
    network = None if spec.name == preset else configuration
    if preset == "tiny":
        recipe, method = RECIPES["tiny"](), method or "words"
    else:
        recipe = RECIPES[preset]() if preset in RECIPES else _on_labels(preset)
        recipe = recipe.with_settings(
            init_from="network",
            steps=1000,
            loss="masked",
            dataset="",
            swap_left_right=True,
            save_every=100,
        )
    if method == "words":
        recipe = tuned_words(recipe, images, steps)
    else:
        recipe = recipe if steps is None else recipe.with_settings(steps=steps)
        recipe = _validated(recipe, images, patience=_VALIDATIONS)
    return replace(recipe, model=model, network=network)


_VALIDATIONS = 5
"""Validations of a fine-tuning, after the first."""


def _validated(recipe: Recipe, images: int, *, patience: int) -> Recipe:
    """Hold out a tenth of the images, and at least two, to keep the best weights; none of fewer than eight."""
    held_out = 0 if images < 8 else min(50, max(2, round(images / 10)))
    return recipe.with_settings(
        num_val_images=held_out,
        eval_every=max(1, recipe.optimizer.steps // _VALIDATIONS),
        eval_first=True,
        patience=patience if held_out else 0,
    )


def tuned_words(recipe: Recipe, images: int, steps: int | None = None) -> Recipe:
    """Tune words on the features of a recipe's network: a small pyramid, and a classifier for each word.

    Fewer images get more views each; more images get more steps.
    """
    steps = min(3000, 900 + 4 * images) if steps is None else steps
    recipe = replace(
        recipe,
        method="words",
        optimizer=OptimizerConfig(
            steps=steps,
            batch_size=2,
            lr=1.5e-2,
            weight_decay=1e-2,
            warmup_steps=20,
            max_grad_norm=1.0,
            trainable="none",
        ),
        words=TunedWordsConfig(views=max(1, min(6, round(180 / images)))),
        runtime=RuntimeConfig(num_workers=2, save_every=100),
    )
    return _validated(recipe, images, patience=2)


def _on_labels(preset: str) -> Recipe:
    """Recipe for networks without a published one: trains CLIPSeg's decoder, or a CLIP's image encoder, on label maps.

    This isn't from a paper; the learning rates are from CLIPSeg's and CAT-Seg's recipes.
    """
    configuration = find_preset(preset).configuration
    if isinstance(configuration, SynSegConfig):
        side = configuration.vit.input_size
        optimizer, sides = OptimizerConfig(trainable="none", lr=1e-4), DataConfig(short_sides=(side,), crop_size=side)
        return Recipe(model=preset, optimizer=optimizer, data=sides)
    assert isinstance(configuration, ClipNetworkConfig)
    side = configuration.encoder.input_size
    sides = DataConfig(short_sides=(side * 3 // 2,), crop_size=side)
    return Recipe(model=preset, optimizer=OptimizerConfig(trainable_encoders="image"), data=sides)
