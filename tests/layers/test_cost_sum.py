"""Classes: costs and their sum from the logits of known classes, and which classes go on."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from segvoc.layers.aggregation import cost_volume
from segvoc.layers.aggregation_context import AggregationContext
from segvoc.layers.class_selection import count_votes, gather_classes, kept_classes, scatter_to_all, select_classes
from segvoc.layers.cost_sum import CostSum, NoAggregation, SynthesizedClassifiers, all_costs
from segvoc.layers.selection_rules import DROPPED, MostSimilar, Voted, VotedShare, Votes
from tests.golden_sets import ERR_FOLDER, err_record


def unit(*vectors: tuple[float, ...]) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.tensor(vectors), dim=-1)


def test_the_weights_of_a_word_grow_with_its_distance_to_the_nearest_familiar_one():
    skip = CostSum(2, familiar_words=2, channels=3)
    familiar = unit((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    weights = {"weight": torch.tensor([2.0, 3.0]), "novelty_weight": torch.tensor([0.0, 4.0])}
    skip.load_state_dict(weights | {"bias": torch.tensor(-1.0), "familiar": familiar})
    cost = torch.rand(1, 2, 2, 4, 5, generator=torch.Generator().manual_seed(0))
    plain = 2 * cost[:, 0] + 3 * cost[:, 1] - 1
    assert torch.allclose(skip(cost, familiar[None, :, None]), plain)
    new = unit((0.0, 0.0, 1.0), (1.0, 0.0, 1.0))[None, :, None]
    distances = torch.tensor([1, 1 - 0.5**0.5])[:, None, None]
    assert torch.allclose(skip(cost, new), plain + 4 * distances * cost[:, 1])


def test_no_aggregation_sums_the_costs_of_its_maps():
    maps = [torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)]
    text = torch.randn(2, 6, 1, 3)
    logits, _ = NoAggregation(CostSum(2))(maps, text, [], AggregationContext((1, 1), None, 6))
    assert torch.allclose(logits, sum(cost_volume(image, text)[:, 0] for image in maps), atol=1e-6)


CLASSES, CHANNELS = 12, 16


@pytest.fixture
def synthesized() -> SynthesizedClassifiers:
    torch.manual_seed(0)
    return SynthesizedClassifiers(CLASSES, CHANNELS, sharpness=100.0)


def test_the_name_of_a_known_class_gets_its_centered_logit_and_a_word_between_two_what_is_between_theirs(synthesized):
    logits = torch.randn(2, CLASSES, 3, 4)
    text = 5 * synthesized.anchors[None, [7, 2], None].expand(2, -1, -1, -1)
    centered = F.normalize(logits - logits.mean(dim=1, keepdim=True), dim=1)
    torch.testing.assert_close(synthesized(logits, text)[:, 0], centered[:, [7, 2]], atol=1e-4, rtol=1e-4)
    synthesized.anchors.copy_(torch.eye(CLASSES, CHANNELS))
    text = (synthesized.anchors[0] + synthesized.anchors[1]).expand(2, 1, 1, -1)
    torch.testing.assert_close(synthesized(logits, text)[:, 0, 0], centered[:, :2].mean(dim=1), atol=1e-5, rtol=1e-4)


def test_what_all_classes_share_and_how_large_logits_are_makes_no_difference(synthesized):
    logits, text = torch.randn(1, CLASSES, 3, 4), torch.randn(1, 5, 1, CHANNELS)
    torch.testing.assert_close(synthesized(3 * logits + 7, text), synthesized(logits, text))
    assert synthesized(logits, text).abs().max() <= 1


def test_the_last_cost_is_that_of_the_known_classes(synthesized):
    maps, text = [torch.randn(1, CHANNELS, 3, 4) for _ in range(2)], torch.randn(1, 5, 1, CHANNELS)
    logits = torch.randn(1, CLASSES, 3, 4)
    found = all_costs(maps, text, synthesized, logits)
    expected = [*(cost_volume(image, text) for image in maps), synthesized(logits, text)]
    assert torch.equal(found, torch.cat(expected, dim=1))
    assert torch.equal(all_costs(maps, text, None, logits), found[:, :2])


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
