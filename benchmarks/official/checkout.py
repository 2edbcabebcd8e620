"""Imports of the repositories of CAT-Seg, PCA-Seg and ERR-Seg, of which nothing is kept here.

Their packages register data sets and models in detectron2 when they are imported, so only the needed files are. What
these take from detectron2, and the fused attention of xformers, which has no CPU kernels, has stand-ins of a few lines;
other libraries that they import without using them (cca_zoo, cv2, fvcore) have empty ones while they are missing.
"""

import importlib
import importlib.util
import json
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segvoc.errors import UsageError

CLIP_FILE = Path("cat_seg/modeling/transformer/model.py")
ERR_FILE = Path("err_seg/modeling/modules/decoder.py")
EXPERTS = "class DualFeatureMoE"
"""What PCA-Seg's file has and CAT-Seg's, from which it is derived, has not."""
BARE = {
    "cat_seg": "cat_seg",
    "cat_seg.modeling": "cat_seg/modeling",
    "err_seg": "err_seg",
    "err_seg.modeling": "err_seg/modeling",
    "open_clip": "open_clip/src/open_clip",
}
"""Packages whose `__init__.py` isn't run, and their folders in a checkout; ERR-Seg brings an open_clip of its own."""
LONGEST = 256
"""The number of classes that CAT-Seg's and PCA-Seg's blocks see at most."""
UNUSED = ("cca_zoo", "cv2", "fvcore")
"""Libraries that are imported but not used in a forward pass."""
REPLACED = ("detectron2", "xformers")
"""Libraries whose stand-ins do what a forward pass needs of them."""


def find_model(folder: Path) -> str:
    """The preset whose official code a folder contains.

    Raises:
        UsageError: it contains none of the three repositories.
    """
    if (folder / ERR_FILE).is_file():
        return "err-seg-b"
    if not (folder / CLIP_FILE).is_file():
        raise UsageError(
            f"{folder} has neither {CLIP_FILE} nor {ERR_FILE}; give a checkout of CAT-Seg, PCA-Seg or ERR-Seg"
        )
    return "pca-seg-b" if EXPERTS in (folder / CLIP_FILE).read_text(encoding="utf-8") else "cat-seg-b"


def official_file(folder: Path) -> Path:
    """The file of a checkout that defines the aggregator."""
    return folder / (ERR_FILE if find_model(folder).startswith("err-seg") else CLIP_FILE)


@contextmanager
def official_code(folder: Path) -> Iterator[Callable[[str], Any]]:
    """Import modules of a checkout by their names; afterwards these names are free again."""
    missing = [library for library in UNUSED if importlib.util.find_spec(library) is None]
    replaced = (*BARE, *REPLACED, *missing)
    before = {name: module for name, module in sys.modules.items() if _inside(name, replaced)}
    for name in before:
        del sys.modules[name]
    for name, place in BARE.items():
        package = ModuleType(name)
        package.__path__ = [str(folder / place)]
        sys.modules[name] = package
    finder = _StandInFinder((*REPLACED, *missing))
    sys.meta_path.insert(0, finder)
    try:
        with warnings.catch_warnings(), redirect_stdout(sys.stderr):
            warnings.simplefilter("ignore")  # about deprecated names of timm
            yield importlib.import_module
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if _inside(name, replaced)]:
            del sys.modules[name]
        sys.modules.update(before)


def _inside(name: str, packages: Sequence[str]) -> bool:
    return name.partition(".")[0] in packages


class _StandInFinder(MetaPathFinder, Loader):
    """Provides stand-ins for some libraries and all of their modules."""

    def __init__(self, libraries: Sequence[str]) -> None:
        self.libraries = libraries

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        return ModuleSpec(name, self, is_package=True) if _inside(name, self.libraries) else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


class _StandIn(ModuleType):
    """A module in the place of a library; its names can be imported, but only those in `USED` can be called."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def missing(*arguments: object, **options: object) -> None:
            library = self.__name__.partition(".")[0]
            raise UsageError(f"the official code calls {self.__name__}.{name}; install {library}")

        return USED.get(name, missing)


def _unchanged(decorated: object) -> object:
    return decorated


def _image_list(images: Sequence[Tensor], size_divisibility: int) -> SimpleNamespace:
    """The `ImageList.from_tensors` of detectron2 for images of one size: pads their sides with zeros to multiples."""
    pixels = torch.stack(list(images))
    height, width = pixels.shape[-2:]
    step = max(1, size_divisibility)
    padded = F.pad(pixels, (0, -width % step, 0, -height % step))
    return SimpleNamespace(tensor=padded, image_sizes=[pixels.shape[-2:]] * len(pixels))


def _postprocessed(result: Tensor, image_size: Sequence[int], height: int, width: int) -> Tensor:
    """The `sem_seg_postprocess` of detectron2: cropped to the image's size, then interpolated."""
    return F.interpolate(result[None, :, : image_size[0], : image_size[1]], (height, width), mode="bilinear")[0]


