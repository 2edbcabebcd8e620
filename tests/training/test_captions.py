"""Training on captions: what a step minimizes, resuming, and images that can't be read."""

import pytest
import torch

from segvoc.errors import InputError, UsageError
from segvoc.training.caption_task import CaptionObjective
from segvoc.training.objectives.losses import SynergyLosses
from segvoc.training.run_folder import RunFolder
from tests.networks.small_syn_seg import small_syn_seg
from tests.training.small_runs import CAPTIONS, CaptionsInMemory, open_captions


def test_a_step_minimizes_the_weighted_sum_and_trains_the_decoder_alone(tmp_path):
    weights = {"align": 1.0, "cont": 2.0, "back": 0.5, "sep": 0.25}
    settings = {f"{term}_weight": weight for term, weight in weights.items()}
    training = open_captions(tmp_path / "run", steps=1, loss_eps=0.02, loss_version="v2", **settings)
    network, batch = training.network, CaptionsInMemory().batch([0, 1])
    with torch.no_grad():
        taps = tuple(tap.float() for tap in batch.taps)
        vectors, _ = network.learn(taps, batch.phrases, batch.owner)
        terms = SynergyLosses(version="v2", eps=0.02)(*vectors, batch.phrases, batch.owner, 2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    training.run()
    (line,) = RunFolder(tmp_path / "run").read_lines("metrics.jsonl")
    assert line["loss"] == pytest.approx(sum(weights[term] * value.item() for term, value in terms.items()), rel=1e-5)
    assert [line[term] for term in terms] == pytest.approx([value.item() for value in terms.values()], rel=1e-5)
    assert 0 < line["activation"] < 1
    moved = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == set(network.trainable_parameters())


def test_a_loss_without_weight_teaches_nothing(tmp_path):
    """It is reported nevertheless."""
    recipe = CAPTIONS.with_settings(align_weight=0.0, cont_weight=0.0, back_weight=0.0, sep_weight=1.0)
    network, batch = small_syn_seg(), CaptionsInMemory().batch([4, 5])
    objective = CaptionObjective(network, recipe)
    terms = objective(tuple(tap.float() for tap in batch.taps), batch.phrases, batch.owner)
    assert terms["loss"].item() == pytest.approx(terms["sep"].item())
    assert terms["align"].item() > 0


def test_without_a_readable_image_the_run_says_so(tmp_path):
    with pytest.raises(InputError, match=r"none of the 7 captioned images can be read; 'a\.jpg' is gone"):
        open_captions(tmp_path / "run", task=CaptionsInMemory(readable=False)).run()


def test_margins_that_leave_no_cosine_are_refused():
    with pytest.raises(UsageError, match=r"loss_eps=0\.5 leaves no range for the cosine"):
        CAPTIONS.with_settings(["loss_eps=0.5"])
