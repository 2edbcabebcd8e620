"""Presets that need no training: CLIPSeg and CLIPs alone, small, from a hub on loopback; CLIPs of timm from files."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

import segvoc
from segvoc.checkpoints.fetching import cached
from segvoc.encoders.prompts import IMAGENET_TEMPLATES
from segvoc.encoders.vocabulary_encoder import VocabularyEncoder
from segvoc.errors import CheckpointError
from segvoc.inference import windows
from segvoc.inference.label_options import LabelOptions
from segvoc.inference.protocols import Protocol
from segvoc.models.conversion import convert
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.models.opening import load_network
from segvoc.models.presets import PRESETS
from segvoc.networks.base import SegmentationNetwork
from segvoc.networks.choices import build_aggregation
from segvoc.networks.clip_network import ClipNetworkConfig
from segvoc.vocabulary import Vocabulary
from tests.golden_sets import TOLERANCE
from tests.inference.small_network import views
from tests.loopback_hub import LoopbackHub, use_hub, without_network
from tests.official_checkpoints import use_small_clip, use_small_clipseg
from tests.timm_clips import (
    ALL,
    both_dino_files,
    image_encoder,
    small_dino_txt,
    small_network_on,
    small_tokenizer,
    text_encoder,
    weights,
)
from tests.transformers_models import PHOTOGRAPHS, PHRASES, VERSIONS, transformers_case, weights_of

pytestmark = pytest.mark.filterwarnings("ignore::segvoc.errors.ActivationWarning")  # weights without OpenAI's sizes

CLIPSEGS = {"clipseg": "refined", "clipseg-rd64": "plain"}
CLIPS = ["clip-b", "eva-clip-b"]
IMAGE = PHOTOGRAPHS[0]


@pytest.fixture(autouse=True)
def home(hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_hub(monkeypatch, tmp_path / "home", hub.url)


def resized_by_pillow(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Columns before rows where the height shrinks more: Pillow 13 resizes so in one call, Pillow 11 doesn't."""
    resized, (height, width) = Image.fromarray(image), size
    if resized.height / height > max(1, resized.width / width):
        resized = resized.resize((resized.width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized.resize((width, height), Image.Resampling.BILINEAR), np.float32)


def photograph_logits(model: NetworkSegmenter) -> Tensor:
    """Logits of the phrases in the photographs, as the model prepares and reads both.

    They are resized as the Pillow of the goldens does, which takes an upright image's columns first; ours never does.
    """
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(windows, "_loaded", resized_by_pillow)
        pixels = torch.cat([views(image, model.protocol(LabelOptions())) for image in PHOTOGRAPHS])
    text = model.encode_words(Vocabulary(PHRASES))
    assert isinstance(text, Tensor)
    with torch.inference_mode():
        return model.network(pixels, text)


@pytest.mark.parametrize("name", CLIPSEGS)
def test_clipseg_is_fetched_and_its_logits_are_those_of_transformers(name, hub, monkeypatch):
    file = use_small_clipseg(hub, monkeypatch, name)
    assert cached(file) is None
    logits = photograph_logits(load_network(name, device="cpu"))
    assert len(hub.transfers()) == 1
    assert logits.shape == (3, 5, 352, 352)
    assert (logits[:, 1:] - logits[:, :1]).abs().amax(dim=(0, 2, 3)).min() > 0.01  # the phrases matter
    for version in VERSIONS:
        stage = f"{version}.clipseg_{CLIPSEGS[name]}.photographs"
        assert transformers_case().error(stage, logits) <= TOLERANCE
    without_network(monkeypatch)
    assert torch.equal(photograph_logits(load_network(name, device="cpu")), logits)


def test_files_of_transformers_are_read_with_either_head(hub, monkeypatch, tmp_path):
    use_small_clipseg(hub, monkeypatch, "clipseg")
    save_file(weights_of("clipseg_plain"), tmp_path / "plain.safetensors")
    with pytest.raises(CheckpointError, match="plain head; load them with the option head=plain"):
        load_network("clipseg", weights=tmp_path / "plain.safetensors")
    convert(tmp_path / "plain.safetensors", tmp_path / "ours.safetensors", "clipseg", {"head": "plain"})
    logits = photograph_logits(load_network(tmp_path / "ours.safetensors", device="cpu"))
    assert transformers_case().error(f"{VERSIONS[0]}.clipseg_plain.photographs", logits) <= TOLERANCE
    assert hub.transfers() == []


@pytest.mark.parametrize("name", CLIPS)
def test_a_clip_alone_compares_every_cell_with_the_mean_of_the_prompts(name, hub, monkeypatch):
    use_small_clip(hub, monkeypatch, name)
    model = load_network(name, device="cpu")
    assert len(hub.transfers()) == 1
    assert model.traits.decision.stand_ins is not None and model.traits.decision.stand_ins.threshold == 0
    words = ["cat", "sofa", "wall"]
    text = model.encode_words(Vocabulary(words))
    each = VocabularyEncoder(model.network.text_encoder, IMAGENET_TEMPLATES)(Vocabulary(words))
    assert isinstance(text, Tensor) and text.shape == (3, 1, 64) and each.shape == (3, 80, 64)
    mean = F.normalize(each.mean(dim=1), dim=-1)
    torch.testing.assert_close(text[:, 0], mean)
    pixels = views(IMAGE, model.protocols["auto"])
    assert pixels.shape == (6, 3, 96, 96)  # 144 x 192 px, in windows of 96 px at 48 px
    with torch.inference_mode():
        logits = model.network(pixels, text)
        cells = F.normalize(model.network.image_encoder(pixels).maps[0], dim=1)
    cosines = torch.einsum("bchw,tc->bthw", cells, mean)
    torch.testing.assert_close(logits, 40 * (cosines - 0.2), atol=1e-4, rtol=1e-4)


PRESET = {"siglip": "siglip2-b", "pe-core": "pe-core-b", "mobileclip": "mobileclip2-s2", "dino_txt": "dinov3-l"}
PIXELS = np.random.default_rng(0).integers(0, 256, (70, 110, 3), np.uint8)


@pytest.fixture(params=ALL)
def family(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    family: str = request.param

    def towers() -> tuple[nn.Module, nn.Module]:
        return small_dino_txt() if family == "dino_txt" else (image_encoder(family), text_encoder(family))

    def build(configuration: ClipNetworkConfig) -> SegmentationNetwork:
        image, text = towers()
        return SegmentationNetwork(image, text, build_aggregation(configuration.aggregation, image))

    protocols = {"auto": Protocol(size=128)}
    small = replace(
        PRESETS[PRESET[family]], build=build, protocols_of=lambda _: protocols, templates_of=lambda _: ("a {}",)
    )
    monkeypatch.setitem(PRESETS, PRESET[family], small)
    return family


def published(family: str) -> dict[str, Tensor]:
    found = both_dino_files() if family == "dino_txt" else weights(family)
    return {name: value.contiguous() for name, value in found.items() if name != "tokenizer"}


def test_published_weights_are_loaded_saved_and_loaded_again(family: str, tmp_path: Path) -> None:
    save_file(published(family), tmp_path / "published.safetensors")
    (tmp_path / "tokenizer.json").write_text(small_tokenizer().to_str())
    model = segvoc.load(PRESET[family], weights=tmp_path / "published.safetensors", device="cpu")
    words = ["cat", "dog"]
    first = model.segment(PIXELS, words, return_probabilities=True)
    features, network = model.network.image_encoder, small_network_on(family)
    assert all(
        np.array_equal(value, network.image_encoder.state_dict()[name]) for name, value in features.state_dict().items()
    )
    (tmp_path / "tokenizer.json").unlink()
    segvoc.save(model, tmp_path / "own.safetensors")
    again = segvoc.load(tmp_path / "own.safetensors", device="cpu").segment(PIXELS, words, return_probabilities=True)
    network.aggregation = model.network.aggregation
    model.network = network
    mixed = model.segment(PIXELS, words, return_probabilities=True)
    for other in (again, mixed):
        # weights at other addresses: on some processors products are rounded otherwise
        np.testing.assert_allclose(other.probabilities, first.probabilities, rtol=0, atol=1e-6)
