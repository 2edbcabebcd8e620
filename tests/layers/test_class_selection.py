"""Which classes go on: official votes, ties, and values put back in their places."""

import json

import numpy as np
import pytest
import torch

from segvoc.layers.class_selection import count_votes, gather_classes, kept_classes, scatter_to_all, select_classes
from segvoc.selection_rules import DROPPED, MostSimilar, Voted, VotedShare, Votes


def costs(*cells: list[float]) -> torch.Tensor:
    """(1 1 T 1 W): one row a class."""
    return torch.tensor(cells)[None, None, :, None]


@pytest.mark.golden
@pytest.mark.parametrize("number", range(8))
def test_votes_and_kept_classes_are_the_official_ones(golden, number):
    folder = golden / "err_part_syn"
    facts = next(case for case in json.loads((folder / "err_phi.json").read_text()) if case["case"] == number)
    arrays = np.load(folder / "err_phi.npz")
    cost = torch.from_numpy(arrays[f"c{number}_corr"]).float()[None, None]
    score, kept = (torch.from_numpy(arrays[f"c{number}_{name}"]) for name in ("score", "kept"))
    moved = (count_votes(cost, Votes())[0] - score).abs().sum()
    assert moved <= 2 * facts["pixels_with_tied_topk"] + 1e-4 * score.sum()
    if not facts["tie_at_boundary"]:
        ours = kept_classes(Voted(facts["K"]), cost)
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
    assert kept_classes(Voted(1), cost).tolist() == [[2]]


def test_of_equal_classes_the_lower_index_is_kept_in_ascending_order():
    cost = torch.zeros(2, 1, 9, 2, 2)
    cost[0, 0, 7] = 1
    cost[1, 0, 4, 0, 0] = 2
    assert kept_classes(MostSimilar(3), cost).tolist() == [[0, 1, 7], [0, 1, 4]]
    assert kept_classes(Voted(3, Votes(top=1)), cost)[0].tolist() == [0, 1, 7]


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
    assert kept_classes(VotedShare(share, least=1), cost).tolist() == [kept]


def test_views_keep_as_many_as_the_one_that_needs_most():
    cost = torch.cat((agreed(50, 0, 0, 0, 50, 0, 0, 0), agreed(0, 25, 25, 25, 25, 0, 0, 0)))
    alone = [kept_classes(VotedShare(0.8, least=1), view[None])[0].tolist() for view in cost]
    together = kept_classes(VotedShare(0.8, least=1), cost)
    assert [len(kept) for kept in alone] == [2, 4]
    assert together[1].tolist() == alone[1]
    assert together.shape == (2, 4) and set(alone[0]) < set(together[0].tolist())


def test_each_image_keeps_its_own_classes_and_they_return_to_their_places():
    cost = torch.randn(2, 1, 6, 4, 5)
    text = torch.randn(2, 6, 1, 8)
    kept_cost, kept_text, kept = select_classes(cost, text, MostSimilar(2))
    assert kept_cost.shape == (2, 1, 2, 4, 5) and kept_text.shape == (2, 2, 1, 8)
    for image in range(2):
        assert torch.equal(kept_cost[image], cost[image][:, kept[image]])
        assert torch.equal(kept_text[image], text[image][kept[image]])
    everyone = scatter_to_all(kept_cost[:, 0], kept, 6)
    assert torch.equal(gather_classes(everyone, kept, 1), kept_cost[:, 0])
    assert (everyone == DROPPED).sum() == 2 * 4 * 4 * 5
