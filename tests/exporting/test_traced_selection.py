"""Class selection with tensors as settings selects what the rules do."""

from typing import Any

import pytest
import torch

from segvoc.exported.segmenter import selection_inputs
from segvoc.exporting.programs import TracedSelection
from segvoc.layers.class_selection import kept_classes
from segvoc.selection_rules import MostSimilar, SelectionRule, Voted, VotedShare, WithParts

CLASSES = 30

RULES: list[SelectionRule] = [
    Voted(7),
    Voted(1000),
    VotedShare(),
    VotedShare(share=0.5, least=3),
    VotedShare(share=1.0, least=1),
    MostSimilar(5),
    WithParts(Voted(4), 20, tuple((number % 20,) for number in range(10))),
    WithParts(VotedShare(share=0.6, least=2), 25, ((0, 3), (3,), (24,), (7, 8), (9,))),
    WithParts(MostSimilar(3), 28, ((1,), (27,))),
]


def _traced(rule: SelectionRule | None) -> TracedSelection:
    given: dict[str, Any] = {name: torch.as_tensor(value) for name, value in selection_inputs(rule, CLASSES).items()}
    return TracedSelection(**given)


@pytest.mark.parametrize(("images", "prompts"), [(1, 1), (3, 2)])
@pytest.mark.parametrize("rule", RULES)
def test_the_same_classes_are_kept(rule: SelectionRule, prompts: int, images: int) -> None:
    for seed in range(2):
        generator = torch.Generator().manual_seed(seed)
        cost = torch.rand(images, prompts, CLASSES, 6, 7, generator=generator)
        if isinstance(rule, VotedShare | WithParts) and images > 1:
            cost = cost[:1].expand(images, -1, -1, -1, -1)
        expected = kept_classes(rule, cost)
        everything = torch.arange(CLASSES).expand(images, -1)
        assert torch.equal(_traced(rule)(cost), everything if expected is None else expected)


def test_ties_go_to_lower_classes() -> None:
    cost = torch.zeros(1, 1, CLASSES, 2, 2)
    cost[:, :, 9:12] = 1 - torch.arange(3)[:, None, None] / 10  # all votes go to these
    assert _traced(Voted(6))(cost).tolist() == [[0, 1, 2, 9, 10, 11]]


def test_no_rule_keeps_all_classes() -> None:
    cost = torch.rand(2, 1, CLASSES, 3, 3)
    assert torch.equal(_traced(None)(cost), torch.arange(CLASSES).expand(2, -1))
