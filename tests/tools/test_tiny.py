"""How tiny's aggregation is trained: on costs that nothing learned, and as an addition to their sum."""

from pathlib import Path
from typing import cast

import pytest
import torch
from torch.nn import functional as F

from segvoc.encoders.efficientnet import EfficientNetLite, smoothed
from segvoc.layers.aggregation_context import AggregationContext
from segvoc.layers.cost_sum import NoAggregation
from segvoc.networks.base import CostAggregation
from segvoc.networks.choices import build_aggregation
from segvoc.selection_rules import VotedShare
from tools.tiny.cross_validate import FOLDS, UNSEEN, folds_of, unseen_words
from tools.tiny.photos import Photo
from tools.tiny.projections import Alternatives, Projections
from tools.tiny.refinement import AGGREGATION, CrossFit, RefinementRecipe, cost_weights, rescale
from tools.tiny.scoring import counts, difference, scores
from tools.tiny.trunk import UpperTrunk

WORDS = 40
RECIPE = RefinementRecipe()


@pytest.fixture
def aggregation() -> CostAggregation:
    torch.manual_seed(0)
    tower = EfficientNetLite(own_appearance=True, known_classes=True)
    return cast(CostAggregation, build_aggregation(AGGREGATION, tower).eval())


@pytest.fixture(scope="module")
def inputs() -> tuple[list[torch.Tensor], torch.Tensor, list[torch.Tensor]]:
    chance = torch.Generator().manual_seed(0)
    sizes = ((472, 8), (48, 16), (24, 32))
    guidance = [torch.randn(1, channels, side, side, generator=chance) for channels, side in sizes]
    *maps, class_logits = [torch.randn(1, channels, 8, 8, generator=chance) for channels in (384, 384, 384, 1000)]
    return maps, class_logits, torch.randn(1, WORDS, 1, 384, generator=chance), guidance


@torch.inference_mode()
def test_an_aggregation_that_adds_nothing_gives_the_sum_and_its_classes(aggregation, inputs):
    maps, class_logits, text, guidance = inputs
    for parameter in aggregation.decoder.head.parameters():
        parameter.zero_()
    context = AggregationContext((2, 2), VotedShare(), 8, class_logits=class_logits)
    expected, chosen = NoAggregation(aggregation.skip, aggregation.synthesized)(maps, text, guidance, context)
    logits, kept = aggregation(maps, text, guidance, context)
    assert torch.equal(kept, chosen)
    assert torch.allclose(logits, F.interpolate(expected, size=(32, 32), mode="bilinear"), atol=1e-6)


@torch.inference_mode()
def test_rescaled_logits_are_a_scaled_sum_and_a_scaled_addition(aggregation, inputs):
    maps, class_logits, text, guidance = inputs
    context = AggregationContext((2, 2), None, WORDS, class_logits=class_logits)
    total = F.interpolate(
        NoAggregation(aggregation.skip, aggregation.synthesized)(maps, text, guidance, context)[0],
        size=(32, 32),
        mode="bilinear",
    )
    added = aggregation(maps, text, guidance, context)[0] - total
    rescale(aggregation, 3.0, 0.5, -1.0)
    torch.testing.assert_close(
        aggregation(maps, text, guidance, context)[0], 3 * total + 0.5 * added - 1, atol=1e-5, rtol=1e-4
    )


