"""What must hold on a GPU: the CPU's answers. Without one it is skipped; `benchmarks/gpu.sh` runs it where there is."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import segvoc
from segvoc.selection_rules import MostSimilar, Voted
from segvoc.training.objectives.losses import OrthogonalityLoss, masked_segmentation_loss
from tests.golden_sets import TOLERANCE, compact_case
from tests.inference.small_network import small_segmenter
from tests.networks import test_err_seg
from tests.networks.aggregation_contract import small
from tests.networks.contract import assert_alike, make_image, words
from tests.networks.golden_stages import FAMILIES, embed, filled_tiny, images

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")

SAMPLES = sorted((Path(__file__).parents[1] / "samples").glob("*.jpg"))
WORDS = ["cat", "face", "space suit", "cup", "table", "rocket", "sky", "grass", "wall", "flag"]
NETWORKS = {
    "parallel": small,
    "serial": partial(small, order="serial", fusion="last", eva=False),
    "features": partial(small, aggregation="features"),
    "err": test_err_seg.small,
}


@pytest.fixture(autouse=True)
def full_precision():
    """TF32 rounds to ten bits, which is no fault of ours."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("selection", [None, MostSimilar(3), Voted(3)], ids=["all", "similar", "voted"])
def test_networks_answer_as_on_the_cpu(kind, selection):
    torch.manual_seed(0)
    network = NETWORKS[kind]().eval().requires_grad_(False)
    image, text = make_image(2, 96, 128), words(7, 1, network.image_encoder.channels)
    expected = network(image, text, selection=selection)
    network.cuda()
    for chunk in (2, 7):
        assert_alike(network(image.cuda(), text.cuda(), selection=selection, chunk=chunk).cpu(), expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_of_the_official_code(family):
    case, network = compact_case(FAMILIES[family].tiny), filled_tiny(family)
    with torch.no_grad():
        text = embed(network, compact_case("tiny_pca_eva").record["classes"])
        logits = network.cuda()(images("image384_u8").cuda(), text.cuda())
    assert case.error("eval384.logits", logits.cpu()) <= TOLERANCE


def test_a_training_step_has_the_cpus_gradients():
    """In float64, where no rounding flips a ReLU."""
    torch.manual_seed(0)
    network, orthogonality = small().double().train(), OrthogonalityLoss()
    image, text, labels = make_image(2, 96, 96).double(), words(4, 1, 32).double(), torch.randint(0, 4, (2, 96, 96))
    gradients = {}
    for device in ("cpu", "cuda"):
        network.to(device).zero_grad()
        logits = network(image.to(device), text.to(device), observe=orthogonality.observe)
        (masked_segmentation_loss(logits, labels.to(device)) + orthogonality()).backward()
        gradients[device] = {n: p.grad.cpu().clone() for n, p in network.named_parameters() if p.grad is not None}
    assert gradients["cpu"].keys() == gradients["cuda"].keys()
    largest = max(gradient.abs().max().item() for gradient in gradients["cpu"].values())
    for name, gradient in gradients["cpu"].items():
        # some gradients are zero but for rounding
        unit = max(gradient.abs().max().item(), 1e-6 * largest)
        torch.testing.assert_close(gradients["cuda"][name], gradient, rtol=0, atol=1e-7 * unit)


@pytest.mark.parametrize("window", ["single", "official"])
@pytest.mark.parametrize("keep", [None, 3, "auto"])
def test_the_segmenter_labels_as_on_the_cpu(window, keep):
    rng = np.random.default_rng(0)
    photos = [rng.integers(0, 256, (h, w, 3), np.uint8) for h, w in ((70, 90), (70, 90), (33, 120))]
    model = small_segmenter(batch=2)
    ask = partial(model.segment, photos, WORDS, window=window, keep_classes=keep, return_probabilities=True)
    expected = ask()
    model.network.cuda()
    for ours, theirs in zip(ask(), expected, strict=True):
        assert (ours.labels == theirs.labels).mean() > 0.999
        assert np.abs(ours.probabilities - theirs.probabilities).max() < 1e-3


@pytest.mark.parametrize("window", ["single", "official"])
def test_parts_are_as_on_the_cpu(window):
    photo = np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)
    model = small_segmenter()
    ask = partial(model.segment, photo, WORDS, parts={"cat": ["head", "leg"], "*": ["edge"]}, window=window)
    expected = ask()
    model.network.cuda()
    ours = ask()
    assert (ours.part_labels == expected.part_labels).mean() > 0.999
    assert (ours.labels == expected.labels).mean() > 0.999


def test_tiny_labels_photographs_as_on_the_cpu():
    assert segvoc.load("tiny").device.type == "cuda"
    on_cpu, on_gpu, *brief = (
        segvoc.load("tiny", device=device, dtype=dtype).segment(SAMPLES, WORDS, background="something else")
        for device, dtype in (("cpu", "float32"), ("cuda", "float32"), ("cuda", "bfloat16"), ("cuda", "float16"))
    )
    for expected, full, *halves in zip(on_cpu, on_gpu, *brief, strict=True):
        assert (expected.labels == full.labels).mean() > 0.999
        assert np.abs(expected.confidence - full.confidence).max() < 1e-2
        assert all((expected.labels == half.labels).mean() > 0.95 for half in halves)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("preset", ["pca-seg-b", "cat-seg-b", "err-seg-b"])
def test_presets_run_on_the_gpu(preset, dtype):
    model = segvoc.load(preset, weights="random", device="cuda", dtype=dtype)
    found = model.segment(SAMPLES[:2], WORDS, keep_classes=4)
    assert all(result.selected.sum() == 4 and np.isfinite(result.confidence).all() for result in found)