def _attention(q: Tensor, k: Tensor, v: Tensor, p: float, scale: float, attn_bias: object) -> Tensor:
    """The `memory_efficient_attention` of xformers (axes B L N C), by PyTorch's; a bias can only be the causal mask."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=p, is_causal=attn_bias is not None, scale=scale)
    return mixed.transpose(1, 2)


REGISTRY = SimpleNamespace(register=lambda: _unchanged)
USED = {
    "configurable": _unchanged,
    "META_ARCH_REGISTRY": REGISTRY,
    "SEM_SEG_HEADS_REGISTRY": REGISTRY,
    "ImageList": SimpleNamespace(from_tensors=_image_list),
    "sem_seg_postprocess": _postprocessed,
    "memory_efficient_attention": _attention,
    "LowerTriangularMask": object,
}
"""What the official code uses of the libraries in `REPLACED`, by name."""


def assembled(kind: type[nn.Module], **parts: object) -> Any:
    """An official module made of given parts; its own constructor would download weights and needs a GPU."""
    module = kind.__new__(kind)
    nn.Module.__init__(module)
    for name, part in parts.items():
        setattr(module, name, part)
    return module


def randomize(module: nn.Module) -> None:
    """Fill an official network with random weights that keep the scale of its activations.

    Its own start has zeros and ones (biases, padding, the statistics of batch norms), which would hide differences.
    """
    torch.manual_seed(0)
    for name, value in module.state_dict().items():
        if not value.is_floating_point() or name.endswith(("attn_mask", "freqs_cos", "freqs_sin")):
            continue
        if name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif value.ndim > 1:
            value.normal_(std=(value.numel() / len(value)) ** -0.5)
        else:
            value.add_(torch.randn_like(value), alpha=0.02)


PIXELS = {
    "pixel_mean": (123.675, 116.280, 103.530),
    "pixel_std": (58.395, 57.120, 57.375),
    "clip_pixel_mean": (122.7709383, 116.7460125, 104.09373615),
    "clip_pixel_std": (68.5005327, 66.6321579, 70.3231630),
}
"""Means and standard deviations in the configurations of CAT-Seg and PCA-Seg, [0..255]."""


def build_official(folder: Path, kept: int, pooling: int) -> Any:
    """The whole official network with random weights, in the classes that detectron2 would build.

    Sizes and settings are those of configs/vitb_384.yaml (CAT-Seg), configs/eva_vitb_384.yaml (PCA-Seg) and
    configs/convnextB_640.yaml (ERR-Seg).

    Args:
        folder: the checkout.
        kept: number of classes that the blocks of ERR-Seg see.
        pooling: cells over which class aggregation pools along each axis; ERR-Seg has its own.

    Returns:
        `CATSeg` or `ERRSeg`; both map a list of one dictionary to a list of one dictionary, or in training to losses.
    """
    with official_code(folder) as find:
        network = _err_seg(folder, find, kept) if find_model(folder) == "err-seg-b" else _clip(folder, find, pooling)
    randomize(network)
    return network.eval()


def _clip(folder: Path, find: Callable[[str], Any], pooling: int) -> nn.Module:
    """cat_seg/cat_seg_model.py and its parts; `CATSegPredictor.__init__` says which towers belong to a name."""
    heads, whole = find("cat_seg.modeling.heads.cat_seg_head"), find("cat_seg.cat_seg_model")
    predictors = find("cat_seg.modeling.transformer.cat_seg_predictor")
    if find_model(folder) == "pca-seg-b":
        whole.init_log = lambda *_: logging.getLogger(whole.__name__)  # theirs makes a file in the working directory
        name = "EVA02-CLIP-B-16"
        towers = find("cat_seg.src.open_clip.eva_clip").create_model(name, force_custom_clip=True)
    else:
        name, text = "ViT-B/16", {"transformer_width": 512, "transformer_heads": 8, "transformer_layers": 12}
        vision = {"image_resolution": 224, "vision_layers": 12, "vision_width": 768, "vision_patch_size": 16}
        towers = find("cat_seg.third_party.model_vpt").CLIP(
            embed_dim=512, context_length=77, vocab_size=49408, **vision, **text
        )
    predictor = assembled(
        predictors.CATSegPredictor,
        clip_model=towers,
        transformer=predictors.Aggregator(num_layers=2, pooling_size=(pooling, pooling), pad_len=LONGEST),
        prompt_templates=(),
        **NO_WORDS,
    )
    return whole.CATSeg(
        backbone=None,
        sem_seg_head=assembled(
            heads.CATSegHead, predictor=predictor, feature_resolution=(24, 24), ignore_value=255, clip_name=name
        ),
        size_divisibility=32,
        train_class_json="",
        test_class_json="",
        sliding_window=False,
        clip_finetune="attention",
        backbone_multiplier=0.0,
        clip_pretrained=name,
        **PIXELS,
    )


def _err_seg(folder: Path, find: Callable[[str], Any], kept: int) -> nn.Module:
    """err_seg/err_seg_model.py and its parts, with the towers of its own open_clip."""
    heads, whole = find("err_seg.modeling.heads.err_seg_head"), find("err_seg.err_seg_model")
    sizes = folder / "open_clip/src/open_clip/model_configs/convnext_base_w_320.json"
    head = assembled(
        heads.ERRSEGHead,
        clip_model=find("open_clip.model").CLIP(**json.loads(sizes.read_text(encoding="utf-8"))),
        decoder=heads.Decoder(sample_classes_num=kept),
        **NO_WORDS,
    )
    return whole.ERRSeg(
        sem_seg_head=head,
        size_divisibility=640,
        clip_pixel_mean=PIXELS["pixel_mean"],
        clip_pixel_std=PIXELS["pixel_std"],
        crop_size=(640, 640),
        clip_finetune="weight",
        in_features=(),
        ignore_value=255,
    )


NO_WORDS = {"class_texts": (), "test_class_texts": (), "tokens": None, "cache": None}
"""Their predictors take the embeddings of words from `cache`, and in training their tokens from `tokens`."""