def test_costs_of_a_photograph_come_from_fits_that_have_not_seen_it():
    photos, words = torch.arange(50) % 5 > 0, torch.arange(WORDS) > 3
    names = [f"photo {number // 2}" for number in range(50)]
    dealt = CrossFit.deal(names, photos, words, 1, RECIPE)
    assert torch.equal(dealt.group[::2], dealt.group[1::2])
    assert torch.equal(dealt.fits.photos[0], photos)
    assert torch.equal(dealt.fits.words[0], words)
    for number, (of_fit, known) in enumerate(zip(dealt.fits.photos[1:], dealt.fits.words[1:], strict=True)):
        assert torch.equal(of_fit, photos & (dealt.group != number % RECIPE.groups))
        assert not (known & ~words).any()
        assert known.sum() < words.sum() or RECIPE.hidden[number // RECIPE.groups] == 0


def test_words_that_a_fit_does_not_know_get_the_weights_of_new_ones(aggregation):
    text = F.normalize(torch.randn(6, 384, generator=torch.Generator().manual_seed(0)), dim=1)
    known = torch.tensor([True, True, False, True, False, False])
    found = cost_weights(text, known[None], RECIPE)[0]
    costs = torch.randn(1, 4, 6, 2, 2, generator=torch.Generator().manual_seed(1))
    skip = aggregation.skip
    state = {"weight": RECIPE.cost_weights, "novelty_weight": RECIPE.novelty_weights, "bias": 0.0}
    skip.familiar = text[known]
    skip.load_state_dict({name: torch.tensor(value) for name, value in state.items()} | {"familiar": text[known]})
    torch.testing.assert_close(torch.einsum("bpthw,tp->bthw", costs, found), skip(costs, text[None, :, None]))


@torch.no_grad()
def test_projections_are_those_that_the_tower_gets():
    torch.manual_seed(0)
    tower = EfficientNetLite(known_classes=True).eval()
    tower.class_embeddings.normal_()
    shapes = {"head": (2, 1280, 384), "head_bias": (2, 384), "stages": (2, 472, 384), "stages_bias": (2, 384)}
    weights = {name: torch.randn(shape) for name, shape in shapes.items()}
    unused = {"none": torch.zeros(2, 9), "std": torch.ones(2, 472)}
    projections = Projections(**weights, **unused, shift=torch.randn(2, 384))
    middle = torch.randn(1, 120, 4, 6)
    ours, stages = projections.maps(torch.tensor([1]), tower, middle)
    projections.write_to(tower, 1)
    head = tower.head(stages[:, 120:])
    logits = tower.class_logits(head)
    theirs = (*tower.project(head, stages, logits), smoothed(logits.movedim(-1, 1)))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def _tower() -> EfficientNetLite:
    """A tower whose batch norms aren't trivial."""
    torch.manual_seed(0)
    tower = EfficientNetLite().eval()
    for name, value in tower.trunk.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 2.0)
        elif name.endswith(("running_mean", "bias")):
            value.normal_(std=0.1)
    return tower


