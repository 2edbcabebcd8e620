"""Layers: windows of cells, numbers (batch norm over chunks, float32), costs, and which classes go on."""

from operator import attrgetter

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from segvoc.layers.aggregation import WindowBlock, cost_volume
from segvoc.layers.class_selection import count_votes, gather_classes, kept_classes, scatter_to_all, select_classes
from segvoc.layers.maps import windows_of
from segvoc.layers.precision import Float32Parts, reduce_precision
from segvoc.layers.selection import DROPPED, ClassSelection, Votes
from segvoc.models.presets import PRESETS
from segvoc.models.weightless import weightless
from segvoc.networks.pca_seg import ExpertParser
from tests.golden_sets import ERR_FOLDER, err_record

GRIDS = [(8, 8), (4, 4), (3, 5), (9, 4), (6, 11), (1, 1), (1, 13)]


@pytest.mark.parametrize("shift", [0, 2])
@pytest.mark.parametrize("grid", GRIDS)
def test_a_cell_attends_to_the_neighbors_in_its_window(grid: tuple[int, int], shift: int):
    """By a mask over all cells, where a window is told by the coordinates of the shifted grid, without wrapping."""
    torch.manual_seed(0)
    block = WindowBlock(dim=8, guidance_dim=4, heads=2, window=4, shift=shift)
    x, guidance = torch.randn(2, 3, *grid, 8), torch.randn(2, *grid, 4)
    windows = windows_of(grid, 4, shift, x.dtype, x.device)
    assert windows.order.shape[1] == 16 and torch.equal(windows.join(windows.split(x), *grid), x)
    moved = [0 if size <= 4 else shift for size in grid]
    y, xs = ((torch.arange(size) - by).div(4, rounding_mode="floor") for size, by in zip(grid, moved, strict=True))
    window = (100 * y[:, None] + xs).flatten()
    together = window[:, None] == window
    with torch.no_grad():
        cells = block.norm1(x).flatten(2, 3)
        g = guidance.flatten(1, 2)[:, None].expand(-1, 3, -1, -1)
        project = block.project
        q, k = (layer(cells, layer.guidance(g)) for layer in (project.q, project.k))
        v = project.v(cells)
        heads = [part.unflatten(-1, (2, 4)).transpose(2, 3) for part in (q, k, v)]
        attended = F.scaled_dot_product_attention(*heads, attn_mask=together).transpose(2, 3).flatten(3)
        expected = x + block.out(attended).unflatten(2, grid)
        expected = expected + block.mlp(block.norm2(expected))
        torch.testing.assert_close(block(x, block.precompute_guidance(guidance)), expected, rtol=1e-4, atol=1e-5)


def test_in_training_the_norm_is_pytorchs_in_outputs_gradients_and_running_statistics():
    """What chunks of words and threads change is in the contract of networks: nothing."""
    torch.manual_seed(0)
    parser, both = ExpertParser(8, 3, nn.GELU()).double().train(), torch.randn(2, 3, 4, 5, 16).double()
    norms = [nn.BatchNorm2d(24).double() for _ in parser.halves]
    gradients = []
    for ours in (True, False):
        parser.zero_grad()
        leaf = both.clone().requires_grad_(True)
        if ours:
            y = parser(leaf)
        else:
            maps = 0
            for half, norm in zip(parser.halves, norms, strict=True):
                norm.weight, norm.bias = half.norm.weight, half.norm.bias
                hidden = norm(half.expand(leaf).flatten(0, 1).permute(0, 3, 1, 2))
                maps = maps + half.contract(nn.functional.gelu(hidden))
            y = nn.functional.gelu(maps).unflatten(1, (3, 8)).permute(0, 3, 4, 1, 2).unflatten(0, (2, 3))
        y.pow(3).sum().backward()
        gradients.append([y.detach(), leaf.grad, *(p.grad for p in parser.parameters())])
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-8)
    for half, norm in zip(parser.halves, norms, strict=True):
        torch.testing.assert_close(half.norm.state_dict(), norm.state_dict())


@pytest.mark.parametrize("name", [name for name, preset in PRESETS.items() if preset.shipped or "-b" in name])
def test_parts_that_are_listed_exist(name: str) -> None:
    with weightless():
        network = PRESETS[name].build(PRESETS[name].configuration)
    for path, module in network.named_modules():
        for part in module.float32_parts if isinstance(module, Float32Parts) else ():
            assert attrgetter(part)(module) is not module, path  # raises where there is none


def test_words_batch_norms_and_what_decides_between_classes_stay_in_float32() -> None:
    with weightless():
        network = PRESETS["tiny"].build(PRESETS["tiny"].configuration)
    parameters, before = dict(network.named_parameters()), network.state_dict()
    reduce_precision(network, torch.bfloat16)
    assert all(network.get_parameter(name) is parameter for name, parameter in parameters.items())
    changed = {name for name, value in network.state_dict().items() if value.dtype != before[name].dtype}
    norms = {path for path, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)}
    assert norms and not {name for name in changed if name.rpartition(".")[0] in norms}
    exact = ("text_encoder.", "aggregation.skip.", "aggregation.decoder.head.")
    assert not {name for name in changed if name.startswith(exact)}
    assert "aggregation.guidance.weight" in changed and any(name.startswith("image_encoder.") for name in changed)
    assert all(value.dtype == torch.bfloat16 for name, value in network.state_dict().items() if name in changed)


