"""A checkout that only looks like CAT-Seg's: its files, modules and calls, with a small network of ours inside."""

from pathlib import Path

NOT_IMPORTED = "raise ImportError('this package must not be imported')\n"
FILES = {
    "cat_seg/__init__.py": NOT_IMPORTED,
    "cat_seg/modeling/__init__.py": NOT_IMPORTED,
    "cat_seg/third_party/model_vpt.py": """
from torch import nn


class CLIP(nn.Module):
    def __init__(self, **settings):
        super().__init__()
""",
    "cat_seg/modeling/transformer/model.py": """
from cca_zoo.models import CCA
from torch import nn

from .scale import SCALE


class Aggregator(nn.Module):
    def __init__(self, num_layers, pooling_size, pad_len):
        super().__init__()
        self.pooling, self.scale = pooling_size, SCALE

    def correlate(self):
        return CCA(2)
""",
    "cat_seg/modeling/transformer/cat_seg_predictor.py": """
import fvcore.nn.weight_init as weight_init
from detectron2.config import configurable
from torch import nn

from cat_seg.third_party import model_vpt

from .model import Aggregator


class CATSegPredictor(nn.Module):
    @configurable
    def __init__(self):
        raise RuntimeError("this downloads weights")
""",
    "cat_seg/modeling/heads/cat_seg_head.py": """
from detectron2.layers import Conv2d
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from torch import nn

from ..transformer.cat_seg_predictor import CATSegPredictor


@SEM_SEG_HEADS_REGISTRY.register()
class CATSegHead(nn.Module):
    def forward(self, ours, *inputs):
        whole = self.predictor.transformer
        return whole.scale * ours(*inputs, pooling=whole.pooling)
""",
    "cat_seg/cat_seg_model.py": """
import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.modeling.postprocessing import sem_seg_postprocess
from detectron2.structures import ImageList
from torch import nn
from torch.nn import functional as F

from segvoc.networks.official_weights import network_state
from segvoc.inference.windows import merged, views
from segvoc.models.presets import find_preset
from tests.official_checkpoints import official_weights


@META_ARCH_REGISTRY.register()
class CATSeg(nn.Module):
    @configurable
    def __init__(self, *, sem_seg_head, size_divisibility, sliding_window, **settings):
        super().__init__()
        self.sem_seg_head, self.size_divisibility = sem_seg_head, size_divisibility
        self.sliding_window = sliding_window
        self.upsample1 = self.upsample2 = nn.Identity()
        weights = official_weights("cat-seg-b").items()
        self.weights = {name: nn.Parameter(value.clone(), value.is_floating_point()) for name, value in weights}
        self.preset = find_preset("cat-seg-b")
        self.network = [self.preset.build(self.preset.configuration).eval()]
        self.trained = set(self.network[0].trainable_parameters())

    def state_dict(self):
        return {name: value.detach() for name, value in self.weights.items()}

    def named_parameters(self, recurse=True):
        return self.weights.items()

    def zero_grad(self, set_to_none):
        for value in self.weights.values():
            value.grad = None

    def ours(self, *inputs, part=None, **options):
        (network,) = self.network
        state = network_state(self.weights, network)
        state = {name: value if name in self.trained else value.detach() for name, value in state.items()}
        start = f"{part}." if part else ""
        own = {name.removeprefix(start): value for name, value in state.items() if name.startswith(start)}
        return torch.func.functional_call(getattr(network, part) if part else network, own, inputs, options)

    def forward(self, requests):
        (request,) = requests
        protocol, predictor = self.preset.protocols["official"], self.sem_seg_head.predictor
        text = predictor.cache
        if self.training:
            assert predictor.tokens.shape[1] == 77
            text = F.normalize(self.ours(predictor.tokens, part="text_encoder"), dim=-1)[:, None]
        if self.sliding_window:
            pixels = torch.from_numpy(views(request["image"].permute(1, 2, 0).numpy(), protocol))
        else:
            pixels = ImageList.from_tensors([request["image"].float()], self.size_divisibility).tensor
        logits = self.sem_seg_head(self.ours, pixels, text)
        if self.training:
            labels = request["sem_seg"]
            targets = F.one_hot(labels, logits.shape[1]).permute(2, 0, 1)[None].float()
            full = F.interpolate(logits, labels.shape, mode="bilinear")
            return {"loss_sem_seg": F.binary_cross_entropy_with_logits(full, targets)}
        maps = merged(logits, protocol) if self.sliding_window else logits.sigmoid()[0]
        return [{"sem_seg": sem_seg_postprocess(maps, maps.shape[1:], request["height"], request["width"])}]
""",
}


def make_checkout(folder: Path, scale: float = 1.0) -> Path:
    """Write the files; its logits are ours times `scale`."""
    for name, source in FILES.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source)
    (folder / "cat_seg/modeling/transformer/scale.py").write_text(f"SCALE = {scale}\n")
    return folder