def test_the_upper_trunk_is_the_towers_before_and_after_training():
    tower, middle = _tower(), torch.randn(2, 120, 5, 6)
    upper = UpperTrunk(tower)
    last, head = upper(middle)
    torch.testing.assert_close(last, tower.last_stage(middle), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(head, tower.head(tower.last_stage(middle)), rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        for parameter in upper.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    changed, _ = upper(middle)
    assert not torch.allclose(changed, last, atol=1e-3)
    upper.write_back()
    torch.testing.assert_close(tower.last_stage(middle), changed, rtol=1e-4, atol=1e-4)


def test_gradients_of_the_upper_trunk_are_those_of_the_tower():
    """In float64, where no rounding flips a ReLU."""
    tower, middle = _tower().double(), torch.randn(1, 120, 5, 6, dtype=torch.float64)
    upper, direction = UpperTrunk(tower), torch.randn(1, 352, 5, 6, dtype=torch.float64)
    (upper(middle)[0] * direction).sum().backward()
    block = next(list(tower.trunk.blocks.children())[5].children())
    convolution, norm = (block.get_submodule(name) for name in ("conv_pw", "bn1"))
    (tower.last_stage(middle) * direction).sum().backward()
    scale = norm.get_parameter("weight") / (norm.get_buffer("running_var") + 1e-3).sqrt()
    gradient = convolution.get_parameter("weight").grad
    expected = gradient / scale.detach()[:, None, None, None]
    found = upper.layers[0].get_parameter("weight").grad
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9 * float(expected.abs().max()))
    assert upper.layers[1].get_parameter("weight").grad is None


def _photos(data_set: str, count: int, words: tuple[str | None, ...]) -> list[Photo]:
    names = [Path(f"{number:012}.jpg") for number in range(count)]
    return [Photo(data_set=data_set, image_file=name, label_file=name, words=words) for name in names]


def test_none_of_the_words_is_learned_with_stuff_and_without():
    """Half of the loss lets stuff stand for none of the words; in the other half, only the data set's words compete."""
    photos = _photos("coco-panoptic", 1, ("cat", "sky", "wall")) + _photos("voc", 1, ("cat", "dog", None))
    words = ["cat", "sky", "wall", "dog"]
    alternatives = Alternatives(photos, words, torch.tensor([True, True, False, True]))  # "wall" may not be learned
    logits = torch.tensor([[[0.3, 1.2, 5.0, -0.7, 0.4]] * 3] * 2)
    one = torch.eye(5)
    shares = torch.stack([torch.stack([one[0], one[1], one[4]]), torch.stack([one[0], one[3], one[4]])])
    found = alternatives.entropy(logits, shares, torch.tensor([0, 3]))  # the places of the two among the data sets
    cat, sky, _, dog, none = logits[0, 0].exp().tolist()
    in_coco = [p / (cat + sky + none) for p in (cat, sky, none)]
    alone, beside = cat + dog + none, cat + dog + none + sky
    in_voc = [(cat / alone, cat / beside), (dog / alone, dog / beside), (none / alone, (none + sky) / beside)]
    torch.testing.assert_close(found[0], -torch.tensor(in_coco).log())
    torch.testing.assert_close(found[1], -torch.tensor(in_voc).log().mean(dim=1))


def test_copies_of_a_photograph_and_frames_of_a_building_stay_in_one_fold():
    words = ("cat", "dog")
    photos = [p for name in ("coco-panoptic", "coco-minis", "lvis", "voc", "indoor") for p in _photos(name, 30, words)]
    fold = torch.tensor(folds_of(photos, seed=0)).view(5, 30)
    assert torch.equal(fold[0], fold[1]) and torch.equal(fold[0], fold[2])
    assert not torch.equal(fold[0], fold[3])
    assert len(fold[4].unique()) == 1
    assert fold[:4].unique().tolist() == list(range(FOLDS))


def test_no_word_is_unseen_in_two_folds_or_learned_under_another_data_set():
    common = tuple(f"common {number}" for number in range(40))
    photos = [p for name in UNSEEN for p in _photos(name, 1, (*common, *(f"{name} {i}" for i in range(20)), None))]
    found = [unseen_words(photos, fold, seed=0) for fold in range(FOLDS)]
    for name in UNSEEN:
        words = [word for fold in found for word in fold[name]]
        assert words and len(set(words)) == len(words)
        assert name == "coco-panoptic" or not set(words) & set(common)


def test_scores_are_of_words_in_the_truth_and_differences_are_paired():
    logits, truth = torch.zeros(3, 2, 2), torch.tensor([[0, 0], [1, -1]])
    logits[0, 0], logits[2, 1] = 1.0, 1.0
    assert counts(logits, truth).tolist() == [[2, 0, 0], [2, 1, 0], [2, 0, 1]]
    pixels = torch.stack([counts(logits, truth)] * 20)
    found = scores(pixels)
    assert (found.miou, found.pixel_accuracy) == pytest.approx((50.0, 100 * 2 / 3))
    assert found.miou_error == pytest.approx(0.0, abs=1e-9)
    better = pixels.clone()
    better[::2] = torch.tensor([[2, 1, 0], [2, 1, 0], [2, 1, 0]])
    gain = difference(better, pixels)
    assert gain.miou == pytest.approx(25.0) and 0 < gain.miou_error < 10
