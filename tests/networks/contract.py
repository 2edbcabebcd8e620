"""What every network must keep, whatever its parts; the networks' tests inherit it."""

import copy
import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from segvoc.layers.precision import reduce_precision


def make_image(batch: int, height: int, width: int) -> Tensor:
    """Random pixels in [0, 255], smooth enough that cells differ from each other."""
    generator = torch.Generator().manual_seed(100 * height + width)
    coarse = torch.rand(batch, 3, height // 8, width // 8, generator=generator)
    return 255 * nn.functional.interpolate(coarse, (height, width), mode="bilinear")


def words(count: int, prompts: int, channels: int) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    return nn.functional.normalize(torch.randn(count, prompts, channels, generator=generator), dim=-1)


def assert_alike(ours: Tensor, other: Tensor, tolerance: float = 1e-4) -> None:
    """Equal but for the rounding of another order of summation."""
    torch.testing.assert_close(ours, other, rtol=tolerance, atol=tolerance * other.abs().max().item())


@contextmanager
def torch_threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


WAITING = (
    *("_local_scalar_dense", "item", "is_nonzero", "equal"),  # a value on the host
    *("nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive"),  # a size on the host
)
"""Operators whose result the host waits for."""


class NoDeviceWaits(TorchDispatchMode):
    """Raises an error at an operator that the host waits for: `.item()`, `if tensor:`, a boolean index."""

    def __torch_dispatch__(
        self, function: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = function.overloadpacket.__name__
        assert name not in WAITING, f"{name} waits for the device"
        if name in ("index", "index_put", "index_put_"):
            places = [place for place in args[1] if place is not None]
            assert all(place.dtype not in (torch.bool, torch.uint8) for place in places), f"{name} by a mask waits"
        return function(*args, **(kwargs or {}))


class Adapted(nn.Module):
    """A linear layer with a low-rank term, zero at first."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base, self.down = base, nn.Linear(base.in_features, 2, bias=False)
        self.up = nn.Linear(2, base.out_features, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.up(self.down(x))


def _step(network: nn.Module, image: Tensor, text: Tensor, threads: int, **options) -> dict[str, Tensor]:
    """The logits, gradients and buffers of a training step, by name."""
    one = copy.deepcopy(network).double().train()
    with torch_threads(threads):
        torch.manual_seed(0)
        logits = one(image, text, **options)
        (logits.square().mean() + logits.mean()).backward()
    gradients = {name: value.grad for name, value in one.named_parameters() if value.grad is not None}
    return {"logits": logits.detach()} | gradients | {name: value.double() for name, value in one.named_buffers()}


def nothing_waits(network: nn.Module, image: Tensor, text: Tensor) -> None:
    """Neither in the forward pass, nor in that of a training step and its backward pass."""
    with NoDeviceWaits():
        with torch.no_grad():
            network(image, text)
        network.train()(image, text).square().mean().backward()


def trains_near_float32_under_autocast(network: nn.Module, image: Tensor, text: Tensor) -> None:
    network.train()
    logits = []
    for enabled in (False, True):
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            torch.manual_seed(0)
            found = network(image, text, chunk=2, recompute=True)
            loss = found.float().square().mean()
        loss.backward()
        logits.append(found.detach().flatten())
        assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())
    assert logits[1].dtype == torch.float32  # what decides between classes
    assert torch.corrcoef(torch.stack(logits))[0, 1] > 0.98


def drawn(build: Callable[[], Any]) -> Any:
    """A network by one seed, without zeros and ones: what starts at zero (pads) or at one would hide mistakes."""
    torch.manual_seed(0)
    network = build().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return network


class NetworkContract:
    """Subclasses say how to build a small network; its `forward(image, text)` gives a logit per class and cell."""

    prompts = 1
    finer = 4
    """Logits for each cell of the image tower, along one side."""
    ways: tuple[tuple[int, dict[str, Any]], ...] = ((2, {"chunk": 2, "recompute": True}),)
    """Numbers of threads, and how to compute a step with them."""
    idle: frozenset[str] = frozenset()
    """What `unused` names where that is the same for every network."""

    def build(self) -> nn.Module:
        raise NotImplementedError

    def unused(self, network: nn.Module) -> set[str]:
        return set(self.idle)

    @pytest.fixture(scope="class")
    @classmethod
    def built(cls) -> nn.Module:
        return drawn(cls().build)

    @pytest.fixture
    def network(self, built) -> nn.Module:
        """A copy for each test that changes it; passes without gradients read `built`."""
        return copy.deepcopy(built)

    def size(self, network: nn.Module, rows: int, columns: int) -> tuple[int, int]:
        return rows * network.image_encoder.stride, columns * network.image_encoder.stride

    def inputs(self, network: nn.Module, *, batch=1, rows=6, columns=6, classes=3) -> tuple[Tensor, Tensor]:
        text = words(classes, self.prompts, network.image_encoder.channels)
        return make_image(batch, *self.size(network, rows, columns)), text

    def test_the_backward_pass_reaches_every_trainable_parameter(self, network, shapes_checked):
        network.train()
        image, _ = self.inputs(network, batch=2)
        encoder = network.text_encoder
        prompts = [f"a {word}" for word in ("cat", "red car", "wall")]
        text = encoder(encoder.tokenize(prompts))[:, None].expand(-1, self.prompts, -1)
        logits = network(image, text)
        (logits.square().mean() + logits.mean()).backward()
        without = {name for name in network.trainable_parameters() if network.get_parameter(name).grad is None}
        assert without == self.unused(network)

    @pytest.mark.parametrize(("rows", "columns"), [(2, 7), (1, 1)])
    def test_any_image_of_whole_cells(self, built, shapes_checked, rows, columns):
        with torch.no_grad():
            logits = built(*self.inputs(built, rows=rows, columns=columns))
        assert logits.shape == (1, 3, self.finer * rows, self.finer * columns)
        assert logits.isfinite().all()

    def test_a_batch_gives_what_its_images_give_alone(self, built):
        images, text = self.inputs(built, batch=3, rows=4)
        with torch.no_grad():
            together, alone = built(images, text), [built(image[None], text) for image in images]
        assert_alike(together, torch.cat(alone))

    def test_the_order_of_the_words_only_orders_the_result(self, built):
        image, text = self.inputs(built, classes=5)
        order = torch.tensor([3, 0, 4, 2, 1])
        with torch.no_grad():
            logits = built(image, text)
            assert_alike(built(image, text[order]), logits[:, order])
            assert not torch.allclose(logits, logits[:, order], atol=1e-3)

    def test_threads_chunks_and_recomputing_change_no_number_of_a_step(self, network):
        """In float64, where no rounding flips a ReLU; as the optimizer sees them: gradients and running statistics."""
        image, text = (x.to(torch.float64) for x in self.inputs(network, batch=2, rows=2, columns=3))
        expected = _step(network, image, text, 1)
        for threads, way in self.ways:
            step = _step(network, image, text, threads, **way)
            assert step.keys() == expected.keys()
            for name, value in ((name, value) for name, value in step.items() if value.numel()):
                unit = max(expected[name].abs().max().item(), 1e-3)
                torch.testing.assert_close(
                    value, expected[name], rtol=0, atol=1e-9 * unit, msg=lambda m, n=name: f"{n}: {m}"
                )

    @pytest.mark.slow
    def test_nothing_in_it_waits_for_the_device(self, network):
        nothing_waits(network, *self.inputs(network, batch=2))

    @pytest.mark.slow
    def test_autocast_trains_near_float32(self, network):
        trains_near_float32_under_autocast(network, *self.inputs(network, batch=2, rows=3, columns=4))


class PaperContract(NetworkContract):
    """What the network of each paper must keep beyond that; options of it share its layers, hence the promises."""

    ways = (*NetworkContract.ways, (4, {"chunk": 2}))

    def test_nothing_in_it_waits_for_the_device(self, network):
        nothing_waits(network, *self.inputs(network, batch=2))

    def test_autocast_trains_near_float32(self, network):
        trains_near_float32_under_autocast(network, *self.inputs(network, batch=2, rows=2, columns=3))

    def test_a_wide_image_is_no_reshaped_tall_one(self, built):
        image, text = self.inputs(built, rows=3, columns=6)
        with torch.no_grad():
            wide, tall = built(image, text), built(image.mT, text)
        assert wide.shape == tall.mT.shape
        assert not torch.allclose(wide, tall.mT, atol=1e-3)

    @pytest.mark.parametrize("classes", [1, 300])
    def test_any_number_of_words(self, built, classes):
        image, text = self.inputs(built, rows=2, columns=2, classes=classes)
        with torch.no_grad():
            logits = built(image, text)
        assert logits.shape[1] == classes and logits.isfinite().all()

    def test_a_saved_state_gives_the_same_bits_and_no_pass_changes_it(self, network, tmp_path):
        torch.save(network.state_dict(), tmp_path / "weights.pt")
        torch.manual_seed(1)
        other = self.build().eval()
        inputs = self.inputs(network)
        with torch.no_grad():
            first = network(*inputs)
            assert not torch.allclose(other(*inputs), first, atol=1e-3)
            other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
            assert torch.equal(other(*inputs), first) and torch.equal(network(*inputs), first)
        assert all(torch.equal(value, other.state_dict()[name]) for name, value in network.state_dict().items())

    def test_bfloat16_stays_near_float32(self, network):
        image, text = self.inputs(network)
        with torch.no_grad():
            exact = network(image, text)
            reduce_precision(network, torch.bfloat16)
            rough = network(image, text)
        assert rough.dtype == torch.float32
        assert torch.corrcoef(torch.stack([exact.flatten(), rough.flatten()]))[0, 1] > 0.995

    def test_wrapped_layers_take_part(self, network):
        """As adapters wrap them (LoRA): without a `weight`, by the call alone."""
        image, text = self.inputs(network, batch=2)
        network.train().requires_grad_(True)
        layers = [
            (f"{place}.{name}", parent, child)
            for place, parent in network.named_modules()
            if not place.startswith("text_encoder")
            for name, child in parent.named_children()
            if type(child) is nn.Linear
        ]

        def learning(image: Tensor) -> tuple[Tensor, set[str]]:
            torch.manual_seed(0)
            logits = network(image, text)
            (logits.square().mean() + logits.mean()).backward()
            found = ((name, getattr(parent, name.rpartition(".")[2])) for name, parent, _ in layers)
            weights = ((name, one.up.weight if isinstance(one, Adapted) else one.weight) for name, one in found)
            return logits.detach(), {name for name, weight in weights if weight.grad is not None}

        expected, names = learning(image)
        for name, parent, child in layers:
            child.zero_grad()
            parent.add_module(name.rpartition(".")[2], Adapted(child))
        logits, adapted = learning(image)
        assert_alike(logits, expected)
        assert adapted == names and bool(names) == bool(layers)

    @pytest.mark.slow
    @pytest.mark.skipif(torch.__version__ < "2.11", reason="GroupNorm of PyTorch 2.10 lacks it for channels last")
    def test_forward_mode_derivatives_are_those_of_the_backward_pass(self, network):
        network.double()
        image, text = (x.to(torch.float64) for x in self.inputs(network))
        direction = torch.randn_like(image)
        # PyTorch's fused attention has no forward mode
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            _, tangent = torch.func.jvp(lambda x: network(x, text), (image,), (direction,))
        leaf = image.clone().requires_grad_(True)
        network(leaf, text).sum().backward()
        assert leaf.grad is not None and tangent.abs().max() > 0
        torch.testing.assert_close(tangent.sum(), (leaf.grad * direction).sum(), rtol=1e-6, atol=1e-9)

    @pytest.mark.slow
    def test_it_is_exported_whole(self, network):
        inputs = self.inputs(network)
        exported = torch.export.export(network, inputs).module()
        with torch.no_grad():
            assert_alike(exported(*inputs), network(*inputs))

    @pytest.mark.slow
    def test_it_compiles_as_one_graph(self, pytestconfig):
        # in a process of its own: here, every annotation is checked by code that the compiler can't see through
        command = [sys.executable, "-m", __name__, type(self).__module__, type(self).__qualname__]
        subprocess.run(command, check=True, cwd=pytestconfig.rootpath)


def compile_whole(contract: Any) -> None:
    torch.manual_seed(0)
    network = contract.build().eval()
    inputs = contract.inputs(network)
    with torch.no_grad():
        assert_alike(torch.compile(network, backend="eager", fullgraph=True)(*inputs), network(*inputs))


if __name__ == "__main__":
    compile_whole(getattr(importlib.import_module(sys.argv[1]), sys.argv[2])())