def test_costs_of_rough_features_are_exact() -> None:
    image, text = torch.randn(1, 8, 2, 2).bfloat16(), torch.randn(1, 3, 1, 8)
    assert torch.equal(cost_volume(image, text), cost_volume(image.float(), text))
    assert cost_volume(image.double(), text.double()).dtype == torch.float64


def costs(*cells: list[float]) -> torch.Tensor:
    """(1 1 T 1 W): one row a class."""
    return torch.tensor(cells)[None, None, :, None]


@pytest.mark.golden
@pytest.mark.parametrize("number", range(8))
def test_votes_and_kept_classes_are_the_official_ones(golden, number):
    facts = next(case for case in err_record(golden, "err_phi") if case["case"] == number)
    arrays = np.load(golden / ERR_FOLDER / "err_phi.npz")
    cost = torch.from_numpy(arrays[f"c{number}_corr"]).float()[None, None]
    score, kept = (torch.from_numpy(arrays[f"c{number}_{name}"]) for name in ("score", "kept"))
    moved = (count_votes(cost, Votes())[0] - score).abs().sum()
    assert moved <= 2 * facts["pixels_with_tied_topk"] + 1e-4 * score.sum()
    if not facts["tie_at_boundary"]:
        ours = kept_classes(ClassSelection(keep=facts["K"]), cost)
        assert torch.equal(torch.arange(facts["T"]) if ours is None else ours[0], kept)


def test_ranks_and_decay_weigh_the_votes():
    cost = costs([0.9, 0.1, 0.2], [0.5, 0.8, 0.1], [0.1, 0.2, 0.9], [0.0, 0.0, 0.0])
    assert torch.allclose(
        count_votes(cost, Votes()), torch.tensor([[1 + 0.01 + 0.1, 0.1 + 1 + 0.01, 0.01 + 0.1 + 1, 0.0]])
    )
    assert torch.equal(count_votes(cost, Votes(top=1)), torch.tensor([[1.0, 1.0, 1.0, 0.0]]))
    assert count_votes(cost, Votes(top=2, decay=0.5))[0, 0] == 1.5
    cost = torch.zeros(1, 2, 3, 1, 1)
    cost[0, 1, 2] = 1  # a cell votes with its best prompt
    assert kept_classes(ClassSelection(keep=1), cost).tolist() == [[2]]


def test_of_equal_classes_the_lower_index_is_kept_in_ascending_order():
    cost = torch.zeros(2, 1, 9, 2, 2)
    cost[0, 0, 7] = 1
    cost[1, 0, 4, 0, 0] = 2
    assert kept_classes(ClassSelection(keep=3, by="similarity"), cost).tolist() == [[0, 1, 7], [0, 1, 4]]
    assert kept_classes(ClassSelection(keep=3, votes=Votes(top=1)), cost)[0].tolist() == [0, 1, 7]


def agreed(*shares: int) -> torch.Tensor:
    """(1 1 T 1 W): class t is by far the best in `shares[t]` cells; the runners-up are the last two classes."""
    winners = torch.tensor([t for t, share in enumerate(shares) for _ in range(share)])
    cost = torch.arange(len(shares)).float()[:, None].repeat(1, len(winners)) / 100
    cost[winners, torch.arange(len(winners))] = 1
    return cost[None, None, :, None]


@pytest.mark.parametrize(("share", "kept"), [(0.5, [0]), (0.8, [0, 1]), (0.89, [0, 1, 2]), (0.999, [0, 1, 2, 4, 5])])
def test_share_keeps_as_many_as_hold_it(share, kept):
    # 59 + 30 + 11 first votes; class 5 is second in all cells (10 votes), class 4 third (1 vote)
    cost = agreed(59, 30, 11, 0, 0, 0)
    assert count_votes(cost, Votes())[0].tolist() == pytest.approx([59, 30, 11, 0, 1, 10])
    assert kept_classes(ClassSelection(share=share), cost).tolist() == [kept]


def test_views_keep_as_many_as_the_one_that_needs_most():
    cost = torch.cat((agreed(50, 0, 0, 0, 50, 0, 0, 0), agreed(0, 25, 25, 25, 25, 0, 0, 0)))
    alone = [kept_classes(ClassSelection(share=0.8), view[None])[0].tolist() for view in cost]
    together = kept_classes(ClassSelection(share=0.8), cost)
    assert [len(kept) for kept in alone] == [2, 4]
    assert together[1].tolist() == alone[1]
    assert together.shape == (2, 4) and set(alone[0]) < set(together[0].tolist())


def test_each_image_keeps_its_own_classes_and_they_return_to_their_places():
    cost = torch.randn(2, 1, 6, 4, 5)
    text = torch.randn(2, 6, 1, 8)
    kept = kept_classes(ClassSelection(keep=2, by="similarity"), cost)
    kept_cost, kept_text = select_classes(cost, text, kept)
    assert kept_cost.shape == (2, 1, 2, 4, 5) and kept_text.shape == (2, 2, 1, 8)
    for image in range(2):
        assert torch.equal(kept_cost[image], cost[image][:, kept[image]])
        assert torch.equal(kept_text[image], text[image][kept[image]])
    everyone = scatter_to_all(kept_cost[:, 0], kept, 6)
    assert torch.equal(gather_classes(everyone, kept, 1), kept_cost[:, 0])
    assert (everyone == DROPPED).sum() == 2 * 4 * 4 * 5
