"""What must hold on a GPU: the CPU's answers. Without one it is skipped; `benchmarks/gpu.sh` runs it where there is."""

import traceback
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import distributed

import segvoc
from segvoc.data.training.training_set import ShardedSampler, TrainingBatch
from segvoc.inference.windows import views
from segvoc.layers.selection import AUTO_SELECTION, ClassSelection
from segvoc.models.cuda_graphs import NetworkGraphs
from segvoc.runtime.distributed import Processes, wrap_distributed
from segvoc.runtime.process_settings import float32_products
from segvoc.training.loop import Training
from segvoc.training.losses import StreamSimilarity, masked_segmentation_loss, orthogonality_loss
from segvoc.training.run import train
from segvoc.training.start import Start
from tests.images import squares
from tests.inference.small_network import small_segmenter
from tests.networks import test_err_seg
from tests.networks.aggregation_contract import small
from tests.networks.contract import assert_alike, make_image, words
from tests.test_process_settings import in_force
from tests.training.runs import RECIPE, RUNS, drawn_images, losses

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")

SAMPLES = sorted((Path(__file__).parents[1] / "samples").glob("*.jpg"))
WORDS = ["cat", "face", "space suit", "cup", "table", "rocket", "sky", "grass", "wall", "flag"]
NETWORKS = {
    "parallel": small,
    "serial": partial(small, order="serial", fusion="last", eva=False),
    "features": partial(small, aggregation="features"),
    "err": test_err_seg.small,
}


of_each_kind = pytest.mark.parametrize("kind", NETWORKS)
with_each_selection = pytest.mark.parametrize(
    "selection",
    [None, ClassSelection(keep=3, by="similarity"), ClassSelection(keep=3)],
    ids=["all", "similar", "voted"],
)


@pytest.fixture(autouse=True)
def full_precision():
    """TF32 rounds to ten bits, which is no fault of ours."""
    with float32_products(tf32=False):
        yield


@of_each_kind
@with_each_selection
def test_networks_answer_as_on_the_cpu(kind, selection):
    torch.manual_seed(0)
    network = NETWORKS[kind]().eval().requires_grad_(False)
    image, text = make_image(2, 96, 128), words(7, 1, network.image_encoder.channels)
    expected = network(image, text, selection=selection)
    network.cuda()
    for chunk in (2, 7):
        assert_alike(network(image.cuda(), text.cuda(), selection=selection, chunk=chunk).cpu(), expected)


def test_a_training_step_has_the_cpus_gradients():
    """In float64, where no rounding flips a ReLU; at another size timm resizes the positions, in float32."""
    torch.manual_seed(0)
    network = small().double().train()
    image, text, labels = make_image(2, 64, 64).double(), words(4, 1, 32).double(), torch.randint(0, 4, (2, 64, 64))
    gradients = {}
    for device in ("cpu", "cuda"):
        network.to(device).zero_grad()
        streams = StreamSimilarity()
        logits = network(image.to(device), text.to(device), observe=streams.observe)
        (masked_segmentation_loss(logits, labels.to(device)) + orthogonality_loss(streams.means())).backward()
        gradients[device] = {n: p.grad.cpu().clone() for n, p in network.named_parameters() if p.grad is not None}
    assert gradients["cpu"].keys() == gradients["cuda"].keys()
    largest = max(gradient.abs().max().item() for gradient in gradients["cpu"].values())
    for name, gradient in gradients["cpu"].items():
        unit = max(gradient.abs().max().item(), 1e-6 * largest)  # some gradients are zero but for rounding
        torch.testing.assert_close(gradients["cuda"][name], gradient, rtol=0, atol=1e-7 * unit)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("kind", RUNS)
def test_training_has_the_cpus_losses(kind, precision, tmp_path):
    for device, own in (("cpu", "float32"), ("cuda", precision)):
        RUNS[kind](tmp_path / "set", tmp_path / device, device=device, precision=own, steps=3).run()
    found, expected = (np.array(losses(tmp_path / device))[:, 1] for device in ("cuda", "cpu"))
    np.testing.assert_allclose(found, expected, rtol=1e-3 if precision == "float32" else 1e-2)


@contextmanager
def waits() -> Iterator[list[str]]:
    """Collects the lines of segvoc at which this block waits for the device."""
    found: list[str] = []

    def note(message: Warning | str, *where: object) -> None:
        if "synchronizing CUDA operation" in str(message):
            ours = [frame for frame in traceback.extract_stack() if "segvoc" in Path(frame.filename).parts]
            found.append(f"{ours[-1].filename}:{ours[-1].lineno}" if ours else str(where))

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = note
        torch.cuda.set_sync_debug_mode("warn")  # which warns that it is a prototype
        try:
            yield found
        finally:
            torch.cuda.set_sync_debug_mode("default")


def waits_of_a_step(training: Training) -> list[str]:
    """Where the second step waits for the device; the first one also sets up libraries."""
    batches = list(_batches(training, 3))
    if isinstance(batches[0], TrainingBatch):
        assert all(batch.images.is_pinned() and batch.labels.is_pinned() for batch in batches)
        assert batches[0].images.dtype == torch.uint8 and batches[0].labels.dtype == torch.int32
    training._training_mode()
    with closing(training.folder):
        training.run_step(iter(batches[:1]))
        with waits() as found:
            training.run_step(iter(batches[1:]))
    return found


@pytest.mark.parametrize("kind", RUNS)
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_step_waits_for_the_device_once_and_copies_from_pinned_memory(kind, precision, tmp_path):
    found = waits_of_a_step(RUNS[kind](tmp_path / "set", tmp_path / "run", device="cuda", precision=precision))
    assert len(found) == 1, found


def test_a_step_of_two_processes_waits_once_too(tmp_path):
    """This one stands for both, in a group of its own."""
    # the layout of a depthwise kernel, which has one channel, is named in two ways
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    distributed.init_process_group("nccl", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        run = RUNS["parallel"](tmp_path / "set", tmp_path / "run", device="cuda")
        run.processes = Processes(rank=0, count=2)
        run.passes.processes, run.passes.module = run.processes, wrap_distributed(run.objective, run.processes)
        found = waits_of_a_step(run)
        assert len(found) == 1, found
    finally:
        distributed.destroy_process_group()


def test_views_of_images_are_copied_without_a_wait():
    model = small_segmenter(batch=2)
    model.network.cuda()
    image, protocol = squares(480, 640), model.protocols["official"]
    with waits() as found:
        seen = views(image, protocol, model.to_device)
    assert not found and seen.device.type == "cuda"
    assert_alike(seen.cpu(), torch.from_numpy(views(image, protocol)))


def test_training_uses_tf32_and_leaves_the_precision_as_it_was(tmp_path, small_preset, monkeypatch):
    seen = []
    monkeypatch.setattr(
        Training, "run_step", lambda self, *given, own=Training.run_step: seen.append(in_force()) or own(self, *given)
    )
    before, sets = in_force(), drawn_images(tmp_path / "set", 4)
    for tf32 in (True, False):
        recipe = RECIPE.with_settings(steps=1, tf32=tf32)
        train(recipe, sets, tmp_path / f"{tf32}", start=Start(weights="random"), device="cuda", progress=False)
        assert in_force() == before
    assert seen == [("high", True, True), ("highest", False, True)]


@pytest.mark.parametrize("window", ["single", "official"])
@pytest.mark.parametrize("keep", [None, 3, "auto"])
def test_the_segmenter_labels_as_on_the_cpu(window, keep):
    rng = np.random.default_rng(0)
    photos = [rng.integers(0, 256, (h, w, 3), np.uint8) for h, w in ((70, 90), (70, 90), (33, 120))]
    model = small_segmenter(batch=2)
    parts = None if keep else {"cat": ["head", "leg"], "*": ["edge"]}
    ask = partial(
        model.segment, photos, WORDS, parts=parts, window=window, keep_classes=keep, return_probabilities=True
    )
    expected = ask()
    model.network.cuda()
    for ours, theirs in zip(ask(), expected, strict=True):
        assert (ours.labels == theirs.labels).mean() > 0.999
        assert parts is None or (ours.part_labels == theirs.part_labels).mean() > 0.999
        assert np.abs(ours.probabilities - theirs.probabilities).max() < 1e-3


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


@of_each_kind
@with_each_selection
@torch.inference_mode()
def test_graphs_have_the_networks_logits(kind, selection):
    torch.manual_seed(0)
    network = NETWORKS[kind]().eval().requires_grad_(False).cuda()
    graphs, text = NetworkGraphs(network), words(7, 1, network.image_encoder.channels).cuda()
    options = {"selection": selection, "chunk": 4}

    def step(image, text):
        return dict(zip(("logits", "kept"), network.selected_logits(image, text, **options), strict=True))

    sizes = [(96, 128)] * 3 + [(128, 96)] * 2 + [(96, 128)]
    for number, size in enumerate(sizes):
        image = make_image(2, *size).cuda() + number
        logits, kept = graphs.run(step, (image, text), options).values()
        expected, of_network = network.selected_logits(image, text, selection=selection, chunk=4)
        assert_alike(logits, expected)
        assert (kept is None) == (of_network is None) and (kept is None or torch.equal(kept, of_network))
    assert len(graphs) == 2 and graphs.reserved > 0


@torch.inference_mode()
def test_graphs_follow_the_network():
    """Weights that change in place or move, modules that are replaced, and hooks, which a graph would skip."""
    network = small().eval().requires_grad_(False).cuda()
    graphs, image = NetworkGraphs(network), make_image(1, 96, 96).cuda()
    text = words(5, 1, network.image_encoder.channels).cuda()

    def logits(**options):
        return graphs.run(lambda *inputs: {"logits": network(*inputs, **options)}, (image, text), options)["logits"]

    def check(recorded: int) -> None:
        for _ in range(3):
            assert_alike(logits(), network(image, text))
        assert len(graphs) == recorded

    check(1)
    network.aggregation.embed_cost.weight.mul_(2)
    check(1)
    network.cpu().cuda()
    check(1)
    network.aggregation.blocks[1] = torch.nn.Module()
    network.aggregation.blocks[1].forward = lambda x, *others: x
    for _ in range(3):  # Python runs
        assert_alike(logits(), network(image, text))
    del network.aggregation.blocks[1]
    check(1)
    seen = []
    handle = network.aggregation.register_forward_hook(lambda *_: seen.append(1))
    check(1)
    assert len(seen) == 6  # three times by graphs, three times by the network
    handle.remove()
    check(1)
    logits(selection=AUTO_SELECTION)
    assert len(graphs) == 1


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("kind", ["parallel", "kept classes"])
def test_a_recorded_step_has_the_losses_and_gradients_of_a_plain_one(kind, precision, tmp_path):
    """With the same weights: Adam would blow up what sums in another order change in gradients of almost zero."""
    run = RUNS[kind](tmp_path / "set", tmp_path / "run", device="cuda", precision=precision, steps=6)
    run._training_mode()
    passes = run.passes.recorded
    buffers = {name: value.clone() for name, value in run.network.named_buffers()}
    inputs, found = run.task.inputs(next(_batches(run)), (0, 0, 0), run.device), []
    for _ in range(6):
        for name, value in run.network.named_buffers():
            value.copy_(buffers[name])
        run.network.zero_grad(set_to_none=True)
        made = {name: value.item() for name, value in passes(inputs).items()}
        gradients = {name: value.grad.clone() for name, value in run.learning.items() if value.grad is not None}
        found.append((passes.graph is not None, made, gradients))
    assert [is_recorded for is_recorded, _, _ in found] == 3 * [False] + 3 * [True] and not passes.fails
    (_, losses, gradients), tolerance = found[0], 1e-4 if precision == "float32" else 0.02
    largest = max(value.abs().max().item() for value in gradients.values())
    for _, made, others in found[1:]:
        assert made == pytest.approx(losses, rel=tolerance) and others.keys() == gradients.keys()
        for name, value in gradients.items():
            unit = max(value.abs().max().item(), 1e-3 * largest)
            torch.testing.assert_close(others[name], value, rtol=0, atol=tolerance * unit, msg=name)


def test_a_recorded_step_waits_for_the_device_once(tmp_path):
    run = RUNS["parallel"](tmp_path / "set", tmp_path / "run", device="cuda", steps=8)
    batches = _batches(run, 8)
    run._training_mode()
    with closing(run.folder):
        for _ in range(6):
            run.run_step(batches)
        assert run.passes.recorded.graph is not None
        with waits() as found:
            run.run_step(batches)
    assert len(found) == 1, found


@pytest.mark.parametrize("free", [1 << 40, 1 << 20], ids=["much", "little"])
def test_activations_are_stored_where_memory_suffices(free, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda *device: (free - torch.cuda.memory_reserved(), free))
    changes = {"activation_checkpointing": "auto", "class_chunk_size": 2, "steps": 2}
    run = RUNS["parallel"](tmp_path / "set", tmp_path / "run", device="cuda", **changes)
    before = {name: value.clone() for name, value in run.network.named_buffers()}
    inputs = run.task.inputs(next(_batches(run)), (0, 0, 0), run.device)
    run.passes.fit_memory(inputs)
    runtime = run.objective.recipe.runtime
    chosen = (False, 0) if free > 1 << 30 else ("auto", 2)
    assert (runtime.activation_checkpointing, runtime.class_chunk_size) == chosen
    assert all(torch.equal(value, before[name]) for name, value in run.network.named_buffers())


def _batches(run: Training, steps: int = 2) -> Iterator[TrainingBatch]:
    batch, ranks = run.recipe.optimizer.batch_size, run.processes.count
    sampler = ShardedSampler(batch=batch, passes=1, rank=0, ranks=ranks, first_step=0, steps=steps)
    return iter(list(run.task.batches(sampler, 0, pinned=True)))
